//! TLS of the real binary: server and client certificates, versions, ciphers, protocols, and renewal.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{CertificateParams, SanType};
use reqwest::tls::{TlsInfo, Version};
use reqwest::{Certificate, Client, ClientBuilder, Identity, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, SupportedCipherSuite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::certificates::{CertificateAuthority, IssuedCertificate};
use crate::support::exposition;
use crate::support::tenant::TestTenant;

pub(super) const TLS: &str = "tls_server_config: { cert_file: server.pem, key_file: server.key";

/// An exporter with a web configuration, and the authority that issued its certificate.
pub(super) struct TlsHarness {
    test_tenant: TestTenant,
    authority: CertificateAuthority,
    pub(super) running: RunningExporter,
}

impl TlsHarness {
    async fn new(web: &str) -> Self {
        Self::with_files(web, &[]).await
    }

    pub(super) async fn with_files(web: &str, files: &[(&str, &str)]) -> Self {
        let (test_tenant, authority) = (test_tenant(1).await, CertificateAuthority::new());
        configure_contoso(&test_tenant);
        test_tenant.write("ca.clients.pem", &authority.pem());
        test_tenant.write("web.yml", web);
        for (name, text) in files {
            test_tenant.write(name, text);
        }
        write_certificate(&test_tenant, &authority.issue(&["127.0.0.1"]));
        let arguments = [LOOPBACK, "--web.config.file=web.yml"];
        let running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
        Self { test_tenant, authority, running }
    }

    /// A client that trusts the authority, with a connection for each request.
    pub(super) fn client(&self) -> ClientBuilder {
        let authority = Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([authority]).tls_info(true)
    }

    async fn get(&self, client: ClientBuilder, path: &str) -> Result<reqwest::Response, reqwest::Error> {
        let url = format!("https://{}{path}", self.running.addresses[0]);
        client.build().unwrap().get(url).send().await
    }

    /// Returns whether a client is accepted.
    pub(super) async fn accepts(&self, client: ClientBuilder) -> bool {
        match self.get(client, "/-/healthy").await {
            Ok(reply) => reply.status() == StatusCode::OK,
            Err(error) => {
                assert!(!error.is_timeout() && !error.is_builder(), "{error:?}");
                false
            }
        }
    }

    /// The server certificate of a new connection.
    async fn server_certificate(&self) -> Vec<u8> {
        let reply = self.get(self.client(), "/-/healthy").await.unwrap();
        reply.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
    }

    /// A handshake with a client that offers one suite, or all.
    async fn handshake(
        &self,
        suite: Option<SupportedCipherSuite>,
    ) -> std::io::Result<(CipherSuite, NamedGroup)> {
        let default = aws_lc_rs::default_provider();
        let cipher_suites = suite.map_or(default.cipher_suites, |suite| vec![suite]);
        let provider = Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() });
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.authority.pem())).unwrap();
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.running.addresses[0]).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream: TlsStream<_> = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let connection = stream.get_ref().1;
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        Ok((connection.negotiated_cipher_suite().unwrap().suite(), group))
    }
}

