//! A large fleet through the bulk export: time from the start of the exporter to the first data on
//! `/metrics`, memory, and the restart. 100,000 machines with ten missing KBs each by default, once within
//! the default series limit and once with every level and no limit.
//!
//! The exporter is the real binary.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::http::{self, Connection};
use crate::process::{self, Server};
use jiff::Timestamp;
use mde_simulator::{Options, Realism, Simulator};

const MISSING_UPDATES: u64 = 10;

pub(crate) fn run(machines: Option<u32>) {
    let machines = machines.unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let simulate = ["simulate".to_owned(), machines.to_string()];
    let api = Server::start(Command::new(this).args(simulate).current_dir(folder.path()));
    for (name, metrics) in
        [("default series limit", "{}"), ("no limit, every level", "{ detail: update, series_limit: 0 }")]
    {
        println!("{machines} machines, {MISSING_UPDATES} missing KBs each, {name}");
        configure(folder.path(), metrics);
        let state = folder.path().join("data");
        let pairs = u64::from(machines) * MISSING_UPDATES;
        start(folder.path(), "first data", pairs);
        start(folder.path(), "restored data after a restart", pairs);
        std::fs::remove_dir_all(state).expect("the state is there");
    }
    println!("{:<40} {:>8.0} MiB at its highest", "the simulated API itself", api.peak_mebibytes());
}

/// Starts the exporter, waits until it exposes this number of missing updates, and prints time and memory.
fn start(folder: &Path, what: &str, pairs: u64) {
    let start = Instant::now();
    let address = format!("127.0.0.1:{}", process::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde_exporter"));
    command.arg(format!("--web.listen-address={address}")).current_dir(folder);
    command.stderr(std::fs::File::create(folder.join("log")).expect("a disk"));
    let exporter = Server::start_on(&mut command, address).expect("the exporter");
    let mut connection = Connection::open(&exporter.address);
    let patience = Instant::now() + Duration::from_mins(5);
    let body = loop {
        let body = connection.body("/metrics?detail=fleet", "identity");
        if missing_updates(&body) == pairs {
            break body;
        }
        assert!(Instant::now() < patience, "{}", log(folder));
        std::thread::sleep(Duration::from_millis(100));
    };
    println!("{what:<40} {:>8.1} s", start.elapsed().as_secs_f64());
    assert!(!body.is_empty());
    let whole = connection.body("/metrics", "identity");
    let count = http::lines(&whole);
    let gzip = Connection::open(&exporter.address).get("/metrics", "gzip");
    // The memory after the rendering is measured later.
    std::thread::sleep(Duration::from_secs(3));
    println!("{:<40} {count:>8} lines, {:.1} MB, {:.1} MB gzip", "", mega(whole.len()), mega(gzip));
    let (now, peak) = (exporter.mebibytes(), exporter.peak_mebibytes());
    println!("{:<40} {now:>8.0} MiB resident, {peak:.0} at its highest", "");
    println!("{:<40} {:>8.1} s of processor time", "", exporter.cpu_seconds());
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn missing_updates(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(body);
    let values = text.lines().filter(|line| line.starts_with("mde_missing_updates{"));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::main]
pub(crate) async fn simulate(machines: u32) {
    let options = Options {
        machines: machines as usize,
        realism: Realism::Plain,
        missing_per_machine: Some(10),
        quota_per_minute: None,
        quota_per_hour: None,
        ..Options::new(Timestamp::now)
    };
    let simulator = Simulator::start(options).await.expect("a free port");
    let tenant = format!(
        "tenants:
  - name: bench
    tenant_id: {}
    client_id: {}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {}
    api_url: {}
    http: {{ ca_file: ca.pem }}
    source: export
    machines: {{ all: true }}
",
        simulator.tenant_id(),
        simulator.client_id(),
        simulator.authority_url(),
        simulator.api_url()
    );
    for (name, text) in
        [("secret.txt", simulator.client_secret()), ("ca.pem", simulator.ca_pem()), ("tenant.yml", &tenant)]
    {
        write(Path::new(name), text);
    }
    println!("{}", simulator.api_url());
    std::io::stdout().flush().expect("a pipe");
    std::future::pending::<()>().await;
}

fn configure(folder: &Path, metrics: &str) {
    let tenant = std::fs::read_to_string(folder.join("tenant.yml")).expect("the simulation's file");
    write(&folder.join("mde_exporter.yml"), &format!("{tenant}metrics: {metrics}\n"));
}

fn write(path: &Path, text: &str) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a disk");
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
