//! The cost of a page for people: processor time and duration, after the first page. 100,000 machines with a million
//! missing updates by default, under five policies with exceptions and an own label.
//!
//! The first page makes the overview of the snapshot, which the others use.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::summary::Summary;
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::{DetailLevel, OwnLabel};
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;

use crate::http::Connection;
use crate::process::Server;
use crate::{deadlines, fleet, scrape};

const ROUNDS: u32 = 15;

/// The pages without an object.
const PATHS: [&str; 11] = [
    "/",
    "/status",
    "/machines",
    "/machines?page=1000",
    "/machines?sort=name&page=1000",
    "/machines?sort=missing",
    "/machines?policy_state=overdue",
    "/machines?q=workstation-0123",
    "/machines?q=5009001",
    "/machines?kb=5009001",
    "/machines?group=group%207&tag=team:7&exploited=true",
];

pub(crate) fn run(machines: Option<u32>) {
    let machines = machines.unwrap_or(100_000);
    let this = std::env::current_exe().expect("this program");
    let server = Server::start(Command::new(this).arg("serve-pages").arg(machines.to_string()));
    let mut connection = Connection::open(&server.address);
    println!("{machines} machines; processor time per page, duration (median, most), size");
    let start = Instant::now();
    let list = connection.body("/machines", "identity");
    println!("  {:<55}{:>9.1} ms", "the first page", start.elapsed().as_secs_f64() * 1000.0);
    let list = String::from_utf8_lossy(&list);
    let id = list.split("./machines/").nth(1).and_then(|rest| rest.split(['"', '?']).next());
    let machine = format!("/machines/{}", id.expect("a machine"));
    for path in PATHS.into_iter().chain([&*machine]) {
        measure(&server, &mut connection, path);
    }
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
    let fleet = deadlines::tagged(fleet::fleet(machines), 10);
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
