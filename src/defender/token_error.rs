//! Why there is no token, in words that a person can act on.
//!
//! Nothing here ever holds a secret or the raw body of a reply: of a refusal only the code, the first
//! line of the description and the correlation id are kept. [`aadsts`] says what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::aadsts;
use super::transport_error::TransportError;

/// What to do when there is no reply, or not all of it.
pub(super) const TIMEOUT_ADVICE: &str =
    "a firewall or a proxy may be in the way; http.timeout allows more time";

/// Longest description that is kept, in characters. Entra's are shorter.
const LONGEST_MESSAGE: usize = 300;

/// Why there is no token. Cheap to clone: callers that waited for one refresh share its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// The secret, certificate or federated token of the configuration cannot be used.
    #[error("no {what} to ask for a token with")]
    SecretUnreadable {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        source: SecretError,
    },
    /// The request could not even be made: the identity library refuses the configured values.
    #[error("cannot ask for a token")]
    Unusable {
        /// What the library said.
        source: Arc<azure_core::Error>,
    },
    /// A clear no, with a reason.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No connection, or it broke.
    #[error("cannot reach `{endpoint}` for a token")]
    Network {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
        /// What went wrong on the way.
        source: TransportError,
    },
    /// No full reply in time.
    #[error("no token from `{endpoint}` in time [{}]", TIMEOUT_ADVICE)]
    Timeout {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
    },
    /// A reply that is neither a token nor a refusal: too long, another format, an error page of
    /// something in between, or a token that has run out.
    #[error("reply of `{endpoint}` (HTTP {status}) is not a token reply: {problem}")]
    BadReply {
        /// Host of the token endpoint.
        endpoint: Arc<str>,
        /// HTTP status; 0 when there was none.
        status: u16,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl TokenError {
    /// The reason label of metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Timeout { .. } => "timeout",
            Self::SecretUnreadable { .. }
            | Self::Unusable { .. }
            | Self::Refused(_)
            | Self::BadReply { .. } => "token",
        }
    }

    /// Whether asking again soon can help, with nothing changed by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Network { source, .. } => !source.is_lasting(),
            Self::Timeout { .. } => true,
            Self::Refused(refusal) => passes(refusal.status),
            Self::BadReply { status, .. } => passes(*status),
            Self::SecretUnreadable { .. } | Self::Unusable { .. } => false,
        }
    }
}

fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// What Entra, or the endpoint of a managed identity, answered instead of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{endpoint}` refused a token: {message} (HTTP {status}{}{}){}",
    part(", ", self.code.as_deref(), ""),
    part(", correlation id ", self.correlation_id.as_deref(), ""),
    part(" [", self.hint, "]")
)]
pub struct Refusal {
    /// Host of the token endpoint.
    pub endpoint: Arc<str>,
    /// HTTP status.
    pub status: u16,
    /// Like `AADSTS7000215`.
    pub code: Option<String>,
    /// First line of the description.
    pub message: String,
    /// What Microsoft's support asks for.
    pub correlation_id: Option<String>,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

fn part(before: &str, value: Option<&str>, after: &str) -> String {
    value.map(|value| format!("{before}{value}{after}")).unwrap_or_default()
}

impl Refusal {
    /// The refusal that a reply's body holds, if it holds one.
    pub(super) fn parse(endpoint: &Arc<str>, status: u16, body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        // App Service says `message` where Entra says `error_description`.
        let said = text("error_description").or_else(|| text("message")).or_else(|| text("error"))?;
        let (code_in_text, message) = split_code(said);
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

/// Takes `AADSTSnnnn: ` off the front of a description.
fn split_code(description: &str) -> (Option<&str>, &str) {
    let parts = description.strip_prefix("AADSTS").and_then(|rest| rest.split_once(':'));
    match parts {
        Some((code, rest)) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Some(code), rest.trim())
        }
        _ => (None, description),
    }
}

/// The first line, of bounded length and without control characters: it goes to terminals and logs.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

/// Why a secret of the configuration cannot be used. Names where it was looked for, never its value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read, or is not text.
    #[error("cannot read `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The file has nothing but white space.
    #[error("`{}` is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The environment variable is missing, empty, or not text.
    #[error("environment variable `{name}` is not set, or empty")]
    NotSet {
        /// Name of the variable.
        name: String,
    },
    /// The file is not certificate and RSA key in PEM form.
    #[error("`{}` is not usable: {problem}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The text of a secret's file, without white space around it. The read blocks: the files are small
/// and local, and it happens about once an hour.
pub(super) fn read(path: &Path) -> Result<String, SecretError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SecretError::Unreadable { path: path.to_path_buf(), source: Arc::new(source) })?;
    match text.trim() {
        "" => Err(SecretError::Empty { path: path.to_path_buf() }),
        text => Ok(text.to_owned()),
    }
}

