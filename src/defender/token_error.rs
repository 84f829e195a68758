//! Errors of token requests, with advice for the operator.
//!
//! The errors never contain a secret or the raw body of a reply: of a refusal, only the code, the first line
//! of the description and the correlation id are kept. [`aadsts`] has the advice.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::aadsts;
use crate::file_kind::unexpected_kind;
use crate::http::TransportError;
use crate::model::FailureReason;
use crate::text::{read_text_file, without_byte_order_mark};

/// The advice if there is no complete reply.
pub(super) const TIMEOUT_ADVICE: &str =
    "a firewall or a proxy may be in the way; http.timeout allows more time";

/// The longest description that is kept, in characters. Entra's are shorter.
const LONGEST_MESSAGE: usize = 300;

/// The reason that no token is available. Cheap to clone: callers that waited for one request share its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// The configured secret, certificate or federated token is not usable.
    #[error("cannot read the {what} for a token request")]
    SecretUnreadable {
        /// The kind of the credential.
        what: &'static str,
        /// The reason.
        source: SecretError,
    },
    /// The identity library rejects the configured values.
    #[error("cannot create a token request")]
    Unusable {
        /// The error of the library.
        source: Arc<azure_core::Error>,
    },
    /// The environment announces a managed identity that is not supported.
    #[error("{what} is not supported [{advice}]")]
    UnsupportedIdentity {
        /// The identity and its host.
        what: &'static str,
        /// The alternative.
        advice: &'static str,
    },
    /// An earlier reply requested a pause that is longer than a caller waits.
    #[error("`{endpoint}` gives out no token for another {}", humantime::format_duration(*.wait))]
    Paused {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
        /// The remaining time, rounded up to seconds.
        wait: Duration,
    },
    /// The endpoint refused the request with a reason.
    #[error("{0}")]
    Refused(Box<TokenRefusal>),
    /// The connection failed or was interrupted.
    #[error("cannot reach `{endpoint}` for a token")]
    Network {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
        /// The cause.
        source: TransportError,
    },
    /// No complete reply in time.
    #[error("no token from `{endpoint}` in time [{}]", TIMEOUT_ADVICE)]
    Timeout {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
    },
    /// A reply that is neither a token nor a refusal: too long, another format, the error page of a proxy, or
    /// an expired token.
    #[error("reply of `{endpoint}` (HTTP {status}) is not a token reply: {problem}")]
    BadReply {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
        /// HTTP status; 0 if there was none.
        status: u16,
        /// The problem.
        problem: &'static str,
    },
}

impl TokenError {
    /// The reason in metrics and logs.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Network { .. } => FailureReason::Network,
            Self::Timeout { .. } => FailureReason::Timeout,
            Self::Paused { .. } => FailureReason::Throttled,
            Self::SecretUnreadable { .. }
            | Self::Unusable { .. }
            | Self::UnsupportedIdentity { .. }
            | Self::Refused(_)
            | Self::BadReply { .. } => FailureReason::Token,
        }
    }

    /// The word of [`reason`](Self::reason).
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.reason().as_str()
    }

    /// Returns whether a retry within a minute or two can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Network { source, .. } => !source.is_lasting(),
            Self::Timeout { .. } => true,
            Self::Refused(refusal) => is_transient_status(refusal.status),
            Self::BadReply { status, .. } => is_transient_status(*status),
            Self::SecretUnreadable { .. }
            | Self::Unusable { .. }
            | Self::UnsupportedIdentity { .. }
            | Self::Paused { .. } => false,
        }
    }
}

fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// The error reply of Entra, or of the endpoint of a managed identity, to a token request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{endpoint}` refused a token: {message} (HTTP {status}{}{}){}",
    part(", ", self.code.as_deref(), ""),
    part(", correlation id ", self.correlation_id.as_deref(), ""),
    part(" [", self.hint, "]")
)]
pub struct TokenRefusal {
    /// Host of the token endpoint.
    pub endpoint: Arc<str>,
    /// HTTP status.
    pub status: u16,
    /// A code such as `AADSTS7000215`.
    pub code: Option<String>,
    /// The first line of the description.
    pub message: String,
    /// The id that Microsoft support asks for.
    pub correlation_id: Option<String>,
    /// The advice for the code.
    pub hint: Option<&'static str>,
}

