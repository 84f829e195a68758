//! Tokens: which requests are granted, and which tokens the API accepts.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::{TestClient, json_of, message, now};
use crate::Options;
use crate::secrets::{CLIENT_ID, IDENTITY_HEADER, TENANT_ID};

#[tokio::test]
async fn authority_rejects_requests_with_the_codes_of_entra() {
    let client = TestClient::plain(0).await;
    for (field, value, status, error, code) in [
        ("tenant", "contoso.example", 400, "invalid_request", 90_002),
        ("client_id", "66666666-7777-8888-9999-000000000000", 400, "unauthorized_client", 700_016),
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("scope", "https://api.securitycenter.microsoft.com", 400, "invalid_scope", 70_011),
        ("scope", "https://elsewhere.example/.default", 400, "invalid_resource", 500_011),
        ("grant_type", "password", 400, "unsupported_grant_type", 70_003),
        ("client_secret", "", 401, "invalid_client", 7_000_218),
    ] {
        let (actual_status, reply) = client.request_token(&[(field, value)]).await;
        assert_eq!(
            (actual_status, reply["error"].as_str()),
            (status, Some(error)),
            "{field}={value}: {reply}"
        );
        assert_eq!(reply["error_codes"][0], code, "{reply}");
        let description = reply["error_description"].as_str().expect("description");
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        assert!(description.contains("\r\nTrace ID: "), "{description}");
    }
    client.simulator.control().set_client_secret(None);
    let (_, reply) = client.request_token(&[]).await;
    assert_eq!(reply["error_codes"][0], 7_000_222);
}

#[tokio::test]
async fn managed_identity_needs_its_header_and_answers_in_strings() {
    let client = TestClient::plain(0).await;
    let resource = "resource=https://api.securitycenter.microsoft.com";
    let app_service = format!("{}?api-version=2019-08-01&{resource}", client.simulator.identity_endpoint());
    let machine = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&{resource}",
        client.simulator.api_url()
    );
    for (url, header, value) in
        [(app_service, "x-identity-header", IDENTITY_HEADER), (machine, "Metadata", "true")]
    {
        let rejected = client.http.get(&url).send().await.expect("reply");
        assert!(rejected.status().is_client_error(), "{url}");
        let reply = json_of(client.http.get(&url).header(header, value).send().await.expect("reply")).await;
        assert_eq!(reply["expires_in"], "3599", "{reply}");
        assert!(reply["access_token"].is_string());
    }
    let requests = client.simulator.control().token_requests();
    let last = requests.last().expect("one");
    assert_eq!(last.field("resource"), Some("https://api.securitycenter.microsoft.com"));
}

#[tokio::test]
async fn call_without_a_valid_token_is_rejected() {
    let mut client = TestClient::plain(1).await;
    let valid = std::mem::replace(&mut client.token, "made-up".to_owned());
    let (status, reply) = client.get_json("/api/machines").await;
    assert_eq!((status, reply["error"]["code"].as_str()), (401, Some("Unauthorized")));
    client.token = valid;
    assert_eq!(client.get_json("/api/machines").await.0, 200);
    client.simulator.control().revoke_tokens();
    assert_eq!(client.get_json("/api/machines").await.0, 401);
    client.renew().await;
    assert_eq!(client.get_json("/api/machines").await.0, 200);
}

#[tokio::test]
async fn token_expires() {
    let lifetime = Duration::from_millis(0);
    let options = Options { token_lifetime: lifetime, machines: 1, ..Options::new(now) };
    let client = TestClient::of(options).await;
    assert_eq!(client.get_json("/api/machines").await.0, 401);
}

#[tokio::test]
async fn missing_role_is_named() {
    let roles = vec!["Machine.Read.All".to_owned()];
    let client = TestClient::of(Options { roles, machines: 3, ..Options::new(now) }).await;
    let id = client.simulator.control().machine_ids().remove(0);
    let (status, reply) = client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await;
    assert_eq!(status, 403);
    assert_eq!(
        message(&reply),
        "Missing application roles. API required roles: Software.Read.All, application roles: Machine.Read.All."
    );
    assert_eq!(client.get_json("/api/machines").await.0, 200);
}

