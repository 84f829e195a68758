//! The client assertion: a JWT, signed with the key of a certificate, that replaces a client secret.
//!
//! The PEM file is read again for each token, so that a renewed certificate needs no restart. It may contain
//! the certificate, its chain and the key in any order; the certificate of the key is found by its public
//! key.
//!
//! Format: <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use azure_core::{Uuid, base64};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token_error::SecretError;
use crate::file_kind::unexpected_kind;

/// The lifetime of an assertion, which is used at once. Entra accepts at most 5 to 10 minutes.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// The time within which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateValidity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

/// The claims of the assertion.
#[derive(Serialize)]
struct AssertionClaims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

/// Creates a signed assertion for `client_id` with the certificate and the key in the PEM file at `path`.
/// `audience` is the tenant's v2 token URL.
///
/// # Errors
///
/// Returns an error if the file is unreadable, or lacks a certificate, an unencrypted RSA key, or the
/// certificate of the key.
pub(super) fn assertion(
    path: &Path,
    audience: &str,
    client_id: &str,
    now: Timestamp,
) -> Result<String, SecretError> {
    let wrong = |problem| SecretError::Certificate { path: path.to_path_buf(), problem };
    let (certificate, key) = read(path)?;

    let mut header = Header::new(Algorithm::PS256);
    header.x5t_s256 = Some(base64::encode_url_safe(digest(&SHA256, &certificate).as_ref()));
    let claims = AssertionClaims {
        aud: audience,
        iss: client_id,
        sub: client_id,
        jti: Uuid::new_v4().to_string(),
        nbf: now.as_second(),
        iat: now.as_second(),
        exp: (now + LIFETIME).as_second(),
    };
    jsonwebtoken::encode(&header, &claims, &key).map_err(|_| wrong("its RSA key cannot sign"))
}

/// The time within which the certificate in the PEM file at `path` is valid.
///
/// # Errors
///
/// As [`assertion`].
pub(super) fn validity(path: &Path) -> Result<CertificateValidity, SecretError> {
    let (certificate, _) = read(path)?;
    let problem = "its certificate cannot be read";
    let wrong = |_| SecretError::Certificate { path: path.to_path_buf(), problem };
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(wrong)?;
    // RFC 5280, 4.1.2.5: the last second of 9999, which jiff cannot represent, stands for never.
    let time = |seconds, beyond| Timestamp::from_second(seconds).unwrap_or(beyond);
    Ok(CertificateValidity {
        not_before: time(parsed.validity().not_before.timestamp(), Timestamp::MIN),
        not_after: time(parsed.validity().not_after.timestamp(), Timestamp::MAX),
    })
}

/// Reads the key in the PEM file at `path`, and its certificate.
fn read(path: &Path) -> Result<(CertificateDer<'static>, EncodingKey), SecretError> {
    let pem = super::token_error::read_bytes(path)?;
    certificate_and_key(&pem).map_err(|problem| match unexpected_kind(&pem) {
        Some(kind) => SecretError::OtherKind { path: path.to_path_buf(), kind },
        None => SecretError::Certificate { path: path.to_path_buf(), problem },
    })
}

/// Parses the key of a PEM text and finds its certificate. The text around the PEM blocks may be in any
/// encoding: OpenSSL writes the names of a certificate there. The error is a description of the problem.
fn certificate_and_key(pem: &[u8]) -> Result<(CertificateDer<'static>, EncodingKey), &'static str> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| "it is not valid PEM")?;
    if certificates.is_empty() {
        return Err("it contains no certificate in PEM form");
    }
    let contains = |marker: &[u8]| pem.windows(marker.len()).any(|part| part == marker);
    if contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED") {
        return Err("its private key is encrypted; a key without a passphrase is required");
    }
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "it contains no private key in PEM form (PKCS#8 or PKCS#1)")?;
    let (pair, signing) = match &key {
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            (RsaKeyPair::from_pkcs8(der), pkcs8_signing_key(der))
        }
        PrivateKeyDer::Pkcs1(key) => {
            let der = key.secret_pkcs1_der();
            (RsaKeyPair::from_der(der), Ok(EncodingKey::from_rsa_der(der)))
        }
        _ => return Err("its private key is not an RSA key; Entra accepts RSA only"),
    };
    let (Ok(pair), Ok(signing)) = (pair, signing) else {
        return Err("its private key is not an RSA key of 2048 bits or more; Entra accepts RSA only");
    };
    // A certificate contains the public key with the same bytes as `public_key` (RFC 8017, A.1.1).
    let public = pair.public_key().as_ref();
    let belongs = |der: &CertificateDer<'_>| der.windows(public.len()).any(|part| part == public);
    let certificate = certificates.into_iter().find(belongs);
    Ok((certificate.ok_or("none of its certificates belongs to its private key")?, signing))
}

