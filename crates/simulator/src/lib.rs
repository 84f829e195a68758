//! A simulated Defender for Endpoint API and Entra authority, on loopback over https.
//!
//! It is the demo's backend and the tests' double, and as awkward as the real thing: it enforces tokens,
//! roles and quotas, pages its lists oddly, repeats and spoils records, and flaps. Faults on top are switched
//! on through [`Control`], which also tells what was asked.
//!
//! The fleet is a function of a seed and a simulated day: machines get patched at their own pace, and a new
//! batch comes out each Update Tuesday. The simulator never reads the system's clock; timestamps come from
//! [`Options::now`], waiting and quotas use tokio's.
//!
//! It writes its JSON by hand and uses no type of the rest of the crate, so that a misspelt field cannot be
//! misspelt on both sides.
//!
//! ```text
//! client --https--> tls -> api    -> faults | authority | quota -> fleet <- calendar, updates
//!                       -> export -> faults | links             -> fleet
//! ```

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod api;
mod assertion;
mod authority;
mod calendar;
mod calls;
mod control;
mod export;
mod faults;
mod fleet;
mod machine;
mod odata;
mod quota;
mod random;
mod record;
mod replies;
mod streams;
mod tls;
mod updates;

pub use calls::{Call, TokenRequest};
pub use control::{Control, InvalidCertificate};
pub use export::ExportedKb;
pub use faults::{Fault, Times};
pub use fleet::MissingKb;
pub use machine::machine_record;

use control::Shared;
use tls::{Cut, Identity, TlsListener};

const TENANT_ID: &str = "7b0c2a4e-5d1f-4c39-9e0a-3f6d1b8c2e55";
const CLIENT_ID: &str = "c1d7f3a0-92be-4f68-8a41-6e05d9b7f213";
/// Easy to find where it must not be.
const CLIENT_SECRET: &str = "SIMULATED~client-secret.canary_9f3Q";
const IDENTITY_HEADER: &str = "simulated-identity-header-canary";

/// How long [`Simulator::stop`] waits for replies in flight.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Where the simulator's timestamps come from.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What can be asked of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A token, from the authority or a managed identity endpoint.
    Token,
    /// `GET /api/machines`
    Machines,
    /// `GET /api/machines/findbytag`
    FindByTag,
    /// `GET /api/machines/{id}`
    Machine,
    /// `GET /api/machines/{id}/getmissingkbs`
    MissingKbs,
    /// `GET /api/machines/SoftwareVulnerabilitiesExport`
    Export,
    /// The download of a file that the export listed, from another port.
    ExportFile,
}

impl Endpoint {
    const COUNT: usize = 7;
}

/// A quota's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
}

/// Whether the fleet and its replies hold the oddities of real ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awkwardness {
    /// Small doses of everything that was seen in real replies.
    Real,
    /// Every record plain and complete, for tests that count.
    None,
}