/// Writes the server's certificate and key.
fn write_certificate(test_tenant: &TestTenant, issued: &IssuedCertificate) {
    test_tenant.write("server.pem", &issued.chain);
    test_tenant.write("server.key", &issued.key);
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(super) fn identity(issued: &IssuedCertificate) -> Identity {
    Identity::from_pem(format!("{}{}", issued.key, issued.chain).as_bytes()).unwrap()
}

#[tokio::test]
async fn clients_choose_http2_or_http1_and_plain_http_fails() {
    let harness = TlsHarness::new(&format!("{TLS} }}\n")).await;
    assert!(harness.running.log.last().unwrap().contains("tls=true"), "{:?}", harness.running.log);
    for (client, version) in [
        (harness.client(), reqwest::Version::HTTP_2),
        (harness.client().http1_only(), reqwest::Version::HTTP_11),
    ] {
        let reply = harness.get(client, "/metrics").await.unwrap();
        assert_eq!((reply.status(), reply.version()), (StatusCode::OK, version));
        assert!(exposition::parse(&reply.text().await.unwrap()).is_ok());
    }
    let in_the_clear = format!("http://{}/metrics", harness.running.addresses[0]);
    assert!(Client::builder().no_proxy().build().unwrap().get(in_the_clear).send().await.is_err());
    let output = harness.running.stop("TERM").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn http2_can_be_disabled() {
    let harness = TlsHarness::new(&format!("{TLS} }}\nhttp_server_config: {{ http2: false }}\n")).await;
    let reply = harness.get(harness.client(), "/metrics").await.unwrap();
    assert_eq!(reply.version(), reqwest::Version::HTTP_11);
    assert!(!harness.accepts(harness.client().http2_prior_knowledge()).await);
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let harness = TlsHarness::new(&format!("{TLS} }}\n")).await;
    let client = harness.client().build().unwrap();
    let url = format!("https://{}/metrics", harness.running.addresses[0]);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let request = client.get(&url);
        requests.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    }
    for text in requests.join_all().await {
        assert!(exposition::parse(&text).is_ok());
    }
}

#[tokio::test]
async fn each_client_authentication_type_accepts_its_clients() {
    let authority = CertificateAuthority::new();
    let of_another = identity(&authority.issue(&["client.example"]));
    for (kind, without, with_anothers, with_ours) in [
        ("NoClientCert", true, true, true),
        ("RequestClientCert", true, true, true),
        ("RequireAnyClientCert", false, true, true),
        ("VerifyClientCertIfGiven", true, false, true),
        ("RequireAndVerifyClientCert", false, false, true),
    ] {
        let authority = if kind == "NoClientCert" { "" } else { ", client_ca_file: ca.clients.pem" };
        let harness = TlsHarness::new(&format!("{TLS}, client_auth_type: {kind}{authority} }}\n")).await;
        let ours = identity(&harness.authority.issue(&["client.example"]));
        for version in [Version::TLS_1_2, Version::TLS_1_3] {
            let client = || harness.client().tls_version_min(version).tls_version_max(version);
            assert_eq!(harness.accepts(client()).await, without, "{kind}, {version:?}: without");
            let of_another = client().identity(of_another.clone());
            assert_eq!(harness.accepts(of_another).await, with_anothers, "{kind}, {version:?}: another's");
            let ours = client().identity(ours.clone());
            assert_eq!(harness.accepts(ours).await, with_ours, "{kind}, {version:?}: ours");
        }
    }
}

#[tokio::test]
async fn clients_need_an_allowed_name() {
    let allowed =
        "[prometheus.example, ops@example.com, 192.0.2.7, '2001:db8::7', 'spiffe://example/prometheus']";
    let harness = TlsHarness::new(&format!(
        "{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.clients.pem,
  client_allowed_sans: {allowed} }}\n"
    ))
    .await;
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    let address = |text: &str| SanType::IpAddress(text.parse().unwrap());
    let v6 = SanType::IpAddress(IpAddr::V6(Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])));
    for (names, expected) in [
        (vec![dns("prometheus.example")], true),
        (vec![dns("other.example"), dns("prometheus.example")], true),
        (vec![mail("ops@example.com")], true),
        (vec![address("192.0.2.7")], true),
        (vec![v6], true),
        (vec![uri("spiffe://example/prometheus")], true),
        (vec![dns("sub.prometheus.example")], false),
        (vec![dns("*.example")], false),
        (vec![address("192.0.2.8"), mail("dev@example.com"), uri("spiffe://example/other")], false),
        (vec![], false),
    ] {
        let shown = format!("{names:?}");
        let client = harness.client().identity(identity(&harness.authority.issue_to(names)));
        assert_eq!(harness.accepts(client).await, expected, "{shown}");
    }
    let foreign = CertificateAuthority::new().issue(&["prometheus.example"]);
    assert!(!harness.accepts(harness.client().identity(identity(&foreign))).await);
}

#[tokio::test]
async fn only_the_configured_versions_are_accepted() {
    for (setting, with_tls12, with_tls13) in [
        ("min_version: TLS13", false, true),
        ("max_version: TLS12", true, false),
        ("max_version: TLS13", true, true),
    ] {
        let harness = TlsHarness::new(&format!("{TLS}, {setting} }}\n")).await;
        let newest = |version| harness.client().tls_version_max(version);
        let oldest = |version| harness.client().tls_version_min(version);
        assert_eq!(harness.accepts(newest(Version::TLS_1_2)).await, with_tls12, "{setting}");
        assert_eq!(harness.accepts(oldest(Version::TLS_1_3)).await, with_tls13, "{setting}");
    }
}

#[tokio::test]
async fn only_the_configured_ciphers_and_curves_are_accepted() {
    use aws_lc_rs::cipher_suite as suite;
    let harness = TlsHarness::new(&format!(
        "{TLS}, curve_preferences: [CurveP384], cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384] }}\n"
    ))
    .await;
    let wanted = (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, NamedGroup::secp384r1);
    let offered = suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    assert_eq!(harness.handshake(Some(offered)).await.unwrap(), wanted);
    assert!(harness.handshake(Some(suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)).await.is_err());
    // The suites of TLS 1.3 are always enabled.
    for suite in [suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256] {
        assert_eq!(harness.handshake(Some(suite)).await.unwrap().0, suite.suite());
    }
}

