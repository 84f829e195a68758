//! A running simulator: its listeners, and what a client needs to reach it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api;
use super::control::Control;
use super::export::blob;
use super::options::Options;
use super::secrets::{CLIENT_ID, CLIENT_SECRET, IDENTITY_HEADER, LINK_CANARY, TENANT_ID};
use super::state::SimulatorState;
use super::tls::{ResetHandle, ServerIdentity, TlsListener};

/// Time for which [`Simulator::stop`] waits for replies in flight.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// A running simulator. Dropping it stops listening; [`stop`](Self::stop) also lets replies finish.
#[derive(Debug)]
pub struct Simulator {
    base_url: String,
    ca_pem: String,
    control: Control,
    stopping: CancellationToken,
    server: JoinSet<io::Result<()>>,
}

impl Simulator {
    /// Creates the certificates and the fleet, and listens.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound or a certificate cannot be created.
    pub async fn start(options: Options) -> io::Result<Self> {
        let identity = ServerIdentity::generate()?;
        let listener = TlsListener::bind(options.listen, &identity).await?;
        let files_listener = TlsListener::bind(SocketAddr::new(options.listen.ip(), 0), &identity).await?;
        let base_url = format!("https://{}", listener.address());
        let files_url = format!("https://{}", files_listener.address());
        let state = Arc::new(SimulatorState::new(base_url.clone(), files_url, &options));
        let api = Router::new().fallback(api::handle).with_state(state.clone());
        let files = Router::new().fallback(blob::handle).with_state(state.clone());

        let stopping = CancellationToken::new();
        let mut server = JoinSet::new();
        for (listener, router) in [(listener, api), (files_listener, files)] {
            let service = router.into_make_service_with_connect_info::<ResetHandle>();
            let stopped = stopping.clone().cancelled_owned();
            server.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stopped).await });
        }
        Ok(Self { base_url, ca_pem: identity.ca_pem, control: Control::new(state), stopping, server })
    }

    /// The base URL of the Defender API, without a trailing slash.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.base_url.clone()
    }

    /// The base URL of the authority, without a trailing slash.
    #[must_use]
    pub fn authority_url(&self) -> String {
        self.base_url.clone()
    }

    /// The certificate authority that a client must trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The id of the only tenant.
    #[must_use]
    pub fn tenant_id(&self) -> &'static str {
        TENANT_ID
    }

    /// The client id of the only application, and of the managed identity.
    #[must_use]
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// The client secret of the application. Tests search for it in places where it must not appear.
    #[must_use]
    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// A part of every download link in the export's list. Tests search for it in places where it must not
    /// appear.
    #[must_use]
    pub fn link_secret(&self) -> &'static str {
        LINK_CANARY
    }

    /// The value of `IDENTITY_ENDPOINT` for a managed identity of App Service.
    #[must_use]
    pub fn identity_endpoint(&self) -> String {
        format!("{}/msi/token", self.base_url)
    }

    /// The value of `IDENTITY_HEADER` for that endpoint.
    #[must_use]
    pub fn identity_header(&self) -> &'static str {
        IDENTITY_HEADER
    }

    /// The handle that controls the simulator and returns the recorded calls.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops listening, waits up to a second for replies in flight, and shuts down.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        let ended = async { while self.server.join_next().await.is_some() {} };
        tokio::time::timeout(STOP_LIMIT, ended).await.ok();
        self.server.shutdown().await;
    }
}
