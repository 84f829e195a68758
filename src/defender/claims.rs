//! What a token says of itself.
//!
//! Read for people, never for a decision of the exporter: the signature is not checked, and Microsoft
//! asks clients not to rely on the form of tokens for another API
//! (<https://learn.microsoft.com/entra/identity-platform/access-tokens>). So whatever cannot be read is
//! left out.

use azure_core::base64;
use jiff::Timestamp;
use serde_json::Value;

/// A token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// When it ends.
    pub expires: Timestamp,
    /// What it claims; none when it cannot be read.
    pub claims: Option<Claims>,
}

/// The claims that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The API it is for; empty when it does not say.
    pub audience: String,
    /// Application roles that were granted and consented to.
    pub roles: Vec<String>,
}

impl Claims {
    /// The claims of a JWT.
    pub(super) fn of(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let payload: Value = serde_json::from_slice(&base64::decode_url_safe(payload).ok()?).ok()?;
        let payload = payload.as_object()?;
        let roles = payload.get("roles").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            audience: payload.get("aud").and_then(Value::as_str).unwrap_or_default().to_owned(),
            roles: roles.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// Whether a role was granted, if only as part of one that may write too.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role || own.replace("ReadWrite", "Read") == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(payload: &str) -> Option<Claims> {
        Claims::of(&format!("x.{}.y", base64::encode_url_safe(payload.as_bytes())))
    }

    #[test]
    fn roles_and_audience_are_read_and_may_be_missing() {
        let read = claims(r#"{"aud":"https://api.example","roles":["Machine.ReadWrite.All",7]}"#).unwrap();
        assert_eq!(read.audience, "https://api.example");
        assert!(read.has("Machine.Read.All") && read.has("Machine.ReadWrite.All"));
        assert!(!read.has("Software.Read.All"));
        assert_eq!(claims("{}"), Some(Claims::default()));
        assert_eq!(claims(r#"{"aud":["x"],"roles":"all"}"#), Some(Claims::default()));
    }

    #[test]
    fn what_is_no_jwt_claims_nothing() {
        for token in ["", "opaque", "a.b", "a.%%.c", "..", "eyJ.eyJ.x"] {
            assert_eq!(Claims::of(token), None, "{token}");
        }
        assert_eq!(claims("[]"), None);
    }
}
