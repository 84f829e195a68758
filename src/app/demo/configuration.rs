//! The configuration file of the demo, as an operator would write it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use mde_simulator::Simulator;
use tempfile::TempDir;

use super::PER_MINUTE;
use crate::cli::DemoFlags;
use crate::model::Source;

/// The name of the tenant.
pub(super) const TENANT: &str = "demo";

/// The shortest time between two reads of a machine.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(20);

/// The number of machines that are read in a second. The exporter records the calls of the last hour, and more of them
/// would need memory and time.
const READS_PER_SECOND: u64 = 10;

/// The interval at which the list of export files is requested. The simulation too allows 16 requests in an hour.
const EXPORT_INTERVAL: Duration = Duration::from_mins(4);

/// The time between two reads of a machine, or two requests for an export.
pub(super) fn poll_interval(demo: DemoFlags) -> Duration {
    match demo.source {
        Source::Machines => {
            SHORTEST_INTERVAL.max(Duration::from_secs(demo.machines as u64 / READS_PER_SECOND))
        }
        Source::Export => EXPORT_INTERVAL,
    }
}

/// The time between two export versions: longer for a large fleet, of which a version takes longer to make.
pub(super) fn export_every(demo: DemoFlags) -> Duration {
    EXPORT_INTERVAL.max(Duration::from_secs(demo.machines as u64 / 50))
}

/// Writes the configuration to a folder that is deleted when the demo ends.
pub(super) fn write(simulator: &Simulator, demo: DemoFlags, today: Date) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("mde_exporter-demo-").tempdir()?;
    let write = |name: &str, text: &str| write_file(&folder.path().join(name), text);
    write("ca.pem", simulator.ca_pem())?;
    write("secret.txt", simulator.client_secret())?;
    let [tenants, policies, facts] = [tenants(simulator, demo), policies(today), facts(simulator)];
    write("mde_exporter.yml", &[tenants, policies, facts].concat())?;
    Ok(folder)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

fn tenants(simulator: &Simulator, demo: DemoFlags) -> String {
    let (tenant, client) = (simulator.tenant_id(), simulator.client_id());
    let (authority, api) = (simulator.authority_url(), simulator.api_url());
    let source = demo.source;
    let interval = humantime::format_duration(poll_interval(demo));
    format!(
        "tenants:
  - name: {TENANT}
    tenant_id: {tenant}
    client_id: {client}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {authority}
    api_url: {api}
    http: {{ ca_file: ca.pem }}
    source: {source}
    machines: {{ all: true }}
    quota: {{ per_minute: {PER_MINUTE}, per_hour: {} }}
poll:
  interval: {interval}
metrics:
  labels: {{ team: {{ tag_prefix: \"team:\" }} }}
",
        60 * PER_MINUTE,
    )
}

/// The policies, the exceptions, one of which ends soon, and what Defender does not say about servicing.
fn policies(today: Date) -> String {
    format!(
        "policies:
  - {{ name: 14d, deadline: 14d }}
  - {{ name: cyber-essentials, preset: cyber-essentials }}
  - name: risk
    rules:
      - {{ exploited: true, deadline: 3d }}
      - {{ severity: [critical, high], or_unknown: true, deadline: 14d }}
      - {{ deadline: 30d }}
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
",
        today.saturating_add(9.days()),
        today.saturating_add(200.days()),
    )
}

fn facts(simulator: &Simulator) -> String {
    let url = simulator.api_url();
    format!(
        "facts:
  months: 12
  sources:
    msrc: {url}/cvrf/v3.0
    kev: {url}/kev/known_exploited_vulnerabilities.json
    epss: {url}/epss/epss_scores-current.csv.gz
    servicing: {url}/servicing
  http: {{ ca_file: ca.pem }}
"
    )
}
