//! Connections to the hosts of a tenant, for a diagnosis.

use std::fmt;

use reqwest::Url;

use super::token_error::TIMEOUT_ADVICE;
use super::{Client, managed_identity};
use crate::config::{Auth, Tenant};
use crate::http::TransportError;

/// The purpose of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPurpose {
    /// It issues tokens.
    Tokens,
    /// It is the API.
    Api,
}

/// An attempt to connect to a host.
#[derive(Clone, Debug)]
pub struct HostConnection {
    /// The purpose of the host.
    pub purpose: HostPurpose,
    /// Host and port.
    pub host: String,
    /// Whether a server answered.
    pub outcome: Result<(), ConnectionError>,
}

/// The reason that no server answered.
#[derive(Clone, Debug)]
pub enum ConnectionError {
    /// No answer in time.
    Timeout,
    /// The connection failed.
    Failed(TransportError),
}

impl ConnectionError {
    /// The cause, without advice.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Timeout => "no answer in time",
            Self::Failed(error) => error.detail(),
        }
    }

    /// Returns whether the proxy is the cause, and not the host behind it.
    #[must_use]
    pub fn concerns_proxy(&self) -> bool {
        matches!(self, Self::Failed(error) if error.concerns_proxy())
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(f, "no answer in time [{TIMEOUT_ADVICE}]"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Client {
    /// Connects to the token endpoint and to the API, without a token and without a call: each request is for
    /// the root of the host, and any answer counts. A token endpoint that is not supported is left out.
    pub async fn connect(&self, tenant: &Tenant) -> Vec<HostConnection> {
        let endpoint = match tenant.auth {
            Auth::ManagedIdentity { .. } => managed_identity::endpoint(),
            _ => Some(tenant.authority_url.clone()),
        };
        let tokens = async { Some(attempt(self.tokens.http_client(), HostPurpose::Tokens, endpoint?).await) };
        let api = attempt(&self.http, HostPurpose::Api, tenant.api_url.clone());
        let (tokens, api) = tokio::join!(tokens, api);
        tokens.into_iter().chain([api]).collect()
    }
}

async fn attempt(client: &reqwest::Client, purpose: HostPurpose, mut url: Url) -> HostConnection {
    url.set_path("/");
    url.set_query(None);
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    let outcome = match client.get(url).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.is_timeout() => Err(ConnectionError::Timeout),
        Err(error) => Err(ConnectionError::Failed(TransportError::of(error))),
    };
    HostConnection { purpose, host, outcome }
}
