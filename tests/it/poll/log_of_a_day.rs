//! The whole log of a normal day, and of a day with failures.
//!
//! Real client, simulator and poller, on paused time; only the timestamps of the lines are omitted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::date;
use mde_exporter::clock::Clock;
use mde_exporter::config::Poll;
use mde_exporter::defender::{Client, QuotaHistory, RetryPolicy};
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::http::ProxyMode;
use mde_exporter::model::Source;
use mde_exporter::poll::Poller;
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Control, Endpoint, Fault, Options, Simulator, Times};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::golden::assert_golden;
use crate::support::log::CapturedLog;
use crate::support::paused_time::in_time;
use crate::support::poller::{all, render_options};
use crate::support::tenant::TestTenant;

const HOUR: Duration = Duration::from_hours(1);

/// The log of an exporter with the default configuration that starts on a Monday morning and runs for
/// `hours`, while `meanwhile` runs.
async fn log_of(hours: u32, source: Source, meanwhile: impl AsyncFnOnce(&Control)) -> Vec<String> {
    let clock = Clock::following_tokio("2026-03-09T06:00:00Z".parse::<Timestamp>().unwrap());
    let now = clock.clone();
    let options = Options {
        machines: 60,
        start: date(2026, 3, 9),
        day_length: Some(24 * HOUR),
        ..Options::new(move || now.now())
    };
    let sim = Simulator::start(options).await.unwrap();
    let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
    test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
    let mut tenant = test_tenant.config();
    (tenant.machines, tenant.source) = (all(), source);
    // Time advances in steps, even while a reply is on its way.
    tenant.http.timeout = HOUR;
    let self_metrics = Arc::new(SelfMetrics::new("test"));
    let metrics = self_metrics.tenant(&tenant.name);
    let (retry, random) = (RetryPolicy::default(), fastrand::Rng::with_seed(7));
    let (route, history) = (ProxyMode::Direct, QuotaHistory::default());
    let client = Client::new(&tenant, route, retry, random, history, clock.clone(), metrics.clone()).unwrap();
    let poll = Poll::default();
    let fleet = TenantFleet::new(Arc::clone(&tenant.name));
    let options = render_options(poll.freshness);
    let (publisher, publication, _reader) = publication(
        vec![fleet.clone()],
        options,
        clock.clone(),
        Arc::clone(&self_metrics),
        None,
        facts::fixed(Facts::default()),
    );
    let poller = Poller::new(&tenant, poll, client, fleet, publisher, metrics, clock);

    let log = CapturedLog::default();
    let guard = log.capture();
    let stop = CancellationToken::new();
    let (polling, publishing) = (poller.run(stop.clone()), publication.run(stop.clone()));
    let events = async {
        meanwhile(test_tenant.sim.control()).await;
        tokio::time::sleep(hours * HOUR).await;
        stop.cancel();
    };
    let all = async { tokio::join!(polling, publishing, events) };
    Box::pin(in_time(Duration::from_secs(10), all)).await;
    drop(guard);
    log.lines()
}

/// Compares a log with its golden text. Times are reduced to the hour and durations are removed, because they
/// depend on the steps in which paused time advances.
fn golden(name: &str, lines: &[String]) {
    let to_the_hour = |field: &str| match field.split_once('T') {
        Some((day, _)) if field.ends_with('Z') => format!("{day}T{}", &field[day.len() + 1..][..2]),
        _ => field.to_owned(),
    };
    let untimed = |line: &String| {
        let fields = line.split(' ').filter(|field| !field.starts_with("duration_ms="));
        fields.map(to_the_hour).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<_> = lines.iter().map(untimed).collect();
    // Replies that arrive together are applied in any order.
    for together in
        lines.chunk_by_mut(|one, other| one.split(" machine=").next() == other.split(" machine=").next())
    {
        together.sort();
    }
    assert_golden(name, lines.join("\n"));
}

#[tokio::test]
async fn successful_machine_poll_logs_one_line() {
    golden("log_machines", &log_of(24, Source::Machines, async |_| {}).await);
}

#[tokio::test]
async fn successful_export_poll_logs_one_line() {
    golden("log_export", &log_of(24, Source::Export, async |_| {}).await);
}

#[tokio::test]
async fn failure_is_logged_when_it_begins_changes_and_ends() {
    let lines = log_of(2, Source::Machines, async |control| {
        tokio::time::sleep(HOUR).await;
        control.set_client_secret(None);
        control.revoke_tokens();
        tokio::time::sleep(12 * HOUR).await;
        control.inject(Endpoint::Token, Fault::Aadsts(53_003), Times::Always);
        tokio::time::sleep(HOUR / 2).await;
        control.set_client_secret(Some("SIMULATED~client-secret.canary_9f3Q"));
        control.clear();
        tokio::time::sleep(HOUR / 2).await;
    })
    .await;
    // The tenant is tried every minute for many hours, without a line for each attempt.
    assert!(lines.len() < 10, "{lines:?}");
    let without_next: Vec<_> =
        lines.iter().map(|line| line.split(" next_poll=").next().unwrap().to_owned()).collect();
    golden("log_failures", &without_next);
}
