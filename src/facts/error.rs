//! Errors of sources and of the facts file.

use std::sync::Arc;

use reqwest::StatusCode;

use super::ParseError;
use super::file::FactsRefusal;
use crate::http::{HttpError, TransportError};
use crate::model::FactsFailure;

/// The reason for which the data of a source is not used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection settings cannot be used.
    #[error("cannot set up connections")]
    Settings(#[source] Arc<HttpError>),
    /// The connection failed or was interrupted.
    #[error("no reply")]
    Network(#[source] TransportError),
    /// No complete reply in time.
    #[error("no complete reply in time [facts.http.timeout is the limit]")]
    Timeout,
    /// A reply other than a success.
    #[error("the host answers with status {}", .0.as_u16())]
    Status(StatusCode),
    /// A redirect that is not followed.
    #[error("the host redirects to {to}, which is neither https nor a host of facts.sources")]
    Redirect {
        /// The target, without path and query.
        to: String,
    },
    /// The data does not have the expected shape.
    #[error("the data {0}")]
    Decode(ParseError),
    /// The data has its shape, but is not accepted.
    #[error("the data {0}")]
    Refused(FactsRefusal),
}

impl SourceError {
    /// Returns whether the next request to the same host would probably fail too.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        matches!(
            self.reason(),
            FactsFailure::Forbidden
                | FactsFailure::Network
                | FactsFailure::Settings
                | FactsFailure::ServerError
                | FactsFailure::Timeout
        )
    }

    /// The reason for the metric.
    #[must_use]
    pub fn reason(&self) -> FactsFailure {
        match self {
            Self::Settings(_) => FactsFailure::Settings,
            Self::Network(_) => FactsFailure::Network,
            Self::Timeout => FactsFailure::Timeout,
            Self::Status(status) => of_status(*status),
            Self::Redirect { .. } => FactsFailure::Redirect,
            Self::Decode(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
        }
    }
}

impl From<FactsRefusal> for SourceError {
    fn from(refusal: FactsRefusal) -> Self {
        Self::Refused(refusal)
    }
}

fn of_status(status: StatusCode) -> FactsFailure {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            FactsFailure::Forbidden
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => FactsFailure::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => FactsFailure::ServerError,
        status if status.is_server_error() => FactsFailure::ServerError,
        _ => FactsFailure::UnexpectedStatus,
    }
}