#[tokio::test]
async fn certificate_and_key_can_be_inline() {
    let authority = CertificateAuthority::new();
    let IssuedCertificate { chain, key } = authority.issue(&["127.0.0.1"]);
    let indented = |pem: &str| format!("    {}", pem.replace('\n', "\n    "));
    let web = format!(
        "tls_server_config:\n  cert: |\n{}\n  key: |\n{}\n  client_ca: |\n{}\n  client_auth_type: VerifyClientCertIfGiven\n",
        indented(&chain),
        indented(&key),
        indented(&authority.pem())
    );
    let harness = TlsHarness { authority, ..TlsHarness::new(&web).await };
    assert_eq!(harness.server_certificate().await, der(&chain).to_vec());
    assert!(
        harness.accepts(harness.client().identity(identity(&harness.authority.issue(&["client"])))).await
    );
}

#[tokio::test]
async fn valid_renewed_certificate_is_used_without_a_restart() {
    let mut harness = TlsHarness::new(&format!("{TLS} }}\n")).await;
    let first = harness.server_certificate().await;
    let kept = harness.client().pool_max_idle_per_host(1).build().unwrap();
    let url = format!("https://{}/-/healthy", harness.running.addresses[0]);
    assert_eq!(kept.get(&url).send().await.unwrap().status(), StatusCode::OK);

    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2035, 6, 7);
    let renewed = harness.authority.issue_with(params);
    write_certificate(&harness.test_tenant, &renewed);
    harness.running.line_with("web configuration reloaded").await;
    assert_ne!(harness.server_certificate().await, first);
    assert_eq!(harness.server_certificate().await, der(&renewed.chain).to_vec());
    let metrics = harness.get(harness.client(), "/metrics").await.unwrap().text().await.unwrap();
    let expiry = "2035-06-07T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    let metrics = exposition::parse(&metrics).unwrap();
    assert_eq!(metrics.value("mde_exporter_web_certificate_expiry_timestamp_seconds", &[]), Some(expiry));
    let reply = kept.get(&url).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK, "a connection outlives the certificate it was made with");

    let other = harness.authority.issue(&["127.0.0.1"]);
    harness.test_tenant.write("server.key", &other.key);
    let line = harness.running.line_with("web configuration rejected; keeping the previous one").await;
    assert!(line.contains("does not belong to the server") && line.contains("level=error"), "{line}");
    assert_eq!(harness.server_certificate().await, der(&renewed.chain).to_vec());

    harness.test_tenant.write("server.pem", &other.chain);
    harness.running.line_with("web configuration reloaded").await;
    assert_eq!(harness.server_certificate().await, der(&other.chain).to_vec());
    let output = harness.running.stop("TERM").await;
    assert_eq!(
        output.stderr.matches("web configuration rejected; keeping the previous one").count(),
        1,
        "{}",
        output.stderr
    );
    let secret = other.key.lines().nth(1).unwrap();
    assert!(!output.stderr.contains(secret), "{}", output.stderr);
}

#[tokio::test]
async fn new_client_ca_is_used_without_a_restart() {
    let web =
        format!("{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.clients.pem }}\n");
    let mut harness = TlsHarness::new(&web).await;
    let other = CertificateAuthority::new();
    let (ours, theirs) = (harness.authority.issue(&["client"]), other.issue(&["client"]));
    assert!(harness.accepts(harness.client().identity(identity(&ours))).await);
    assert!(!harness.accepts(harness.client().identity(identity(&theirs))).await);
    harness.test_tenant.write("ca.clients.pem", &other.pem());
    harness.running.line_with("web configuration reloaded").await;
    assert!(!harness.accepts(harness.client().identity(identity(&ours))).await);
    assert!(harness.accepts(harness.client().identity(identity(&theirs))).await);
}

#[tokio::test]
async fn tls_can_be_enabled_and_disabled_at_run_time() {
    let mut harness = TlsHarness::new("").await;
    let (_, metrics) = harness.running.get("/metrics").await;
    assert!(!metrics.contains("mde_exporter_web_certificate_expiry_timestamp_seconds"));
    assert!(!harness.accepts(harness.client()).await);
    harness.test_tenant.write("web.yml", &format!("{TLS} }}\n"));
    harness.running.line_with("web configuration reloaded").await;
    assert!(harness.accepts(harness.client()).await);
    harness.test_tenant.write("web.yml", "");
    harness.running.line_with("web configuration reloaded").await;
    let (status, metrics) = harness.running.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!metrics.contains("mde_exporter_web_certificate_expiry_timestamp_seconds"));
}
