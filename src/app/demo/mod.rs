//! `demo`: a simulated Defender API on loopback, and the real exporter polling it.
//!
//! Only the API is simulated. The exporter reads a configuration file, requests a token over https with a
//! private certificate authority, and polls through the real client. Before it serves, `history` writes what it
//! would have stored in the months before. From then on time passes as usual, and the quota is larger than the
//! real one, so that changes are soon visible.

mod configuration;
mod daily_counts;
mod greeting;
mod history;
mod machine_past;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use mde_simulator::{Options, Simulator};

use super::load::{RunConfig, load_for_serving};
use super::output::print;
use super::runtime::block_on;
use crate::cli::{DemoFlags, Flags};
use crate::clock::Clock;
use crate::daemon::{Daemon, Signals, Sockets, TenantStore};
use crate::error::AppError;
use crate::http::ProxyMode;
use crate::self_metrics::SelfMetrics;
use greeting::{Greeting, dashboards};
use history::History;

/// The duration of a simulated day.
const DAY: Duration = Duration::from_hours(24);

/// The hour of a day (UTC) at which the simulated day begins. The updates of an Update Tuesday are released before.
const DAY_STARTS_AT: SignedDuration = SignedDuration::from_hours(18);

/// The simulated quota, a thousand times the real one.
const PER_MINUTE: u32 = 60_000;

/// The time in which one more of 200 machines is patched. It is shorter in a larger fleet.
const ROLLOUT_STEP: Duration = Duration::from_secs(45);

/// The machines that [`ROLLOUT_STEP`] is about.
const ROLLOUT_MACHINES: u32 = 200;

/// Runs the demo until a signal.
///
/// # Errors
/// Fails if a port cannot be bound, the temporary folder cannot be created, or a task ends unexpectedly.
pub(super) fn demo(
    demo: DemoFlags,
    flags: &Flags,
    self_metrics: Arc<SelfMetrics>,
    clock: Clock,
) -> Result<(), AppError> {
    let sockets = Sockets::new(flags);
    block_on(serve(demo, flags, sockets, self_metrics, clock))
}

async fn serve(
    demo: DemoFlags,
    flags: &Flags,
    sockets: Sockets,
    self_metrics: Arc<SelfMetrics>,
    clock: Clock,
) -> Result<(), AppError> {
    let mut signals = Signals::catch()?;
    let system = |operation| move |source| AppError::System { operation, source };
    let simulator = Simulator::start(options(demo, clock.clone())).await;
    let simulator = simulator.map_err(system("start the simulation"))?;
    let today = TimeZone::UTC.to_datetime(clock.now()).date();
    let folder = configuration::write(&simulator, demo, today);
    let folder = folder.map_err(system("write the configuration of the demo"))?;
    // The warnings are expected: the demo polls more often than a real tenant should be polled.
    let RunConfig { active, web, .. } =
        load_for_serving(&folder.path().join("mde_exporter.yml"), flags, &self_metrics, &clock)?;
    let temporary = folder.path().join("data");
    let storage_path = flags.storage_path.as_deref().unwrap_or(&temporary);
    let store = TenantStore::open(storage_path, &clock, &self_metrics)?;
    let history =
        History { control: simulator.control().clone(), config: active.config.clone(), clock: clock.clone() };
    // A stop does not wait for the end of the history: a second request would be needed otherwise.
    tokio::select! {
        written = history.write(&store, storage_path, &self_metrics) => written?,
        () = signals.stopped() => return Ok(()),
    }
    simulator.control().start_rollout(rollout_step(demo));
    // A proxy of the environment could not reach the simulator.
    let daemon = Daemon::build(active, ProxyMode::Direct, store, self_metrics, clock)?;
    let listeners = sockets.listen().await?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().filter_map(|listener| listener.address().parse().ok()).collect();
    let scheme = match &web {
        Some(watcher) if watcher.reader().borrow().has_tls() => "https",
        _ => "http",
    };
    let greeting = Greeting {
        scheme,
        addresses: &addresses,
        telemetry_path: &flags.telemetry_path,
        api_url: &simulator.api_url(),
        machines: demo.machines,
        days: history::DAYS,
        dashboards: dashboards(),
    };
    print(&greeting.text())?;
    let result = daemon.serve_on(listeners, web, flags, signals).await;
    simulator.stop().await;
    result
}

fn options(demo: DemoFlags, clock: Clock) -> Options {
    Options {
        machines: demo.machines,
        start: TimeZone::UTC.to_datetime(clock.now() - DAY_STARTS_AT).date(),
        day_length: Some(DAY),
        quota_per_minute: Some(PER_MINUTE),
        quota_per_hour: Some(60 * PER_MINUTE),
        export_every: configuration::export_every(demo),
        logged_calls: 0,
        ..Options::new(move || clock.now())
    }
}

/// The time in which one more machine is patched.
fn rollout_step(demo: DemoFlags) -> Duration {
    let machines = u32::try_from(demo.machines).unwrap_or(u32::MAX);
    ROLLOUT_STEP * ROLLOUT_MACHINES / machines.max(1)
}
