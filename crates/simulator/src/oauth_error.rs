//! Errors of the token endpoint, as Entra writes them.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::random::guid;
use super::replies::json_reply;

/// An error of the token endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    code: u32,
    description: String,
}

impl OAuthError {
    /// An error for a client that failed to authenticate.
    pub(super) fn client(code: u32, description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, description)
    }

    pub(super) fn request(error: &'static str, code: u32, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, description)
    }

    fn new(status: StatusCode, error: &'static str, code: u32, description: impl Into<String>) -> Self {
        Self { status, error, code, description: description.into() }
    }

    pub(super) fn response(&self, now: Timestamp, number: u64) -> Response<Body> {
        let trace = guid(number, 1);
        let correlation = guid(number, 2);
        let timestamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let description = format!(
            "AADSTS{}: {}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}",
            self.code, self.description
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        json_reply(self.status, &body)
    }
}
