//! Tokens: who gets one, and which are believed.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::super::*;
use super::{Visitor, json_of, message, now};

#[tokio::test]
async fn authority_refuses_as_entra_does() {
    let visitor = Visitor::plain(0).await;
    for (field, value, status, error, code) in [
        ("tenant", "contoso.example", 400, "invalid_request", 90_002),
        ("client_id", "66666666-7777-8888-9999-000000000000", 400, "unauthorized_client", 700_016),
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("scope", "https://api.securitycenter.microsoft.com", 400, "invalid_scope", 70_011),
        ("scope", "https://elsewhere.example/.default", 400, "invalid_resource", 500_011),
        ("grant_type", "password", 400, "unsupported_grant_type", 70_003),
        ("client_secret", "", 401, "invalid_client", 7_000_218),
    ] {
        let (got, reply) = visitor.ask_token(&[(field, value)]).await;
        assert_eq!((got, reply["error"].as_str()), (status, Some(error)), "{field}={value}: {reply}");
        assert_eq!(reply["error_codes"][0], code, "{reply}");
        let description = reply["error_description"].as_str().expect("description");
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        assert!(description.contains("\r\nTrace ID: "), "{description}");
    }
    visitor.simulator.control().set_client_secret(None);
    let (_, reply) = visitor.ask_token(&[]).await;
    assert_eq!(reply["error_codes"][0], 7_000_222);
}

#[tokio::test]
async fn managed_identity_needs_its_header_and_answers_in_strings() {
    let visitor = Visitor::plain(0).await;
    let resource = "resource=https://api.securitycenter.microsoft.com";
    let app_service = format!("{}?api-version=2019-08-01&{resource}", visitor.simulator.identity_endpoint());
    let machine = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&{resource}",
        visitor.simulator.api_url()
    );
    for (url, header, value) in
        [(app_service, "x-identity-header", IDENTITY_HEADER), (machine, "Metadata", "true")]
    {
        let refused = visitor.client.get(&url).send().await.expect("reply");
        assert!(refused.status().is_client_error(), "{url}");
        let reply =
            json_of(visitor.client.get(&url).header(header, value).send().await.expect("reply")).await;
        assert_eq!(reply["expires_in"], "3599", "{reply}");
        assert!(reply["access_token"].is_string());
    }
    let requests = visitor.simulator.control().token_requests();
    let last = requests.last().expect("one");
    assert_eq!(last.field("resource"), Some("https://api.securitycenter.microsoft.com"));
}

#[tokio::test]
async fn call_without_a_good_token_is_refused() {
    let mut visitor = Visitor::plain(1).await;
    let good = std::mem::replace(&mut visitor.token, "made-up".to_owned());
    let (status, reply) = visitor.get_json("/api/machines").await;
    assert_eq!((status, reply["error"]["code"].as_str()), (401, Some("Unauthorized")));
    visitor.token = good;
    assert_eq!(visitor.get_json("/api/machines").await.0, 200);
    visitor.simulator.control().revoke_tokens();
    assert_eq!(visitor.get_json("/api/machines").await.0, 401);
    visitor.renew().await;
    assert_eq!(visitor.get_json("/api/machines").await.0, 200);
}

#[tokio::test]
async fn token_runs_out() {
    let lifetime = Duration::from_millis(0);
    let options = Options { token_lifetime: lifetime, machines: 1, ..Options::new(now) };
    let visitor = Visitor::of(options).await;
    assert_eq!(visitor.get_json("/api/machines").await.0, 401);
}

#[tokio::test]
async fn missing_role_is_named() {
    let roles = vec!["Machine.Read.All".to_owned()];
    let visitor = Visitor::of(Options { roles, machines: 3, ..Options::new(now) }).await;
    let id = visitor.simulator.control().machine_ids().remove(0);
    let (status, reply) = visitor.get_json(&format!("/api/machines/{id}/getmissingkbs")).await;
    assert_eq!(status, 403);
    assert_eq!(
        message(&reply),
        "Missing application roles. API required roles: Software.Read.All, application roles: Machine.Read.All."
    );
    assert_eq!(visitor.get_json("/api/machines").await.0, 200);
}

/// An RSA key, its certificate, and the certificate's thumbprint as `x5t#S256`.
struct Certified {
    key: EncodingKey,
    pem: String,
    thumbprint: String,
}

impl Certified {
    fn new() -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("RSA key");
        let certificate = CertificateParams::default().self_signed(&pair).expect("certificate");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
        Self {
            key: EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("key"),
            pem: format!("{}{}", pair.serialize_pem(), certificate.pem()),
            thumbprint: base64_url(digest.as_ref()),
        }
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { x5t_s256: Some(self.thumbprint.clone()), ..Header::new(algorithm) };
        encode(&header, claims, &self.key).expect("JWT")
    }
}