/// How a simulator is set up.
#[derive(Clone)]
pub struct Options {
    /// Machines in scope; a few unusable records come besides them when awkward.
    pub machines: usize,
    /// The same seed gives the same fleet.
    pub seed: u64,
    /// Source of timestamps: last seen, tokens.
    pub now: Now,
    /// The simulated calendar's first day.
    pub start: Date,
    /// Real time that a simulated day takes; none lets it stand until [`Control::skip_days`].
    pub day_length: Option<Duration>,
    /// Oddities.
    pub awkwardness: Awkwardness,
    /// Updates that every ordinary machine misses, newest first and whatever its habit; none leaves each to
    /// its own. For measurements.
    pub backlog: Option<usize>,
    /// Calls per minute; none is no limit. Counted for getmissingkbs and for the machine calls, each.
    pub quota_per_minute: Option<u32>,
    /// Calls per hour; none is no limit. Counted in the same way.
    pub quota_per_hour: Option<u32>,
    /// Calls of the export's list per minute; without [`quota_per_minute`](Self::quota_per_minute) it has no
    /// quota either.
    pub export_quota_per_minute: u32,
    /// Calls of the export's list per hour, under the same condition.
    pub export_quota_per_hour: u32,
    /// How old a snapshot of the export may be before the list shows a new one.
    pub export_every: Duration,
    /// Files that a snapshot is spread over, at least one; an awkward one has an empty file besides.
    pub export_files: usize,
    /// Most CVEs per update in the export, at least one. A real update fixes a hundred: the export shows the
    /// shape of a real one and not its size.
    pub rows_per_update: usize,
    /// Most machines per page.
    pub page_size: usize,
    /// Application roles that were granted.
    pub roles: Vec<String>,
    /// How long a token is good for.
    pub token_lifetime: Duration,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Options {
    /// 200 machines, awkward, on a standing calendar; the documented quotas, page size and token lifetime.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let start = TimeZone::UTC.to_datetime(now()).date();
        Self {
            machines: 200,
            seed: 1,
            now: Arc::new(now),
            start,
            day_length: None,
            awkwardness: Awkwardness::Real,
            backlog: None,
            quota_per_minute: Some(50),
            quota_per_hour: Some(1_500),
            export_quota_per_minute: 5,
            export_quota_per_hour: 20,
            export_every: Duration::from_hours(6),
            export_files: 3,
            rows_per_update: 3,
            page_size: 10_000,
            roles: ["Machine.Read.All", "Software.Read.All", "Vulnerability.Read.All"]
                .map(str::to_owned)
                .into(),
            token_lifetime: Duration::from_secs(3_599),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("machines", &self.machines)
            .field("seed", &self.seed)
            .field("start", &self.start)
            .field("day_length", &self.day_length)
            .finish_non_exhaustive()
    }
}

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
    /// Makes the certificates and the fleet, and listens.
    ///
    /// # Errors
    /// When the address cannot be bound, or a certificate cannot be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let identity = Identity::generate()?;
        let listener = TlsListener::bind(options.listen, &identity).await?;
        let files_listener = TlsListener::bind(SocketAddr::new(options.listen.ip(), 0), &identity).await?;
        let base_url = format!("https://{}", listener.address());
        let files_url = format!("https://{}", files_listener.address());
        let shared = Arc::new(Shared::new(base_url.clone(), files_url, &options));
        let api = Router::new().fallback(api::handle).with_state(shared.clone());
        let files = Router::new().fallback(export::handle).with_state(shared.clone());

        let stopping = CancellationToken::new();
        let mut server = JoinSet::new();
        for (listener, router) in [(listener, api), (files_listener, files)] {
            let service = router.into_make_service_with_connect_info::<Cut>();
            let stopped = stopping.clone().cancelled_owned();
            server.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stopped).await });
        }
        Ok(Self { base_url, ca_pem: identity.ca_pem, control: Control::new(shared), stopping, server })
    }

    /// Base URL of the Defender API, without a slash at the end.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.base_url.clone()
    }

    /// Base URL of the authority, without a slash at the end.
    #[must_use]
    pub fn authority_url(&self) -> String {
        self.base_url.clone()
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The only tenant there is.
    #[must_use]
    pub fn tenant_id(&self) -> &'static str {
        TENANT_ID
    }

    /// The only application there is; also the managed identity's client id.
    #[must_use]
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// The application's secret, easy to find in places where it must not be.
    #[must_use]
    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// Part of every download link that the export lists, easy to find in places where it must not be.
    #[must_use]
    pub fn link_secret(&self) -> &'static str {
        export::LINK_CANARY
    }

    /// `IDENTITY_ENDPOINT` for App Service's kind of managed identity.
    #[must_use]
    pub fn identity_endpoint(&self) -> String {
        format!("{}/msi/token", self.base_url)
    }

    /// `IDENTITY_HEADER` that goes with it.
    #[must_use]
    pub fn identity_header(&self) -> &'static str {
        IDENTITY_HEADER
    }

    /// Steers the simulator and tells what it saw.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops listening, lets replies in flight finish for a second, and ends.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        let ended = async { while self.server.join_next().await.is_some() {} };
        tokio::time::timeout(STOP_LIMIT, ended).await.ok();
        self.server.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