fn part(before: &str, value: Option<&str>, after: &str) -> String {
    value.map(|value| format!("{before}{value}{after}")).unwrap_or_default()
}

impl TokenRefusal {
    /// Parses the refusal in the body of a reply.
    pub(super) fn parse(endpoint: &Arc<str>, status: u16, body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(without_byte_order_mark(body)).ok()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        // App Service uses `message` in place of Entra's `error_description`.
        let description = text("error_description").or_else(|| text("message")).or_else(|| text("error"))?;
        let (code_in_text, message) = split_code(description);
        let code = body
            .pointer("/error_codes/0")
            .and_then(Value::as_u64)
            .map(|code| code.to_string())
            .or_else(|| code_in_text.map(str::to_owned));
        Some(Self {
            endpoint: Arc::clone(endpoint),
            status,
            hint: code.as_deref().and_then(aadsts::advice),
            code: code.map(|code| format!("AADSTS{code}")),
            message: one_line(message).trim_end_matches('.').to_owned(),
            correlation_id: text("correlation_id").map(one_line),
        })
    }
}

/// Splits the prefix `AADSTSnnnn: ` from a description.
fn split_code(description: &str) -> (Option<&str>, &str) {
    let parts = description.strip_prefix("AADSTS").and_then(|rest| rest.split_once(':'));
    match parts {
        Some((code, rest)) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Some(code), rest.trim())
        }
        _ => (None, description),
    }
}

/// The first line, shortened and without control characters, for terminals and logs.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

/// The reason that a configured secret is not usable. Names its file or variable, never its value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is unreadable.
    #[error("cannot read `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
    /// The file contains nothing but white space.
    #[error("`{}` is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another kind than text or PEM.
    #[error("`{}` {kind}", .path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// The kind, and how the file becomes usable.
        kind: &'static str,
    },
    /// The environment variable is missing, empty, or not text.
    #[error("environment variable `{name}` is not set, or empty")]
    NotSet {
        /// Name of the variable.
        name: String,
    },
    /// The path, which another program named, is not one that is read.
    #[error("`{}` is not read; expected is {expected}", .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The description of a usable one.
        expected: &'static str,
    },
    /// The file does not contain a certificate and an RSA key in PEM form.
    #[error("`{}` is not usable: {problem}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: &'static str,
    },
}

/// Reads the file of a secret without surrounding white space. The read blocks, because the files are small
/// and local and are read about once an hour.
pub(super) fn read(path: &Path) -> Result<String, SecretError> {
    match read_text_file(path) {
        Ok(text) if text.contains('\0') => Err(other_kind(path)),
        Ok(text) if text.trim().is_empty() => Err(SecretError::Empty { path: path.to_path_buf() }),
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(other_kind(path)),
        Err(source) => Err(SecretError::Unreadable { path: path.to_path_buf(), source: Arc::new(source) }),
    }
}

/// The error of a file that is not text.
fn other_kind(path: &Path) -> SecretError {
    let content = std::fs::read(path).unwrap_or_default();
    let kind = unexpected_kind(&content).unwrap_or("is not UTF-8 text; save it as UTF-8");
    SecretError::OtherKind { path: path.to_path_buf(), kind }
}

/// Reads a file without its byte order mark.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, SecretError> {
    let mut content = std::fs::read(path)
        .map_err(|source| SecretError::Unreadable { path: path.to_path_buf(), source: Arc::new(source) })?;
    let mark = content.len() - without_byte_order_mark(&content).len();
    content.drain(..mark);
    Ok(content)
}