/// Written from RFC 4648, bit by bit, so that it shares nothing with the code under test.
fn base64_url(bytes: &[u8]) -> String {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)).collect();
    bits.chunks(6)
        .map(|six| {
            let value = (0..6).fold(0, |value, at| (value << 1) | six.get(at).copied().unwrap_or(0));
            match value {
                0..26 => char::from(b'A' + value),
                26..52 => char::from(b'a' + value - 26),
                52..62 => char::from(b'0' + value - 52),
                62 => '-',
                _ => '_',
            }
        })
        .collect()
}

async fn assert_with(visitor: &Visitor, assertion: &str) -> (u16, Value) {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    visitor
        .ask_token(&[("client_secret", ""), ("client_assertion_type", kind), ("client_assertion", assertion)])
        .await
}

fn good_claims(visitor: &Visitor, jti: &str) -> Value {
    let now = now().as_second();
    json!({
        "aud": format!("{}/{TENANT_ID}/oauth2/v2.0/token", visitor.simulator.authority_url()),
        "iss": CLIENT_ID, "sub": CLIENT_ID, "jti": jti, "nbf": now, "iat": now, "exp": now + 600,
    })
}

#[tokio::test]
async fn signed_assertion_is_accepted_once() {
    let visitor = Visitor::plain(0).await;
    let certified = Certified::new();
    let assertion = certified.sign(Algorithm::PS256, &good_claims(&visitor, "one"));
    let (status, reply) = assert_with(&visitor, &assertion).await;
    assert_eq!((status, &reply["error_codes"][0]), (401, &json!(70_025)), "nothing is registered yet");
    visitor.simulator.control().register_certificate(&certified.pem).expect("certificate");
    let (status, reply) = assert_with(&visitor, &assertion).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(assert_with(&visitor, &assertion).await.0, 401, "its id was used");
}

#[tokio::test]
async fn faulty_assertion_is_refused_with_the_reason() {
    let visitor = Visitor::plain(0).await;
    let (certified, stranger) = (Certified::new(), Certified::new());
    visitor.simulator.control().register_certificate(&certified.pem).expect("certificate");
    let now = now().as_second();
    for (field, value, code) in [
        ("aud", json!("https://login.microsoftonline.com/"), 700_023),
        ("iss", json!("someone else"), 700_021),
        ("sub", json!(null), 700_021),
        ("exp", json!(now - 1), 700_024),
        ("exp", json!(now + 3_600), 700_024),
        ("nbf", json!(now + 60), 700_024),
        ("jti", json!(null), 50_027),
    ] {
        let mut claims = good_claims(&visitor, field);
        claims[field] = value;
        let (status, reply) = assert_with(&visitor, &certified.sign(Algorithm::PS256, &claims)).await;
        assert_eq!((status, &reply["error_codes"][0]), (401, &json!(code)), "{claims}");
    }
    let claims = good_claims(&visitor, "signature");
    let mut forged = Certified::new();
    forged.thumbprint.clone_from(&certified.thumbprint);
    for assertion in [
        stranger.sign(Algorithm::PS256, &claims),
        forged.sign(Algorithm::PS256, &claims),
        certified.sign(Algorithm::RS256, &claims),
    ] {
        let (_, reply) = assert_with(&visitor, &assertion).await;
        assert_eq!(reply["error_codes"][0], 700_027);
    }
    let (_, reply) = assert_with(&visitor, "not a JWT").await;
    assert_eq!(reply["error_codes"][0], 50_027);
    let (status, _) = assert_with(&visitor, &certified.sign(Algorithm::PS256, &claims)).await;
    assert_eq!(status, 200, "nothing but the faults was wrong");
}

#[tokio::test]
async fn federated_token_is_accepted_when_registered() {
    let visitor = Visitor::plain(0).await;
    visitor.simulator.control().register_federated_token("kubernetes.token.one");
    assert_eq!(assert_with(&visitor, "kubernetes.token.one").await.0, 200);
    assert_eq!(assert_with(&visitor, "kubernetes.token.two").await.0, 401);
}

#[tokio::test]
async fn token_shows_its_roles_and_not_for_another_resource() {
    let visitor = Visitor::plain(0).await;
    let claims = |reply: &Value| -> Value {
        let token = reply["access_token"].as_str().expect("token").to_owned();
        jsonwebtoken::dangerous::insecure_decode_claims(token).expect("claims")
    };
    let (_, reply) = visitor.ask_token(&[]).await;
    let defender = claims(&reply);
    assert_eq!(defender["roles"], json!(["Machine.Read.All", "Software.Read.All", "Vulnerability.Read.All"]));
    assert_eq!((&defender["tid"], &defender["exp"]), (&json!(TENANT_ID), &json!(now().as_second() + 3_599)));
    let (_, reply) = visitor.ask_token(&[("scope", "https://api.security.microsoft.com/.default")]).await;
    assert_eq!(claims(&reply).get("roles"), None);
}
