//! What can go wrong with a call, in a closed set of kinds.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use super::export::ExportFileError;
use super::token::TokenError;
use super::token_error::TIMEOUT_ADVICE;
use super::transport_error::TransportError;
use crate::self_metrics::ApiOperation;

/// A call that brought no usable answer. [`ApiError::kind`] is the metric label.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token could be had.
    #[error("no token for the Defender API")]
    Token(#[from] TokenError),
    /// 401, also with a new token.
    #[error("`{endpoint}` refused a new token (401){detail}")]
    Unauthorized {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The API's own words.
        detail: Detail,
    },
    /// 403. The API's words name the application role that is missing.
    #[error("`{endpoint}` is forbidden (403){detail}{}", grant_hint(*.endpoint, .detail))]
    Forbidden {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The API's own words.
        detail: Detail,
    },
    /// 404.
    #[error("`{endpoint}` found nothing (404){detail}")]
    NotFound {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The API's own words.
        detail: Detail,
    },
    /// 429, and the wait that the API asks for is longer than one poll should take.
    #[error("`{endpoint}` refuses calls for another {} (429){detail}", humantime::format_duration(*.wait))]
    Throttled {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// Rounded up to seconds.
        wait: Duration,
        /// The API's own words.
        detail: Detail,
    },
    /// 400: the request itself is wrong, as with a filter that the API does not understand.
    #[error("`{endpoint}` does not accept the request (400){detail}")]
    BadRequest {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The API's own words.
        detail: Detail,
    },
    /// 408 or 5xx, after every retry.
    #[error("`{endpoint}` failed ({}){detail}", .status.as_u16())]
    Server {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The newest reply's status.
        status: StatusCode,
        /// The API's own words.
        detail: Detail,
    },
    /// A status that the API does not document; redirects are among them, a token never follows one.
    #[error("`{endpoint}` answered with an unexpected status ({}){detail}", .status.as_u16())]
    UnexpectedStatus {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The reply's status.
        status: StatusCode,
        /// The API's own words.
        detail: Detail,
    },
    /// No whole reply within `http.timeout`, after every retry.
    #[error("`{endpoint}` gave no whole reply in time [{}]", TIMEOUT_ADVICE)]
    Timeout {
        /// The endpoint asked.
        endpoint: ApiOperation,
    },
    /// The connection failed or broke, after every retry.
    #[error("the connection to `{endpoint}` failed")]
    Network {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// What went wrong on the way.
        #[source]
        source: TransportError,
    },
    /// The reply is no JSON, or not of the expected shape.
    #[error("the reply of `{endpoint}` does not have the expected shape")]
    Decode {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// Records came, and not one could be used: believing the reply would read as "misses none".
    #[error("none of the {records} records in the reply of `{endpoint}` can be used")]
    Unusable {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// How many records came.
        records: u64,
    },
    /// The reply is larger than a reply can sensibly be.
    #[error("the reply of `{endpoint}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// The bound, after decompression.
        limit_bytes: usize,
    },
    /// The pages do not end: too many, or a link that was followed before.
    #[error("the pages of `{endpoint}` do not end (gave up after {pages})")]
    PageLimit {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// Pages read.
        pages: u32,
    },
    /// A file of the export did not arrive as it was written, so nothing of the export is believed.
    #[error("file {file} of the export cannot be believed")]
    Incomplete {
        /// Place in the list of files, from 1. The link itself is a secret.
        file: usize,
        /// What is wrong with it.
        #[source]
        damage: ExportFileError,
    },
    /// The export has no file or no row: believed, it would read as "nobody misses anything".
    #[error("the export is empty")]
    Empty,
    /// A link of the export is no https URL.
    #[error("the link of file {file} of the export is not one to follow (https, and no user in it)")]
    UnusableLink {
        /// Place in the list of files, from 1. The link itself is a secret.
        file: usize,
    },
    /// A next link leads to a place that may not have the token.
    #[error("a next link of `{endpoint}` leads to `{origin}`, which is not trusted with the token")]
    ForeignLink {
        /// The endpoint asked.
        endpoint: ApiOperation,
        /// Scheme, host and port of the link.
        origin: String,
    },
}

