//! The claims of a token.
//!
//! They are shown to operators and never decide anything: the signature is not verified, and Microsoft asks
//! clients not to depend on the format of tokens for another API
//! (<https://learn.microsoft.com/entra/identity-platform/access-tokens>). Unreadable claims are omitted.

use azure_core::base64;
use jiff::Timestamp;
use serde_json::Value;

/// Properties of a token, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// The time at which it expires.
    pub expires: Timestamp,
    /// The claims; `None` if they are unreadable.
    pub claims: Option<TokenClaims>,
}

/// The claims that `check` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// The API that the token is for; empty if absent.
    pub audience: String,
    /// Application roles with admin consent.
    pub roles: Vec<String>,
}

impl TokenClaims {
    /// Parses the claims of a JWT.
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

    /// Returns whether `role` is granted, directly or through the role that also allows writing.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role || own.replace("ReadWrite", "Read") == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(payload: &str) -> Option<TokenClaims> {
        TokenClaims::of(&format!("x.{}.y", base64::encode_url_safe(payload.as_bytes())))
    }

    #[test]
    fn roles_and_audience_are_read_and_may_be_missing() {
        let read = claims(r#"{"aud":"https://api.example","roles":["Machine.ReadWrite.All",7]}"#).unwrap();
        assert_eq!(read.audience, "https://api.example");
        assert!(read.has("Machine.Read.All") && read.has("Machine.ReadWrite.All"));
        assert!(!read.has("Software.Read.All"));
        assert_eq!(claims("{}"), Some(TokenClaims::default()));
        assert_eq!(claims(r#"{"aud":["x"],"roles":"all"}"#), Some(TokenClaims::default()));
    }

    #[test]
    fn text_that_is_not_a_jwt_has_no_claims() {
        for token in ["", "opaque", "a.b", "a.%%.c", "..", "eyJ.eyJ.x"] {
            assert_eq!(TokenClaims::of(token), None, "{token}");
        }
        assert_eq!(claims("[]"), None);
    }
}