/// jsonwebtoken accepts a PKCS#8 key only as PEM.
fn pkcs8_signing_key(der: &[u8]) -> jsonwebtoken::errors::Result<EncodingKey> {
    let text = base64::encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    EncodingKey::from_rsa_pem(pem.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jsonwebtoken::{DecodingKey, Validation};
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::Value;

    use super::*;

    struct TestCertificate {
        certificate: rcgen::Certificate,
        key: KeyPair,
    }

    fn identity() -> TestCertificate {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        TestCertificate { certificate, key }
    }

    fn problem(pem: &str) -> &'static str {
        certificate_and_key(pem.as_bytes()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn assertion_has_the_form_that_entra_requires() {
        let identity = identity();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}{}", identity.certificate.pem(), identity.key.serialize_pem()).unwrap();
        let now: Timestamp = "2026-05-04T10:00:00Z".parse().unwrap();
        let make =
            || assertion(file.path(), "https://login.example/t/oauth2/v2.0/token", "app", now).unwrap();
        let jwt = make();

        let header = jsonwebtoken::decode_header(&jwt).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::PS256, Some("JWT")));
        let thumbprint = base64::decode_url_safe(header.x5t_s256.unwrap()).unwrap();
        assert_eq!(thumbprint, digest(&SHA256, identity.certificate.der()).as_ref());

        let mut rules = Validation::new(Algorithm::PS256);
        rules.set_audience(&["https://login.example/t/oauth2/v2.0/token"]);
        rules.validate_exp = false;
        let public = identity.key.public_key_pem();
        let key = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
        let claims = jsonwebtoken::decode::<Value>(&jwt, &key, &rules).unwrap().claims;
        assert_eq!((&claims["iss"], &claims["sub"]), (&"app".into(), &"app".into()));
        assert_eq!(claims["nbf"], now.as_second());
        assert_eq!(claims["exp"], now.as_second() + 300);
        let again = jsonwebtoken::decode::<Value>(&make(), &key, &rules).unwrap().claims;
        assert_ne!(claims["jti"], again["jti"]);
    }

    #[test]
    fn key_finds_its_certificate_in_any_order_and_form() {
        let (ours, other) = (identity(), identity());
        let pkcs8 = ours.key.serialize_pem();
        // RFC 5208: in a PKCS#8 key of RSA, 26 bytes stand before the PKCS#1 key.
        let pkcs1 = base64::encode(&ours.key.serialize_der()[26..]);
        let pkcs1 = format!("-----BEGIN RSA PRIVATE KEY-----\n{pkcs1}\n-----END RSA PRIVATE KEY-----\n");
        let (mine, chain) = (ours.certificate.pem(), other.certificate.pem());
        for pem in [
            format!("{pkcs8}{mine}{chain}"),
            format!("{chain}{mine}{pkcs8}"),
            format!("Bag Attributes\n{mine}{pkcs1}{chain}"),
        ] {
            assert_eq!(&certificate_and_key(pem.as_bytes()).unwrap().0, ours.certificate.der());
            let latin_1 = [b"subject=CN = M\xfcnchen\r\n".as_slice(), pem.as_bytes(), b"\xe4"].concat();
            assert_eq!(&certificate_and_key(&latin_1).unwrap().0, ours.certificate.der());
        }
        assert!(problem(&format!("{chain}{pkcs8}")).contains("none of its certificates belongs"));
    }

    #[test]
    fn wrong_contents_are_named() {
        let ours = identity();
        let (certificate, key) = (ours.certificate.pem(), ours.key.serialize_pem());
        let elliptic = KeyPair::generate().unwrap().serialize_pem();
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(problem("").contains("no certificate"));
        assert!(problem(&key).contains("no certificate"));
        assert!(problem(&certificate).contains("no private key"));
        assert!(problem(&format!("{certificate}{locked}")).contains("encrypted"));
        assert!(problem(&format!("{certificate}{elliptic}")).contains("not an RSA key"));
        assert!(problem(&certificate.replace("-----END", "")).contains("not valid PEM"));
    }
}
