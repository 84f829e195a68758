//! The cost of a report: a million rows by default, in each format, to a file and to a pipe. The reference is a Python
//! script that writes the columns of the state file, without judging anything.
//!
//! The exporter is the real binary.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{Attempt, TenantFleet};
use mde_exporter::store::Store;

use crate::process::{cost, python};
use crate::state;

const CONFIG: &str = r#"
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
metrics:
  labels: { team: { tag_prefix: "team:" } }
policies:
  - name: risk
    from: released
    rules:
      - { tags: [internet-facing], deadline: 48h }
      - { platforms: ["WindowsServer*"], deadline: 14d }
      - { products: ["windows*"], deadline: 30d }
      - { deadline: none }
exceptions:
  - name: lab
    reason: CHG0012345, isolated network
    until: 9999-12-30
    machines: { device_groups: ["group 7"] }
"#;

/// Writes the same rows without policies, ordered by SQLite.
const REFERENCE: &str = r#"
import csv, sqlite3, sys
rows = sqlite3.connect("file:data/state.db?mode=ro", uri=True).execute("""
    SELECT tenant.name, machine.name, machine.id, os_platform, os_version, device_group, kb, title, severity, first_seen,
           read_at
    FROM gap JOIN machine ON machine.key = gap.machine JOIN tenant ON tenant.key = machine.tenant
    JOIN times ON times.machine = machine.key JOIN update_facts ON update_facts.key = gap.facts
    ORDER BY tenant.name, lower(machine.name), machine.id, kb""")
csv.writer(open("reference.csv", "w", newline="")).writerows(rows)
"#;

pub(crate) fn run(machines: Option<u32>) {
    let machines = machines.unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("mde_exporter.yml"), CONFIG);
    let (mut store, _) = Store::open(&folder.path().join("data"), Clock::system()).expect("an unused folder");
    store.save(&[Arc::new(fleet(machines))]).expect("a disk");
    drop(store);
    println!("{machines} machines, {} missing updates", machines * state::MISSING_UPDATES);
    for (what, arguments) in [
        ("csv, to a file", &["--output=report.csv"][..]),
        ("csv, to a pipe", &[]),
        ("json, to a file", &["--format=json", "--output=report.json"]),
        ("html, to a file", &["--format=html", "--output=report.html"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mde_exporter"));
        command.arg("report").args(arguments);
        measure(what, &mut command, folder.path());
        if let Some(file) = arguments.last().and_then(|last| last.strip_prefix("--output=")) {
            println!("{:<40} {:>8.1} MB", "", megabytes(&folder.path().join(file)));
        }
    }
    let mut reference = Command::new(python());
    measure("Python with sqlite3 and csv", reference.args(["-c", REFERENCE]), folder.path());
}

/// The fleet of the benchmark of the state, read a moment ago, with tags.
fn fleet(machines: u32) -> TenantFleet {
    let now = Timestamp::now();
    let mut fleet = state::every_reading(&state::fleet(machines), |assessment| {
        assessment.fetched_at = now;
        assessment.as_of = now;
    });
    for (number, machine) in fleet.machines.values_mut().enumerate() {
        let machine = Arc::make_mut(machine);
        machine.facts.tags = Some([format!("team:{}", number % 60)].into());
        machine.facts.last_seen = Some(now);
        machine.attempt = Some(Attempt::ended(now, true));
    }
    fleet
}

fn measure(what: &str, command: &mut Command, folder: &Path) {
    // Read by nobody else than the kernel, so that only the program itself is measured.
    match cost(command.current_dir(folder).stdout(Stdio::null())) {
        Some(cost) => println!(
            "{what:<40} {:>8.2} s, {:.2} s of processor time, {:.0} MiB at its highest",
            cost.wall, cost.cpu, cost.peak_mebibytes
        ),
        None => println!("{what:<40} is not there, or failed"),
    }
}

fn write(path: &Path, text: &str) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a disk");
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn megabytes(path: &Path) -> f64 {
    path.metadata().expect("the report").len() as f64 / 1e6
}
