//! The cost of a page for people: processor time and duration, after the first page. 100,000 machines with a million
//! missing updates by default, under five policies with exceptions and an own label. One update is missing on every
//! machine.
//!
//! The first page makes the overview of the snapshot, which the others use. At the end, the duration of a scrape alone,
//! and while pages or downloads are requested without a pause.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::fleet::summary::Summary;
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::{DetailLevel, KbId, OwnLabel};
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;

use crate::http::Connection;
use crate::process::Server;
use crate::{deadlines, fleet, scrape};

const ROUNDS: u32 = 15;

/// Scrapes of which the duration is measured.
const SCRAPES: u32 = 150;

/// The pause before each scrape.
const PAUSE: Duration = Duration::from_millis(20);

/// An update that every machine misses.
const WIDELY_MISSED: u32 = 5_009_000;

/// The pages, without that of a machine. `5009000` is [`WIDELY_MISSED`].
const PATHS: [&str; 31] = [
    "/",
    "/status",
    "/machines",
    "/machines?page=900",
    "/machines?sort=name",
    "/machines?sort=name&page=900",
    "/machines?sort=missing&page=900",
    "/machines?policy_state=overdue",
    "/machines?q=workstation-0123",
    "/machines?q=zzzz",
    "/machines?q=KB5009000",
    "/machines?q=5009",
    "/machines?kb=5009000",
    "/machines?kb=5008001",
    "/machines?group=group%207&tag=team:7&exploited=true",
    "/updates",
    "/updates?platform=Windows11",
    "/updates?policy_state=overdue",
    "/updates?team=7",
    "/updates?q=batch%209&state=fresh",
    "/updates/5009000",
    "/updates/5009000?policy_state=overdue",
    "/updates/5009000?policy_state=due",
    "/updates/5009000?policy_state=accepted",
    "/updates/5009000?policy_state=unknown",
    "/updates/5009000?sort=oldest&page=900",
    "/updates/5009000?sort=name&page=900",
    "/updates/5009000?policy_state=due&sort=name",
    "/updates/5009000?platform=Windows11&q=station",
    "/updates/5009000?policy=p4&page=900",
    "/updates/5008001",
];

/// The downloads that are requested beside scrapes.
const DOWNLOADS: [&str; 4] =
    ["/machines.csv", "/updates.csv?policy_state=overdue", "/updates/5009000.csv", "/updates.json"];

pub(crate) fn run(machines: Option<u32>) {
    let machines = machines.unwrap_or(100_000);
    let this = std::env::current_exe().expect("this program");
    let server = Server::start(Command::new(this).arg("serve-pages").arg(machines.to_string()));
    let mut connection = Connection::open(&server.address);
    println!("{machines} machines; processor time per page, duration (median, most), size");
    let before = server.mebibytes();
    let start = Instant::now();
    let list = connection.body("/machines", "identity");
    println!("  {:<55}{:>9.1} ms", "the first page", start.elapsed().as_secs_f64() * 1000.0);
    let list = String::from_utf8_lossy(&list);
    let id = list.split("./machines/").nth(1).and_then(|rest| rest.split(['"', '?']).next());
    let machine = format!("/machines/{}", id.expect("a machine"));
    println!(
        "  {:<55}{:>9.1} MiB, before it {before:.1} MiB",
        "memory after the first page",
        server.mebibytes()
    );
    let paths: Vec<&str> = PATHS.into_iter().chain([&*machine]).collect();
    for path in &paths {
        measure(&server, &mut connection, path);
    }
    println!("duration of a scrape (median, most)");
    scrapes(&server.address, "alone", &[]);
    scrapes(&server.address, "beside pages", &paths);
    scrapes(&server.address, "beside downloads", &DOWNLOADS);
}

/// Measures scrapes while a client requests `others` without a pause.
fn scrapes(address: &str, what: &str, others: &[&str]) {
    let is_done = AtomicBool::new(false);
    let mut took: Vec<f64> = std::thread::scope(|scope| {
        if !others.is_empty() {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                for path in others.iter().cycle().take_while(|_| !is_done.load(Ordering::Relaxed)) {
                    connection.get(path, "identity");
                }
            });
        }
        let mut connection = Connection::open(address);
        let scrape = |_| {
            std::thread::sleep(PAUSE);
            let start = Instant::now();
            connection.get("/metrics", "gzip");
            start.elapsed().as_secs_f64() * 1000.0
        };
        let took = (0..SCRAPES).map(scrape).collect();
        is_done.store(true, Ordering::Relaxed);
        took
    });
    took.sort_by(f64::total_cmp);
    println!("  {what:<55}{:>9.1} ms {:>9.1} ms", took[took.len() / 2], took[took.len() - 1]);
}

fn measure(server: &Server, connection: &mut Connection, path: &str) {
    let mut size = connection.get(path, "identity");
    let before = server.cpu_seconds();
    let took = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        size = connection.get(path, "identity");
        start.elapsed().as_secs_f64() * 1000.0
    });
    let mut took: Vec<f64> = took.collect();
    let cpu = (server.cpu_seconds() - before) * 1000.0 / f64::from(ROUNDS);
    took.sort_by(f64::total_cmp);
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!("  {path:<55}{cpu:>9.1} ms CPU {median:>9.1} ms {most:>9.1} ms {size:>9} bytes");
}

/// The exporter's web server with this number of machines.
#[tokio::main]
pub(crate) async fn serve(machines: u32) {
    let fleet = widely_missing(deadlines::tagged(fleet::fleet(machines), 10));
    let self_metrics = Arc::new(SelfMetrics::new("bench"));
    let summary = Summary::of(&fleet, fleet::now(), &fleet::FRESHNESS, &Facts::default());
    let options = RenderOptions {
        freshness: fleet::FRESHNESS,
        policies: (0..5).map(deadlines::policy).collect(),
        exceptions: (0..20).map(deadlines::exception).collect(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        detail: DetailLevel::Fleet,
        ..RenderOptions::default()
    };
    let (_publisher, _publication, reader) = publication(
        vec![fleet],
        options,
        fleet::clock(),
        Arc::clone(&self_metrics),
        None,
        facts::fixed(deadlines::facts(&summary.updates)),
    );
    scrape::serve_snapshots(reader, self_metrics).await;
}

/// Makes the last missing update of every machine the same one.
fn widely_missing(mut fleet: TenantFleet) -> TenantFleet {
    for machine in fleet.machines.values_mut() {
        let assessment = Arc::make_mut(machine).assessment.as_mut();
        if let Some(last) = assessment.and_then(|assessment| assessment.missing_updates.last_mut()) {
            last.update.kb = KbId::new(WIDELY_MISSED).expect("seven digits");
        }
    }
    fleet
}
