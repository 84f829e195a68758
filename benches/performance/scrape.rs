//! The cost of a scrape for the server: processor time per scrape, compared with nginx, which sends the same bytes
//! from a file, and with pushgateway, which holds the same series with the Go client library. 1,000, 100,000 and
//! 1,000,000 lines by default.
//!
//! The client runs in this process and each server in a separate one; the servers are scraped in turns. Uses
//! Debian's `nginx-light` and `prometheus-pushgateway`; a missing one is reported and skipped.
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::{self, Connection};
use crate::process::Server;
use crate::{fleet, process};
use mde_exporter::facts::{self, Facts};
use mde_exporter::metrics::RenderOptions;
use mde_exporter::publish::{SnapshotReader, publication};
use mde_exporter::self_metrics::SelfMetrics;
use mde_exporter::web::{self, LinkBase, ScrapeLimiter, WebState};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The time for which each server is scraped in a turn.
const TURN: Duration = Duration::from_secs(1);
const TURNS: u32 = 5;

pub(crate) fn run(lines: Option<u32>) {
    for lines in lines.map_or(vec![1_000, 100_000, 1_000_000], |lines| vec![lines]) {
        compare(lines);
    }
}

fn compare(lines: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let ours = Server::start(Command::new(this).arg("serve-metrics").arg(lines.to_string()));
    let body = Connection::open(&ours.address).body("/metrics", "identity");
    let text_lines = http::lines(&body);
    println!("{text_lines} lines, {:.2} MB", megabytes(body.len()));
    let mut servers = vec![("mde_exporter", ours)];
    match nginx(folder.path(), &body) {
        Some(server) => servers.push(("nginx, the same bytes in a file", server)),
        None => println!("nginx not measured: Debian's nginx-light is not installed"),
    }
    match pushgateway(folder.path(), &body) {
        Some(server) => servers.push(("pushgateway, the same series", server)),
        None => println!("pushgateway not measured: Debian's prometheus-pushgateway is not installed"),
    }
    for encoding in ["identity", "gzip"] {
        let costs = in_turns(&servers, encoding);
        for ((name, _), cost) in servers.iter().zip(&costs) {
            let ratio = costs[0].cpu / cost.cpu;
            println!(
                "  {encoding:<9}{name:<33}{:>10.3} ms CPU {:>10.3} ms p50 {:>10.3} ms p99   ours is {ratio:.3} of it",
                cost.cpu * 1000.0,
                cost.median * 1000.0,
                cost.worst * 1000.0
            );
        }
    }
}

/// Seconds per scrape.
pub(crate) struct Cost {
    pub(crate) cpu: f64,
    pub(crate) median: f64,
    /// The 99th percentile.
    pub(crate) worst: f64,
}

/// Scrapes the servers in turns.
pub(crate) fn in_turns(servers: &[(&str, Server)], encoding: &str) -> Vec<Cost> {
    let mut connections: Vec<_> =
        servers.iter().map(|(_, server)| Connection::open(&server.address)).collect();
    let mut totals: Vec<(f64, Vec<f64>)> = servers.iter().map(|_| (0.0, Vec::new())).collect();
    for turn in 0..=TURNS {
        for (index, (_, server)) in servers.iter().enumerate() {
            let before = server.cpu_seconds();
            let (start, mut took) = (Instant::now(), Vec::new());
            while took.is_empty() || start.elapsed() < TURN {
                let asked = Instant::now();
                connections[index].get("/metrics", encoding);
                took.push(asked.elapsed().as_secs_f64());
            }
            // The first turn warms up.
            if turn > 0 {
                totals[index].0 += server.cpu_seconds() - before;
                totals[index].1.append(&mut took);
            }
        }
    }
    let cost = |(cpu, mut took): (f64, Vec<f64>)| {
        took.sort_by(f64::total_cmp);
        let scrapes = u32::try_from(took.len()).expect("fewer scrapes than that");
        Cost {
            cpu: cpu / f64::from(scrapes),
            median: took[took.len() / 2],
            worst: took[took.len() * 99 / 100],
        }
    };
    totals.into_iter().map(cost).collect()
}

