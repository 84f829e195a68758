//! `demo`: a simulated Defender API on loopback, and the real exporter polling it.
//!
//! Only the API is simulated. The exporter reads a configuration file, requests a token over https with a
//! private certificate authority, and polls through the real client. Simulated time runs faster: a day takes
//! half a minute, and the quota is larger in proportion.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
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
use crate::model::Source;
use crate::self_metrics::SelfMetrics;

/// The duration of a simulated day.
const DAY: Duration = Duration::from_secs(30);

/// The number of days before today at which the simulation starts. No update has a release date in the future
/// for the first three quarters of an hour.
const HEAD_START: i32 = 90;

/// The simulated quota; it exceeds the real one by the factor of the simulated time.
const PER_MINUTE: u32 = 60_000;

/// The interval at which the facts are made again: four simulated days.
const FACTS_UPDATE: &str = "2m";

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
    let signals = Signals::catch()?;
    let simulator = Simulator::start(options(demo, clock.clone())).await;
    let simulator =
        simulator.map_err(|source| AppError::System { operation: "start the simulation", source })?;
    let folder = configuration(&simulator, demo.source, today(&clock))
        .map_err(|source| AppError::System { operation: "write the configuration of the demo", source })?;
    // The warnings are expected: the demo polls more often than a real tenant should be polled.
    let RunConfig { active, web, .. } =
        load_for_serving(&folder.path().join("mde_exporter.yml"), flags, &self_metrics, &clock)?;
    let temporary = folder.path().join("data");
    let storage_path = flags.storage_path.as_deref().unwrap_or(&temporary);
    let store = TenantStore::open(storage_path, &clock, &self_metrics)?;
    // A proxy of the environment could not reach the simulator.
    let daemon = Daemon::build(active, ProxyMode::Direct, store, self_metrics, clock)?;
    let listeners = sockets.listen().await?;
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.address().parse().ok()).collect();
    let scheme = match &web {
        Some(watcher) if watcher.reader().borrow().has_tls() => "https",
        _ => "http",
    };
    print(&greeting(scheme, &addresses, &flags.telemetry_path, &simulator.api_url(), demo.machines))?;
    let result = daemon.serve_on(listeners, web, flags, signals).await;
    simulator.stop().await;
    result
}

fn options(demo: DemoFlags, clock: Clock) -> Options {
    Options {
        machines: demo.machines,
        start: today(&clock).saturating_sub(HEAD_START.days()),
        day_length: Some(DAY),
        quota_per_minute: Some(PER_MINUTE),
        quota_per_hour: Some(60 * PER_MINUTE),
        logged_calls: 0,
        ..Options::new(move || clock.now())
    }
}

/// The current day, at UTC.
fn today(clock: &Clock) -> Date {
    TimeZone::UTC.to_datetime(clock.now()).date()
}

/// Writes a configuration as an operator would, to a folder that is deleted when the demo ends.
fn configuration(simulator: &Simulator, source: Source, today: Date) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("mde_exporter-demo-").tempdir()?;
    let url = simulator.api_url();
    let tenant = simulator.tenant_id();
    let client = simulator.client_id();
    let authority = simulator.authority_url();
    // The list of export files may be requested 16 times an hour, in the simulation too.
    let interval = match source {
        Source::Machines => "10s",
        Source::Export => "4m",
    };
    let text = format!(
        "tenants:
  - name: demo
    tenant_id: {tenant}
    client_id: {client}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {authority}
    api_url: {url}
    http: {{ ca_file: ca.pem }}
    source: {source}
    machines: {{ all: true }}
    quota: {{ per_minute: {PER_MINUTE}, per_hour: {} }}
poll:
  interval: {interval}
metrics:
  labels: {{ team: {{ tag_prefix: \"team:\" }} }}
policies:
  - {{ name: 14d, deadline: {}s }}
  - name: risk
    rules:
      - {{ exploited: true, deadline: {}s }}
      - {{ severity: [critical, high], or_unknown: true, deadline: {}s }}
      - {{ deadline: {}s }}
exceptions:
  - name: shop-floor
    reason: CHG0041877, the lines are patched when they stand still
    until: {}
    machines: {{ device_groups: [Shop Floor] }}
  - name: branch-clients
    reason: CHG0042105, slow links until the new lines are in place
    until: {}
    not: {{ exploited: true }}
    machines: {{ names: [\"branch-*\"] }}
servicing:
  editions:
    - {{ edition: enterprise, machines: {{ platforms: [Windows11], device_groups: [Clients*, Shop Floor] }} }}
  extended:
    - {{ machines: {{ platforms: [Windows10], tags: [esu] }} }}
    - {{ has: false, machines: {{ platforms: [Windows10] }} }}
facts:
  update: {FACTS_UPDATE}
  months: 12
  sources:
    msrc: {url}/cvrf/v3.0
    kev: {url}/kev/known_exploited_vulnerabilities.json
    epss: {url}/epss/epss_scores-current.csv.gz
    servicing: {url}/servicing
  http: {{ ca_file: ca.pem }}
",
        60 * PER_MINUTE,
        14 * DAY.as_secs(),
        3 * DAY.as_secs(),
        14 * DAY.as_secs(),
        30 * DAY.as_secs(),
        today.saturating_add(9.days()),
        today.saturating_add(200.days()),
    );
    let write = |name: &str, text: &str| write(&folder.path().join(name), text);
    write("ca.pem", simulator.ca_pem())?;
    write("secret.txt", simulator.client_secret())?;
    write("mde_exporter.yml", &text)?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}

fn greeting(scheme: &str, addresses: &[SocketAddr], path: &str, api_url: &str, machines: usize) -> String {
    let hosts: Vec<_> = addresses.iter().map(reachable).collect();
    let target = hosts.first().map_or("", String::as_str);
    let page = |host: &String| {
        format!("  metrics        {scheme}://{host}{path}\n  status page    {scheme}://{host}/\n")
    };
    let pages: String = hosts.iter().map(page).collect();
    let day = humantime::format_duration(DAY);
    format!(
        "Demo of mde_exporter. ALL DATA IS SIMULATED: no tenant is contacted.

{pages}  simulated API  {api_url} ({machines} machines, a simulated day takes {day})

Prometheus can scrape it with:

scrape_configs:
  - job_name: mde_exporter
    scrape_interval: 5s
    scheme: {scheme}
    metrics_path: {path}
    static_configs:
      - targets: [\"{target}\"]

Ctrl-C ends the demo.
"
    )
}

/// The address under which a browser on this host reaches the exporter.
fn reachable(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_addresses_and_a_scrape_config() {
        let addresses = ["[::]:10633".parse().unwrap(), "127.0.0.1:9".parse().unwrap()];
        insta::assert_snapshot!(greeting("http", &addresses, "/metrics", "https://127.0.0.1:4433", 200), @r#"
        Demo of mde_exporter. ALL DATA IS SIMULATED: no tenant is contacted.

          metrics        http://127.0.0.1:10633/metrics
          status page    http://127.0.0.1:10633/
          metrics        http://127.0.0.1:9/metrics
          status page    http://127.0.0.1:9/
          simulated API  https://127.0.0.1:4433 (200 machines, a simulated day takes 30s)

        Prometheus can scrape it with:

        scrape_configs:
          - job_name: mde_exporter
            scrape_interval: 5s
            scheme: http
            metrics_path: /metrics
            static_configs:
              - targets: ["127.0.0.1:10633"]

        Ctrl-C ends the demo.
        "#);
    }
}
