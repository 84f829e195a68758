//! Errors of API calls, with a closed set of kinds.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use super::export_file_error::ExportFileError;
use super::token::TokenError;
use super::token_error::TIMEOUT_ADVICE;
use crate::http::TransportError;
use crate::model::{ApiOperation, FailureReason};
use crate::text::without_byte_order_mark;

/// A call without a usable reply. [`ApiError::kind`] is the metric label.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token is available.
    #[error("no token for the Defender API")]
    Token(#[from] TokenError),
    /// 401 with a new token too.
    #[error("`{endpoint}` refused a new token (401){detail}")]
    Unauthorized {
        /// The operation.
        endpoint: ApiOperation,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// 403. The error text names the missing application role.
    #[error("`{endpoint}` is forbidden (403){detail}{}", grant_hint(*.endpoint, .detail))]
    Forbidden {
        /// The operation.
        endpoint: ApiOperation,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// 404.
    #[error("`{endpoint}` found nothing (404){detail}")]
    NotFound {
        /// The operation.
        endpoint: ApiOperation,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// 429 with a longer delay than a poll waits for.
    #[error("`{endpoint}` refuses calls for another {} (429){detail}", humantime::format_duration(*.wait))]
    Throttled {
        /// The operation.
        endpoint: ApiOperation,
        /// The requested delay, rounded up to seconds.
        wait: Duration,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// 400: the request is invalid, for example a filter that the API cannot parse.
    #[error("`{endpoint}` does not accept the request (400){detail}")]
    BadRequest {
        /// The operation.
        endpoint: ApiOperation,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// 408 or 5xx after all retries.
    #[error("`{endpoint}` failed ({}){detail}", .status.as_u16())]
    Server {
        /// The operation.
        endpoint: ApiOperation,
        /// The status of the last reply.
        status: StatusCode,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// A status that the API does not document. Includes redirects, which are never followed with a token.
    #[error("`{endpoint}` answered with an unexpected status ({}){detail}", .status.as_u16())]
    UnexpectedStatus {
        /// The operation.
        endpoint: ApiOperation,
        /// The reply's status.
        status: StatusCode,
        /// The error text of the API.
        detail: ErrorDetail,
    },
    /// No complete reply within `http.timeout` after all retries.
    #[error("`{endpoint}` sent no complete reply in time [{}]", TIMEOUT_ADVICE)]
    Timeout {
        /// The operation.
        endpoint: ApiOperation,
    },
    /// The connection failed or was interrupted after all retries.
    #[error("the connection to `{endpoint}` failed")]
    Network {
        /// The operation.
        endpoint: ApiOperation,
        /// The cause.
        #[source]
        source: TransportError,
    },
    /// The reply is not JSON, or not of the expected shape.
    #[error("the reply of `{endpoint}` does not have the expected shape")]
    Decode {
        /// The operation.
        endpoint: ApiOperation,
        /// The parse error.
        #[source]
        source: serde_json::Error,
    },
    /// The reply has records, none of them usable. Accepting the reply would mean "no missing update".
    #[error("none of the {records} records in the reply of `{endpoint}` can be used")]
    Unusable {
        /// The operation.
        endpoint: ApiOperation,
        /// The number of records.
        records: u64,
    },
    /// The reply is larger than any plausible reply.
    #[error("the reply of `{endpoint}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The operation.
        endpoint: ApiOperation,
        /// The limit after decompression.
        limit_bytes: usize,
    },
    /// The list does not end: too many pages, or a next link that was followed already.
    #[error("the pages of `{endpoint}` do not end (gave up after {pages})")]
    PageLimit {
        /// The operation.
        endpoint: ApiOperation,
        /// The number of pages read.
        pages: u32,
    },
    /// A file of the export is damaged, so the whole export is rejected.
    #[error("file {file} of the export is corrupt")]
    Incomplete {
        /// Number of the file in the list, from 1. The link itself is a secret.
        file: usize,
        /// The damage.
        #[source]
        damage: ExportFileError,
    },
    /// The export has no file or no row. Accepting it would mean "no missing update anywhere".
    #[error("the export is empty")]
    Empty,
    /// A link of the export is not an https URL.
    #[error("the link of file {file} of the export is not an https URL without a user")]
    UnusableLink {
        /// Number of the file in the list, from 1. The link itself is a secret.
        file: usize,
    },
    /// A next link leads to a host that must not receive the token.
    #[error("a next link of `{endpoint}` leads to `{origin}`, which is not trusted with the token")]
    ForeignLink {
        /// The operation.
        endpoint: ApiOperation,
        /// Scheme, host and port of the link.
        origin: String,
    },
}

impl ApiError {
    /// The reason in metrics and logs.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Token(error) => error.reason(),
            Self::Unauthorized { .. } => FailureReason::Unauthorized,
            Self::Forbidden { .. } => FailureReason::Forbidden,
            Self::NotFound { .. } => FailureReason::NotFound,
            Self::Throttled { .. } => FailureReason::Throttled,
            Self::BadRequest { .. } => FailureReason::BadRequest,
            Self::Server { .. } => FailureReason::ServerError,
            Self::UnexpectedStatus { .. } => FailureReason::UnexpectedStatus,
            Self::Timeout { .. } => FailureReason::Timeout,
            Self::Network { .. } => FailureReason::Network,
            Self::Decode { .. } | Self::Unusable { .. } => FailureReason::Decode,
            Self::TooLarge { .. } => FailureReason::TooLarge,
            Self::PageLimit { .. } => FailureReason::PageLimit,
            Self::Incomplete { .. } => FailureReason::Incomplete,
            Self::Empty => FailureReason::Empty,
            Self::ForeignLink { .. } | Self::UnusableLink { .. } => FailureReason::ForeignLink,
        }
    }

    /// The word of [`reason`](Self::reason).
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.reason().as_str()
    }

    /// The code of Entra's refusal, as `AADSTS7000222`, when that is what it is.
    #[must_use]
    pub fn entra_code(&self) -> Option<&str> {
        match self {
            Self::Token(TokenError::Refused(refusal)) => refusal.code.as_deref(),
            _ => None,
        }
    }

    /// Returns whether a call without a complete reply would fail again.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Network { source, .. } if source.is_lasting())
    }

    /// Returns whether the token, or the credential for it, is refused.
    #[must_use]
    pub fn refuses_token(&self) -> bool {
        match self {
            Self::Token(TokenError::Paused { .. }) => false,
            Self::Token(error) => !error.is_transient(),
            Self::Unauthorized { .. } => true,
            _ => false,
        }
    }

    /// Returns whether every further call of the tenant would fail in the same way.
    #[must_use]
    pub fn stops_the_poll(&self) -> bool {
        matches!(
            self,
            Self::Token(_) | Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::Throttled { .. }
        )
    }
}

/// The role to grant if the error text reports a missing role. (A disabled feature is a 403 too.)
fn grant_hint(endpoint: ApiOperation, detail: &ErrorDetail) -> String {
    if !detail.names_roles() {
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
        // A file needs the permission for the list that contains its link.
        ApiOperation::Export | ApiOperation::ExportFile => "Vulnerability.Read.All",
    }
}

/// The error text of the API: `error.code`, `error.message`, `error.target`.
///
/// `target` is the correlation id that Microsoft support asks for
/// (<https://learn.microsoft.com/defender-endpoint/api/common-errors>). Every part may be absent, because
/// gateways answer with HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetail {
    /// A code such as `ResourceNotFound`.
    pub code: String,
    /// Free text.
    pub message: String,
    /// Correlation id.
    pub target: String,
}

