//! The cost of polling: machines read per second of processor time, with `getmissingkbs` and without a limiting
//! quota, compared with a plain Python poller of the same API (`polling.py`). 20,000 machines with ten missing
//! KBs each by default.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config::{self, Tenant};
use mde_exporter::defender::{Client, QuotaHistory, RetryPolicy};
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::http::ProxyMode;
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::DetailLevel;
use mde_exporter::poll::Poller;
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Options, Simulator};
use tokio::task::JoinSet;
use tokio_util::io::ReaderStream;

use crate::process::{self, Cost};

const MISSING_UPDATES: u32 = 10;

pub(crate) fn run(machines: Option<u32>) {
    compare(machines.unwrap_or(20_000));
}

/// Runs both pollers, one after the other, against one API.
fn compare(machines: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut api, url) = start_api(machines, folder.path());
    println!("{machines} machines, {MISSING_UPDATES} missing KBs each, quota out of the way");
    let config = folder.path().join("mde_exporter.yml");
    let this = std::env::current_exe().expect("this program");
    let ours = process::cost(Command::new(this).arg("poll").arg(&config).arg(machines.to_string()));
    let ours = ours.expect("the exporter's poller ends well").cpu;
    let per_second = |cpu: f64| f64::from(machines) / cpu;
    println!("{:<40} {:>8.0} machines per CPU second", "mde_exporter", per_second(ours));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/performance/polling.py");
    let python = process::python();
    match process::cost(Command::new(python).arg(script).arg(&url).arg(machines.to_string())) {
        Some(Cost { cpu: theirs, .. }) => {
            println!("{:<40} {:>8.0} machines per CPU second", "Python asyncio, aiohttp", per_second(theirs));
            println!("{:<40} {:>8.1}", "ratio (10 is the aim)", theirs / ours);
        }
        None => {
            println!(
                "Python asyncio not measured: it needs python3 with aiohttp ($PYTHON names another one)"
            );
        }
    }
    api.kill().expect("the API can be stopped");
    api.wait().expect("the API ends");
}

/// Starts the process of the API and returns its URL.
pub(crate) fn start_api(machines: u32, folder: &Path) -> (Child, String) {
    let this = std::env::current_exe().expect("this program");
    let serve = Command::new(this)
        .args(["serve-api", &machines.to_string()])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = serve.expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    (child, line.trim().to_owned())
}

/// The API: plain http and pre-built replies; the simulator issues the tokens.
#[tokio::main]
pub(crate) async fn serve(machines: u32) {
    let simulator = Simulator::start(Options::new(Timestamp::now)).await.expect("a free port");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    configuration(&simulator, &url);
    let (list, missing) = (machine_list(machines), missing_kbs());
    let json = |body: String| {
        let body = axum::body::Bytes::from(body);
        get(move || async move { ([(CONTENT_TYPE, "application/json")], body) })
    };
    let router = Router::new()
        .route("/api/machines", json(list))
        .route("/api/machines/{id}/getmissingkbs", json(missing))
        .route("/api/machines/SoftwareVulnerabilitiesExport", json(export_list(&url)))
        .route("/export.json.gz", get(async || export_file().await));
    println!("{url}");
    std::io::stdout().flush().expect("a pipe");
    axum::serve(listener, router).await.expect("a server");
}

fn export_list(url: &str) -> String {
    format!("{{\"exportFiles\":[\"{url}/export.json.gz\"],\"generatedTime\":\"2025-09-30T06:00:00Z\"}}")
}

/// The configuration files, part by part.
async fn export_file() -> Body {
    let file = tokio::fs::File::open("export.json.gz").await.expect("the file of the benchmark");
    Body::from_stream(ReaderStream::with_capacity(file, 256 << 10))
}

fn configuration(simulator: &Simulator, url: &str) {
    let text = format!(
        "tenants:
  - name: bench
    tenant_id: {}
    client_id: {}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {}
    api_url: {url}
    http: {{ ca_file: ca.pem }}
    machines: {{ all: true }}
    quota: {{ per_minute: 4000000000, per_hour: 4000000000, share: 1 }}
",
        simulator.tenant_id(),
        simulator.client_id(),
        simulator.authority_url()
    );
    let files = [
        ("secret.txt", simulator.client_secret()),
        ("ca.pem", simulator.ca_pem()),
        ("mde_exporter.yml", &text),
    ];
    for (name, text) in files {
        let mut file = std::fs::File::create_new(name).expect("an empty folder");
        file.write_all(text.as_bytes()).expect("a disk");
    }
}

fn machine_list(machines: u32) -> String {
    let mut text = "{\"value\":[".to_owned();
    for number in 0..machines {
        let comma = if number == 0 { "" } else { "," };
        write!(
            text,
            "{comma}{{\"id\":\"{number:040x}\",\"computerDnsName\":\"ws-{number:06}.corp.example\",\
             \"osPlatform\":\"Windows11\",\"version\":\"23H2\",\"healthStatus\":\"Active\",\
             \"onboardingStatus\":\"Onboarded\",\"rbacGroupName\":\"Clients\"}}"
        )
        .expect("text has room");
    }
    text + "]}"
}

fn missing_kbs() -> String {
    let entries: Vec<_> = (0..MISSING_UPDATES)
        .map(|number| {
            let kb = 5_030_000 + number;
            format!(
                "{{\"id\":\"{kb}\",\"name\":\"March 2026 Security Updates\",\"osBuild\":22631,\
                 \"productsNames\":[\"windows_11\"],\"machineMissedOn\":1,\"cveAddressed\":{number},\
                 \"url\":\"https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{kb}\"}}"
            )
        })
        .collect();
    format!("{{\"@odata.context\":\"x\",\"value\":[{}]}}", entries.join(","))
}

/// Polls everything once, as the exporter does.
#[tokio::main]
pub(crate) async fn poll(config: &str, machines: u32) {
    let config = config::load(Path::new(config)).expect("a good configuration").config;
    let tenant: &Tenant = &config.tenants[0];
    let self_metrics = Arc::new(SelfMetrics::new("bench"));
    let metrics = self_metrics.tenant(&tenant.name);
    let clock = Clock::system();
    let (retry, random) = (RetryPolicy::default(), fastrand::Rng::with_seed(1));
    let history = QuotaHistory::default();
    let client =
        Client::new(tenant, ProxyMode::Direct, retry, random, history, clock.clone(), metrics.clone());
    let fleet = TenantFleet::new(Arc::clone(&tenant.name));
    let options = RenderOptions {
        freshness: config.poll.freshness,
        detail: DetailLevel::Fleet,
        ..RenderOptions::default()
    };
    let (publisher, _publication, _reader) = publication(
        vec![fleet.clone()],
        options,
        clock.clone(),
        Arc::clone(&self_metrics),
        None,
        facts::fixed(Facts::default()),
    );
    let client = client.expect("good connection settings");
    let mut poller = Poller::new(tenant, config.poll, client, fleet, publisher, metrics, clock);
    // As in the exporter, the poller runs on a thread of the pool, where the connections are.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        poller.poll_all().await;
        poller
    });
    let poller = tasks.join_next().await.expect("a task").expect("no panic");
    let missing_updates: usize =
        poller.fleet().machines.values().map(|machine| machine.missing_updates().len()).sum();
    assert_eq!(
        missing_updates,
        (machines * MISSING_UPDATES) as usize,
        "{:?}",
        poller.fleet().status.last_error
    );
}
