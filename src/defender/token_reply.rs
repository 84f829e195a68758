//! The reply with a token, decoded tolerantly.
//!
//! Endpoints disagree: `expires_in` is a number at Entra, text at managed identities, and absent at some of
//! them (<https://learn.microsoft.com/azure/app-service/overview-managed-identity>).

use std::fmt;
use std::time::Duration;

use azure_core::base64;
use azure_core::credentials::Secret;
use jiff::Timestamp;
use serde_json::Value;

use crate::text::without_byte_order_mark;

/// The lifetime of a token if nothing states it. A token that expires earlier is refused with 401 and replaced.
const UNKNOWN_LIFE: Duration = Duration::from_mins(10);

/// A token and the remaining lifetime that was stated with it.
#[derive(Clone)]
pub(super) struct IssuedToken {
    pub(super) secret: Secret,
    pub(super) life: Duration,
}

impl IssuedToken {
    /// Parses a reply that was sent at `now`; none if it contains no token.
    pub(super) fn parse(body: &[u8], now: Timestamp) -> Option<Self> {
        let body = without_byte_order_mark(body);
        let reply: Value = serde_json::from_slice(body).ok()?;
        let token = reply.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
        let until = |end: f64| end - (now.as_duration().as_secs_f64());
        let seconds = number(&reply["expires_in"])
            .or_else(|| number(&reply["expires_on"]).map(until))
            .or_else(|| claimed_end(token).map(until));
        let life = match seconds {
            None => UNKNOWN_LIFE,
            Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            Some(_) => Duration::ZERO,
        };
        Some(Self { secret: Secret::new(token.to_owned()), life })
    }
}

/// A number, or text with one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// The claim `exp` of a JWT.
fn claimed_end(token: &str) -> Option<f64> {
    let payload = base64::decode_url_safe(token.split('.').nth(1)?).ok()?;
    number(&serde_json::from_slice::<Value>(&payload).ok()?["exp"])
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedToken(<secret>, {:?})", self.life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(fields: &str) -> Option<u64> {
        let body = format!("{{\"access_token\":\"x\"{fields}}}");
        let now = Timestamp::from_second(1_000_000).unwrap();
        IssuedToken::parse(body.as_bytes(), now).map(|token| token.life.as_secs())
    }

    #[test]
    fn lifetime_is_read_in_every_form() {
        assert_eq!(life(r#","expires_in":3599"#), Some(3599));
        assert_eq!(life(r#","expires_in":"3599","expires_on":"7""#), Some(3599));
        assert_eq!(life(r#","expires_in":" 3599.0 ""#), Some(3599));
        assert_eq!(life(r#","expires_on":"1000060""#), Some(60));
        assert_eq!(life(r#","expires_on":1000060,"expires_in":null"#), Some(60));
        assert_eq!(life(r#","expires_in":"soon""#), Some(600));
        assert_eq!(life(""), Some(600));
        assert_eq!(life(r#","expires_in":0"#), Some(0));
        assert_eq!(life(r#","expires_on":999999"#), Some(0));
        let claims = base64::encode_url_safe(br#"{"exp":1000090}"#);
        let body = format!("\u{feff}{{\"access_token\":\"x.{claims}.y\"}}");
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(IssuedToken::parse(body.as_bytes(), now).unwrap().life.as_secs(), 90);
    }

    #[test]
    fn reply_without_a_token_is_none() {
        for body in ["", "{}", "[]", r#"{"access_token":""}"#, r#"{"access_token":7,"expires_in":1}"#] {
            assert!(IssuedToken::parse(body.as_bytes(), Timestamp::UNIX_EPOCH).is_none(), "{body}");
        }
    }
}
