//! `demo`: a simulated Defender API on loopback and the real exporter polling it.
//!
//! Nothing is short-circuited: the exporter reads a configuration file, takes a token over https with
//! a certificate authority of its own, and polls through the real client. Only time is not real: in
//! the simulation a day passes in half a minute, and quotas are as generous as that asks for.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::tz::TimeZone;

use super::exporter::Exporter;
use super::listen::Sockets;
use super::signals::Signals;
use super::state::State;
use super::{access_file, both, print, read};
use crate::cli::{DemoFlags, DemoSource, Flags};
use crate::clock::Clock;
use crate::defender::ProxyMode;
use crate::error::AppError;
use crate::self_metrics::SelfMetrics;
use crate::sim::{Options, Simulator};

/// A simulated day.
const DAY: Duration = Duration::from_secs(30);

/// Days before today at which the simulation starts, so that for three quarters of an hour no batch
/// of updates comes from the future.
const HEAD_START: i32 = 90;

/// The simulated quota, as much larger than the real one as time is faster.
const PER_MINUTE: u32 = 60_000;

/// Runs until a signal.
///
/// # Errors
/// When a port cannot be bound, the throw-away folder cannot be made, or a part ends early.
pub(super) async fn demo(
    demo: DemoFlags,
    flags: Flags,
    sockets: Sockets,
    self_metrics: Arc<SelfMetrics>,
    clock: Clock,
) -> Result<(), AppError> {
    let signals = Signals::catch()?;
    let simulator = Simulator::start(options(demo, clock.clone())).await;
    let simulator =
        simulator.map_err(|source| AppError::System { operation: "start the simulation", source })?;
    let folder = configuration(&simulator, demo.source)
        .map_err(|source| AppError::System { operation: "write the configuration of the demo", source })?;
    // Its warnings are meant: nobody polls a real tenant so often.
    let config = read(&folder.path().join("mde_exporter.yml"), &self_metrics, &clock);
    let ((in_force, _), access) = both(config, access_file(&flags, &self_metrics))?;
    let thrown_away = folder.path().join("data");
    let state = State::open(flags.storage_path.as_deref().unwrap_or(&thrown_away), &clock, &self_metrics)?;
    // A proxy of the environment could not reach the simulation.
    let exporter = Exporter::build(in_force, ProxyMode::Direct, state, self_metrics, clock)?;
    let listeners = sockets.listen().await?;
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.address().parse().ok()).collect();
    let scheme = match &access {
        Some(file) if file.reader().borrow().has_tls() => "https",
        _ => "http",
    };
    print(&greeting(scheme, &addresses, &flags.telemetry_path, &simulator.api_url(), demo.machines))?;
    let served = exporter.serve_on(listeners, access, &flags, signals).await;
    simulator.stop().await;
    served
}

fn options(demo: DemoFlags, clock: Clock) -> Options {
    let started = TimeZone::UTC.to_datetime(clock.now()).date();
    Options {
        machines: demo.machines,
        start: started.saturating_sub(HEAD_START.days()),
        day_length: Some(DAY),
        quota_per_minute: Some(PER_MINUTE),
        quota_per_hour: Some(60 * PER_MINUTE),
        ..Options::new(move || clock.now())
    }
}

/// A configuration as a person would write it, in a folder that goes with the demo.
fn configuration(simulator: &Simulator, source: DemoSource) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("mde_exporter-demo-").tempdir()?;
    let (url, tenant, client) = (simulator.api_url(), simulator.tenant_id(), simulator.client_id());
    let authority = simulator.authority_url();
    // The list of an export may be asked for sixteen times an hour, also here.
    let (source, interval) = match source {
        DemoSource::Machines => ("machines", "10s"),
        DemoSource::Export => ("export", "4m"),
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
policies:
  - {{ name: 14d, deadline: {}s }}
",
        60 * PER_MINUTE,
        14 * DAY.as_secs()
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

/// An address that a browser on this machine can open.
fn reachable(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_says_simulated_and_gives_addresses_and_a_scrape_config() {
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