impl ApiError {
    /// The kind, one of [`crate::self_metrics::FAILURE_REASONS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Token(error) => error.kind(),
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Throttled { .. } => "throttled",
            Self::BadRequest { .. } => "bad_request",
            Self::Server { .. } => "server_error",
            Self::UnexpectedStatus { .. } => "unexpected_status",
            Self::Timeout { .. } => "timeout",
            Self::Network { .. } => "network",
            Self::Decode { .. } | Self::Unusable { .. } => "decode",
            Self::TooLarge { .. } => "too_large",
            Self::PageLimit { .. } => "page_limit",
            Self::Incomplete { .. } => "incomplete",
            Self::Empty => "empty",
            Self::ForeignLink { .. } | Self::UnusableLink { .. } => "foreign_link",
        }
    }

    /// The code of Entra's refusal, as `AADSTS7000222`, when that is what it is.
    #[must_use]
    pub fn entra_code(&self) -> Option<&str> {
        match self {
            Self::Token(TokenError::Refused(refusal)) => refusal.code.as_deref(),
            _ => None,
        }
    }

    /// Whether a call without a whole reply will have none next time either.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Network { source, .. } if source.is_lasting())
    }

    /// Whether every further call of the tenant would fail alike, so that asking on is pointless.
    #[must_use]
    pub fn stops_the_poll(&self) -> bool {
        matches!(
            self,
            Self::Token(_) | Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::Throttled { .. }
        )
    }
}

/// What to grant, when the API says that a role is missing (a switched-off feature is a 403 too).
fn grant_hint(endpoint: ApiOperation, detail: &Detail) -> String {
    if !detail.message.contains("roles") {
        return String::new();
    }
    let role = role(endpoint);
    format!(
        " [grant the application role `{role}` of WindowsDefenderATP, and then admin consent: Entra admin center > \
         App registrations > the application > API permissions]"
    )
}

/// The application role that an endpoint needs
/// (<https://learn.microsoft.com/defender-endpoint/api/get-machines> and
/// <https://learn.microsoft.com/defender-endpoint/api/get-missing-kbs-machine>, "Permissions").
#[must_use]
pub fn role(endpoint: ApiOperation) -> &'static str {
    match endpoint {
        ApiOperation::Machines | ApiOperation::FindByTag => "Machine.Read.All",
        ApiOperation::MissingKbs => "Software.Read.All",
        // A file needs the right to the list that named it.
        ApiOperation::Export | ApiOperation::ExportFile => "Vulnerability.Read.All",
    }
}

/// The API's own words about a failure: `error.code`, `error.message`, `error.target`.
///
/// `target` is the correlation id that Microsoft's support asks for
/// (<https://learn.microsoft.com/defender-endpoint/api/common-errors>). Every part may be absent:
/// gateways answer with HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// As `ResourceNotFound`.
    pub code: String,
    /// Free text.
    pub message: String,
    /// Correlation id.
    pub target: String,
}

impl Detail {
    /// What `body` says, cut to a length fit for a log line.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let part = |name: &str| value["error"][name].as_str().map(printable).unwrap_or_default();
        Self { code: part("code"), message: part("message"), target: part("target") }
    }
}

/// At most 300 characters, control characters replaced: the text goes into log lines and pages.
fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() || !self.message.is_empty() {
            write!(f, ": {}: {}", self.code, self.message)?;
        }
        if !self.target.is_empty() {
            write!(f, " (correlation id {})", self.target)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_becomes_one_readable_line() {
        let body = br#"{"error":{"code":"Forbidden","message":"Missing application roles.\r\nAPI required roles: Software.Read.All, application roles: .","target":"43f4cb08"}}"#;
        let error = ApiError::Forbidden { endpoint: ApiOperation::MissingKbs, detail: Detail::parse(body) };
        insta::assert_snapshot!(error, @"`getmissingkbs` is forbidden (403): Forbidden: Missing application roles.  API required roles: Software.Read.All, application roles: . (correlation id 43f4cb08) [grant the application role `Software.Read.All` of WindowsDefenderATP, and then admin consent: Entra admin center > App registrations > the application > API permissions]");
    }

    #[test]
    fn a_gateway_page_has_no_detail() {
        assert_eq!(Detail::parse(b"<html>502</html>"), Detail::default());
        assert_eq!(Detail::parse(br#"{"error":"text"}"#), Detail::default());
        assert_eq!(Detail::parse(br"[1]").to_string(), "");
    }
}