/// The text of a secret's environment variable, without white space around it.
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

    fn refusal(status: u16, body: &str) -> Option<Refusal> {
        Refusal::parse(&"login.example".into(), status, body.as_bytes())
    }

    #[test]
    fn refusal_says_code_reason_and_what_to_do_on_one_line() {
        let body = r#"{"error":"invalid_client","error_description":
            "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1\r\nTimestamp: 2026-01-09",
            "error_codes":[7000215],"trace_id":"1","correlation_id":"fb3d2015-bc17"}"#;
        insta::assert_snapshot!(refusal(401, body).unwrap(), @"`login.example` refused a token: Invalid client secret provided (HTTP 401, AADSTS7000215, correlation id fb3d2015-bc17) [wrong client secret; is it the secret's id instead of its value? Make a new one under Certificates & secrets of the application if the value is lost]");
    }

    #[test]
    fn code_is_found_in_the_description_when_the_list_is_missing() {
        let found = refusal(400, r#"{"error_description":"AADSTS90002: Tenant 'x' not found."}"#).unwrap();
        assert_eq!(found.code.as_deref(), Some("AADSTS90002"));
        assert_eq!(found.message, "Tenant 'x' not found");
        assert!(found.hint.unwrap().contains("tenant_id"));
    }

    #[test]
    fn refusal_of_unknown_shape_keeps_what_it_says() {
        let said = |body| refusal(400, body).map(|refusal| (refusal.message, refusal.code));
        assert_eq!(said(r#"{"error":"invalid_request"}"#), Some(("invalid_request".into(), None)));
        assert_eq!(said(r#"{"statusCode":400,"message":"No identity"}"#), Some(("No identity".into(), None)));
        assert_eq!(said(r#"{"error_description":"AADSTS: odd"}"#), Some(("AADSTS: odd".into(), None)));
        assert_eq!(said("<html>Bad Gateway</html>"), None);
        assert_eq!(said("[]"), None);
        assert_eq!(said(r#"{"error_description":7}"#), None);
    }

    #[test]
    fn description_is_cut_and_stripped_before_it_reaches_a_terminal() {
        let long = format!(r#"{{"error":"\u001b[31m{}\nsecond"}}"#, "x".repeat(1000));
        let message = refusal(400, &long).unwrap().message;
        assert_eq!(message.chars().count(), LONGEST_MESSAGE);
        assert!(message.starts_with("[31mx") && !message.contains("second"));
    }

    #[test]
    fn only_passing_trouble_is_worth_another_try() {
        let error = |status| TokenError::BadReply { endpoint: "x".into(), status, problem: "" };
        assert!([408, 429, 500, 503].iter().all(|status| error(*status).is_transient()));
        assert!([0, 200, 400, 401, 404].iter().all(|status| !error(*status).is_transient()));
        assert!(TokenError::Timeout { endpoint: "x".into() }.is_transient());
    }

    #[test]
    fn secret_errors_name_the_place() {
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
