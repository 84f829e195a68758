//! Client certificates of the web server: those that are in the client CA file themselves, and the log of failed
//! handshakes.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use reqwest::Client;

use super::tls::{TLS, TlsHarness, identity};
use crate::support::certificates::{CertificateAuthority, IssuedCertificate, self_signed_client};

/// An exporter that requires a client certificate of the file, which holds `listed`.
async fn harness_with(listed: &str, more: &str) -> TlsHarness {
    let keys = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: listed.pem";
    TlsHarness::with_files(&format!("{TLS}, {keys}{more} }}\n"), &[("listed.pem", listed)]).await
}

async fn accepts(harness: &TlsHarness, client: &IssuedCertificate) -> bool {
    harness.accepts(harness.client().identity(identity(client))).await
}

#[tokio::test]
async fn certificate_that_is_in_the_file_is_accepted() {
    let authority = CertificateAuthority::new();
    let made_by_openssl = self_signed_client(|_| {});
    let no_authority = self_signed_client(|params| params.is_ca = IsCa::NoCa);
    let explicit = self_signed_client(|params| params.is_ca = IsCa::ExplicitNoCa);
    let for_clients = self_signed_client(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let issued = authority.issue(&["client.example"]);
    let leaf = issued.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let all = [&made_by_openssl, &no_authority, &explicit, &for_clients];
    let mut listed = all.map(|one| one.chain.clone()).concat();
    listed.push_str(leaf);
    let harness = harness_with(&listed, "").await;
    for (number, client) in all.into_iter().chain([&issued]).enumerate() {
        assert!(accepts(&harness, client).await, "client {number}");
    }
    let another = self_signed_client(|_| {});
    assert!(!accepts(&harness, &another).await);
    assert!(!accepts(&harness, &authority.issue(&["other.example"])).await, "its issuer is not in the file");
    assert!(!harness.accepts(harness.client()).await);
}

#[tokio::test]
async fn listed_certificate_needs_its_key_dates_and_purpose() {
    let expired = self_signed_client(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let future = self_signed_client(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let for_servers = self_signed_client(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let stolen = self_signed_client(|_| {});
    let all = [&expired, &future, &for_servers, &stolen];
    let mut harness = harness_with(&all.map(|one| one.chain.clone()).concat(), "").await;
    for (client, reason) in [(&expired, "expired"), (&future, "not valid yet"), (&for_servers, "purpose")] {
        assert!(!accepts(&harness, client).await, "{reason}");
        let line = harness.running.line_with("TLS handshake failed").await;
        assert!(line.contains("the client certificate is refused"), "{line}");
    }
    assert!(accepts(&harness, &stolen).await);
}

#[tokio::test]
async fn listed_client_certificate_issues_no_other_certificate() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["prometheus.example".to_owned()]).unwrap();
    params.is_ca = IsCa::NoCa;
    let listed = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let client_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("admin.example".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let chain = params.signed_by(&client_key, &issuer).unwrap().pem();
    let client = IssuedCertificate { chain, key: client_key.serialize_pem() };
    let harness = harness_with(&listed, "").await;
    assert!(!accepts(&harness, &client).await);
}

#[tokio::test]
async fn allowed_names_apply_to_listed_certificates() {
    let client = self_signed_client(|_| {});
    let harness = harness_with(&client.chain, ", client_allowed_sans: [prometheus.example]").await;
    assert!(accepts(&harness, &client).await);
    let mut harness = harness_with(&client.chain, ", client_allowed_sans: [grafana.example]").await;
    assert!(!accepts(&harness, &client).await);
    let line = harness.running.line_with("TLS handshake failed").await;
    assert!(line.contains("has no name of client_allowed_sans"), "{line}");
}

#[tokio::test]
async fn failed_handshakes_are_logged_with_a_reason_and_bounded() {
    let mut harness = harness_with(&self_signed_client(|_| {}).chain, "").await;
    let stranger = self_signed_client(|_| {});
    assert!(!harness.accepts(harness.client()).await);
    let line = harness.running.line_with("TLS handshake failed").await;
    assert!(line.contains("level=info") && line.contains("client=127.0.0.1:"), "{line}");
    assert!(line.contains("reason=\"the client sent no certificate\""), "{line}");
    assert!(!accepts(&harness, &stranger).await);
    let line = harness.running.line_with("TLS handshake failed").await;
    assert!(line.contains("is not in client_ca_file"), "{line}");
    let in_the_clear = format!("http://{}/metrics", harness.running.addresses[0]);
    assert!(Client::builder().no_proxy().build().unwrap().get(in_the_clear).send().await.is_err());
    let line = harness.running.line_with("TLS handshake failed").await;
    assert!(line.contains("may request http instead of https"), "{line}");
    for _ in 0..20 {
        assert!(!accepts(&harness, &stranger).await);
    }
    let output = harness.running.stop("TERM").await;
    assert_eq!(output.code, Some(0));
    assert_eq!(output.stderr.matches("TLS handshake failed").count(), 5, "{}", output.stderr);
}