/// Reads the environment variable of a secret without surrounding white space.
pub(super) fn read_variable(name: &str) -> Result<String, SecretError> {
    let value = std::env::var(name).unwrap_or_default();
    match value.trim() {
        "" => Err(SecretError::NotSet { name: name.to_owned() }),
        value => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Option<TokenRefusal> {
        TokenRefusal::parse(&"login.example".into(), status, body.as_bytes())
    }

    #[test]
    fn refusal_is_one_line_with_code_reason_and_advice() {
        let body = r#"{"error":"invalid_client","error_description":
            "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1\r\nTimestamp: 2026-01-09",
            "error_codes":[7000215],"trace_id":"1","correlation_id":"fb3d2015-bc17"}"#;
        insta::assert_snapshot!(refusal(401, body).unwrap(), @"`login.example` refused a token: Invalid client secret provided (HTTP 401, AADSTS7000215, correlation id fb3d2015-bc17) [wrong client secret; check that it is the secret's value and not its id. Create a new one under Certificates & secrets of the application if the value is lost]");
    }

    #[test]
    fn code_is_parsed_from_the_description_without_a_list() {
        let parsed = refusal(400, r#"{"error_description":"AADSTS90002: Tenant 'x' not found."}"#).unwrap();
        assert_eq!(parsed.code.as_deref(), Some("AADSTS90002"));
        assert_eq!(parsed.message, "Tenant 'x' not found");
        assert!(parsed.hint.unwrap().contains("tenant_id"));
    }

    #[test]
    fn refusal_of_unknown_shape_keeps_its_message() {
        let parsed = |body| refusal(400, body).map(|refusal| (refusal.message, refusal.code));
        assert_eq!(parsed(r#"{"error":"invalid_request"}"#), Some(("invalid_request".into(), None)));
        assert_eq!(
            parsed(r#"{"statusCode":400,"message":"No identity"}"#),
            Some(("No identity".into(), None))
        );
        assert_eq!(parsed(r#"{"error_description":"AADSTS: odd"}"#), Some(("AADSTS: odd".into(), None)));
        assert_eq!(parsed("<html>Bad Gateway</html>"), None);
        assert_eq!(parsed("[]"), None);
        assert_eq!(parsed(r#"{"error_description":7}"#), None);
    }

    #[test]
    fn description_is_shortened_and_stripped() {
        let long = format!(r#"{{"error":"\u001b[31m{}\nsecond"}}"#, "x".repeat(1000));
        let message = refusal(400, &long).unwrap().message;
        assert_eq!(message.chars().count(), LONGEST_MESSAGE);
        assert!(message.starts_with("[31mx") && !message.contains("second"));
    }

    #[test]
    fn only_transient_errors_are_retried() {
        let error = |status| TokenError::BadReply { endpoint: "x".into(), status, problem: "" };
        assert!([408, 429, 500, 503].iter().all(|status| error(*status).is_transient()));
        assert!([0, 200, 400, 401, 404].iter().all(|status| !error(*status).is_transient()));
        assert!(TokenError::Timeout { endpoint: "x".into() }.is_transient());
    }

    #[test]
    fn secret_errors_name_the_file_or_variable() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.txt");
        assert!(read(&missing).unwrap_err().to_string().ends_with("missing.txt`"));
        let blank = tempfile::NamedTempFile::new_in(&folder).unwrap();
        std::io::Write::write_all(&mut blank.as_file(), b" \r\n").unwrap();
        assert!(read(blank.path()).unwrap_err().to_string().ends_with("` is empty"));
        std::io::Write::write_all(&mut blank.as_file(), b"s3 cret\n").unwrap();
        assert_eq!(read(blank.path()).unwrap(), "s3 cret");
        let unset = read_variable("MDE_EXPORTER_NO_SUCH_VARIABLE").unwrap_err();
        assert!(unset.to_string().contains("MDE_EXPORTER_NO_SUCH_VARIABLE"));
    }
}
