//! Verification of client assertions: JWTs signed with the certificate of the application.
//!
//! The rules are those of the Entra page "Application authentication certificate credentials": PS256, the
//! certificate's SHA-256 as `x5t#S256`, the token URL as audience, the client id as issuer and subject, a
//! `jti` that is used once, and a lifetime of at most ten minutes.

use std::collections::HashSet;

use aws_lc_rs::digest;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::oauth_error::OAuthError;

const MAX_LIFETIME_SECS: i64 = 600;

/// Allowed difference between the clocks of client and authority.
const LEEWAY_SECS: i64 = 5;

/// A certificate that the application may sign with.
pub(super) struct RegisteredCertificate {
    thumbprint: String,
    key: DecodingKey,
    used_ids: HashSet<String>,
}

impl RegisteredCertificate {
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let certificate = pem_of(&der);
        let key = DecodingKey::from_rsa_pem(certificate.as_bytes()).ok()?;
        let thumbprint = base64_url(digest::digest(&digest::SHA256, &der).as_ref());
        Some(Self { thumbprint, key, used_ids: HashSet::new() })
    }

    /// Verifies an assertion, and rejects one whose `jti` was used before.
    pub(super) fn check(
        &mut self,
        assertion: &str,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let malformed = || OAuthError::client(50_027, "JWT token is invalid or malformed.");
        let header = decode_header(assertion).map_err(|_| malformed())?;
        if header.x5t_s256.as_deref() != Some(self.thumbprint.as_str()) {
            return Err(OAuthError::client(
                700_027,
                "The certificate with identifier used to sign the client assertion is not registered on \
                 application. [Reason - The key was not found.]",
            ));
        }
        let mut validation = Validation::new(Algorithm::PS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = decode::<Value>(assertion, &self.key, &validation)
            .map_err(|_| OAuthError::client(700_027, "Client assertion failed signature validation."))?
            .claims;
        check_claims(&claims, client_id, audience, now)?;
        let jti = claims["jti"].as_str().filter(|jti| !jti.is_empty()).ok_or_else(malformed)?;
        if !self.used_ids.insert(jti.to_owned()) {
            return Err(OAuthError::client(50_027, "JWT token is invalid or malformed: it was used before."));
        }
        Ok(())
    }
}

fn check_claims(claims: &Value, client_id: &str, audience: &str, now: Timestamp) -> Result<(), OAuthError> {
    if claims["aud"] != audience {
        return Err(OAuthError::client(
            700_023,
            "Client assertion audience claim does not match Realm issuer. Review the documentation at \
             https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
        ));
    }
    if claims["iss"] != client_id || claims["sub"] != client_id {
        return Err(OAuthError::client(
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    let now = now.as_second();
    match (claims["nbf"].as_i64(), claims["exp"].as_i64()) {
        (Some(not_before), Some(expires))
            if not_before <= now + LEEWAY_SECS
                && expires > now
                && expires - not_before <= MAX_LIFETIME_SECS + LEEWAY_SECS =>
        {
            Ok(())
        }
        _ => Err(OAuthError::client(700_024, "Client assertion is not within its valid time range.")),
    }
}

/// The certificate alone, as PEM: the registered text may contain the key too.
fn pem_of(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    text.push_str(&encode(der, STANDARD, Padding::Full));
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Full,
    None,
}

fn base64_url(bytes: &[u8]) -> String {
    encode(bytes, URL_SAFE, Padding::None)
}

fn encode(bytes: &[u8], alphabet: &[u8; 64], padding: Padding) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |group, (at, &byte)| group | u32::from(byte) << (16 - 8 * at));
        for at in 0..4 {
            if at <= chunk.len() {
                let index = (group >> (18 - 6 * at)) & 0x3f;
                text.push(char::from(alphabet[index as usize]));
            } else if padding == Padding::Full {
                text.push('=');
            }
        }
    }
    text
}