/// An RSA key, its certificate, and the certificate's thumbprint as `x5t#S256`.
struct SigningKey {
    key: EncodingKey,
    pem: String,
    thumbprint: String,
}

impl SigningKey {
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

/// Written from RFC 4648, bit by bit, so that it shares no code with the code under test.
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

async fn request_with_assertion(client: &TestClient, assertion: &str) -> (u16, Value) {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    client
        .request_token(&[
            ("client_secret", ""),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
        ])
        .await
}

fn valid_claims(client: &TestClient, jti: &str) -> Value {
    let now = now().as_second();
    json!({
        "aud": format!("{}/{TENANT_ID}/oauth2/v2.0/token", client.simulator.authority_url()),
        "iss": CLIENT_ID, "sub": CLIENT_ID, "jti": jti, "nbf": now, "iat": now, "exp": now + 600,
    })
}

#[tokio::test]
async fn signed_assertion_is_accepted_once() {
    let client = TestClient::plain(0).await;
    let key = SigningKey::new();
    let assertion = key.sign(Algorithm::PS256, &valid_claims(&client, "one"));
    let (status, reply) = request_with_assertion(&client, &assertion).await;
    assert_eq!((status, &reply["error_codes"][0]), (401, &json!(70_025)), "nothing is registered yet");
    client.simulator.control().register_certificate(&key.pem).expect("certificate");
    let (status, reply) = request_with_assertion(&client, &assertion).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(request_with_assertion(&client, &assertion).await.0, 401, "its id was used");
}

#[tokio::test]
async fn faulty_assertion_is_rejected_with_the_reason() {
    let client = TestClient::plain(0).await;
    let key = SigningKey::new();
    let other_key = SigningKey::new();
    client.simulator.control().register_certificate(&key.pem).expect("certificate");
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
        let mut claims = valid_claims(&client, field);
        claims[field] = value;
        let (status, reply) = request_with_assertion(&client, &key.sign(Algorithm::PS256, &claims)).await;
        assert_eq!((status, &reply["error_codes"][0]), (401, &json!(code)), "{claims}");
    }
    let claims = valid_claims(&client, "signature");
    let mut forged = SigningKey::new();
    forged.thumbprint.clone_from(&key.thumbprint);
    for assertion in [
        other_key.sign(Algorithm::PS256, &claims),
        forged.sign(Algorithm::PS256, &claims),
        key.sign(Algorithm::RS256, &claims),
    ] {
        let (_, reply) = request_with_assertion(&client, &assertion).await;
        assert_eq!(reply["error_codes"][0], 700_027);
    }
    let (_, reply) = request_with_assertion(&client, "not a JWT").await;
    assert_eq!(reply["error_codes"][0], 50_027);
    let (status, _) = request_with_assertion(&client, &key.sign(Algorithm::PS256, &claims)).await;
    assert_eq!(status, 200, "the same claims are accepted without the faults");
}

#[tokio::test]
async fn federated_token_is_accepted_when_registered() {
    let client = TestClient::plain(0).await;
    client.simulator.control().register_federated_token("kubernetes.token.one");
    assert_eq!(request_with_assertion(&client, "kubernetes.token.one").await.0, 200);
    assert_eq!(request_with_assertion(&client, "kubernetes.token.two").await.0, 401);
}

#[tokio::test]
async fn token_has_roles_for_defender_only() {
    let client = TestClient::plain(0).await;
    let claims = |reply: &Value| -> Value {
        let token = reply["access_token"].as_str().expect("token").to_owned();
        jsonwebtoken::dangerous::insecure_decode_claims(token).expect("claims")
    };
    let (_, reply) = client.request_token(&[]).await;
    let defender = claims(&reply);
    assert_eq!(defender["roles"], json!(["Machine.Read.All", "Software.Read.All", "Vulnerability.Read.All"]));
    assert_eq!((&defender["tid"], &defender["exp"]), (&json!(TENANT_ID), &json!(now().as_second() + 3_599)));
    let (_, reply) = client.request_token(&[("scope", "https://api.security.microsoft.com/.default")]).await;
    assert_eq!(claims(&reply).get("roles"), None);
}