impl ErrorDetail {
    /// Parses `body` and shortens the texts for log lines.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let value: serde_json::Value =
            serde_json::from_slice(without_byte_order_mark(body)).unwrap_or_default();
        let part = |name: &str| value["error"][name].as_str().map(printable).unwrap_or_default();
        Self { code: part("code"), message: part("message"), target: part("target") }
    }
}

impl ErrorDetail {
    /// Returns whether the text reports a missing application role.
    #[must_use]
    pub fn names_roles(&self) -> bool {
        self.message.contains("roles")
    }
}

/// At most 300 characters, control characters replaced: the text goes into log lines and pages.
fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for ErrorDetail {
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
    fn error_body_becomes_one_readable_line() {
        let body = br#"{"error":{"code":"Forbidden","message":"Missing application roles.\r\nAPI required roles: Software.Read.All, application roles: .","target":"43f4cb08"}}"#;
        let error =
            ApiError::Forbidden { endpoint: ApiOperation::MissingKbs, detail: ErrorDetail::parse(body) };
        insta::assert_snapshot!(error, @"`getmissingkbs` is forbidden (403): Forbidden: Missing application roles.  API required roles: Software.Read.All, application roles: . (correlation id 43f4cb08) [grant the application role `Software.Read.All` of WindowsDefenderATP, and then admin consent: Entra admin center > App registrations > the application > API permissions]");
    }

    #[test]
    fn a_gateway_page_has_no_detail() {
        assert_eq!(ErrorDetail::parse(b"<html>502</html>"), ErrorDetail::default());
        assert_eq!(ErrorDetail::parse(br#"{"error":"text"}"#), ErrorDetail::default());
        assert_eq!(ErrorDetail::parse(br"[1]").to_string(), "");
    }
}