/// The exporter's web server with a fleet whose exposition has about this number of lines.
#[tokio::main]
pub(crate) async fn serve(lines: u32, is_changing: bool) {
    let mut fleet = fleet::fleet(lines / fleet::LINES_PER_MACHINE);
    let self_metrics = Arc::new(SelfMetrics::new("bench"));
    let options = RenderOptions { freshness: fleet::FRESHNESS, ..RenderOptions::default() };
    let (publisher, publication, reader) = publication(
        vec![fleet.clone()],
        options,
        fleet::clock(),
        Arc::clone(&self_metrics),
        None,
        facts::fixed(Facts::default()),
    );
    let mut tasks = JoinSet::new();
    if is_changing {
        tasks.spawn(publication.run(CancellationToken::new()));
        tasks.spawn_blocking(move || {
            for round in 0.. {
                for machine in fleet.machines.values_mut() {
                    fleet::change(Arc::make_mut(machine), round);
                }
                publisher.submit(&fleet);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
    }
    serve_snapshots(reader, self_metrics).await;
}

/// Serves the newest snapshot, and prints the address.
pub(crate) async fn serve_snapshots(published: SnapshotReader, self_metrics: Arc<SelfMetrics>) {
    let state = WebState {
        published,
        self_metrics,
        telemetry_path: "/metrics".to_owned(),
        links: LinkBase::default(),
        scrape_slots: ScrapeLimiter::new(0),
        version: "bench",
        clock: fleet::clock(),
        access: web::WebSecurity::open(),
        reload: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("a bound address"));
    std::io::stdout().flush().expect("a pipe");
    let server = web::Server::new(web::router(state), web::WebSecurity::open(), web::Limits::default());
    server.serve(listener, CancellationToken::new()).await;
}

/// Debian's nginx with one worker, the file and its gzip form.
fn nginx(folder: &Path, body: &[u8]) -> Option<Server> {
    write(&folder.join("metrics"), body);
    let gzip = Command::new("gzip").args(["-6", "-k"]).arg(folder.join("metrics")).status();
    assert!(gzip.is_ok_and(|status| status.success()), "gzip");
    let port = process::free_port();
    let folder_text = folder.display();
    let configuration = format!(
        "daemon off; worker_processes 1; pid {folder_text}/nginx.pid; error_log {folder_text}/error.log;
         events {{ worker_connections 64; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
           client_body_temp_path {folder_text}/b; proxy_temp_path {folder_text}/p; fastcgi_temp_path {folder_text}/f;
           uwsgi_temp_path {folder_text}/u; scgi_temp_path {folder_text}/s;
           server {{ listen 127.0.0.1:{port}; root {folder_text}; gzip_static on; default_type text/plain; }}
         }}"
    );
    let file = folder.join("nginx.conf");
    write(&file, configuration.as_bytes());
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(folder).stderr(Stdio::null());
    Server::start_on(&mut command, format!("127.0.0.1:{port}"))
}

/// pushgateway with the exposition pushed to it.
fn pushgateway(folder: &Path, body: &[u8]) -> Option<Server> {
    let port = process::free_port();
    let mut command = Command::new("prometheus-pushgateway");
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stderr(Stdio::null()).stdout(Stdio::null());
    let server = Server::start_on(&mut command, format!("127.0.0.1:{port}"))?;
    // The families of pushgateway itself are removed, because it adds them again.
    let text = String::from_utf8_lossy(body);
    let of_the_fleet: String = text.split_inclusive('\n').filter(|line| line.contains("mde_")).collect();
    let pushed = folder.join("pushed");
    write(&pushed, of_the_fleet.as_bytes());
    let curl = Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--data-binary"])
        .arg(format!("@{}", pushed.display()))
        .arg(format!("http://{}/metrics/job/bench", server.address))
        .status();
    assert!(curl.is_ok_and(|status| status.success()), "pushgateway takes the series");
    Some(server)
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::File::create_new(path).and_then(|mut file| file.write_all(bytes)).expect("a disk");
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
