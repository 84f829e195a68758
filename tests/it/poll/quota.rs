//! The quota of the poller against an API that counts calls itself, over real HTTP on paused time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config::{Poll, Quota};
use mde_exporter::defender::{Client, QuotaHistory};
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::http::ProxyMode;
use mde_exporter::poll::Poller;
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Control, Endpoint, Fault, Options, Realism, Simulator, Times};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::api::{RETRY, count};
use crate::support::paused_time::in_time;
use crate::support::poller::{all, render_options};
use crate::support::tenant::TestTenant;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A poller that may use the whole quota of the API.
struct QuotaHarness {
    test_tenant: TestTenant,
    poller: Poller,
    self_metrics: Arc<SelfMetrics>,
}

impl QuotaHarness {
    async fn new(machines: usize, [per_minute, per_hour]: [u32; 2], interval: Duration) -> Self {
        let clock = Clock::following_tokio(Timestamp::now());
        let now = clock.clone();
        let options = Options {
            machines,
            realism: Realism::Plain,
            quota_per_minute: Some(per_minute),
            quota_per_hour: Some(per_hour),
            ..Options::new(move || now.now())
        };
        let sim = Simulator::start(options).await.unwrap();
        let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
        test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
        let mut tenant = test_tenant.config();
        let limit = |number| NonZeroU32::new(number).unwrap();
        tenant.quota = Quota { per_minute: limit(per_minute), per_hour: limit(per_hour), share: 1.0 };
        tenant.machines = all();
        let self_metrics = Arc::new(SelfMetrics::new("test"));
        let metrics = self_metrics.tenant(&tenant.name);
        let (random, history) = (fastrand::Rng::with_seed(7), QuotaHistory::default());
        let route = ProxyMode::Direct;
        let client = Client::new(&tenant, route, RETRY, random, history, clock.clone(), metrics.clone());
        let fleet = TenantFleet::new(Arc::clone(&tenant.name));
        let poll = Poll { interval, ..Poll::default() };
        let freshness = poll.freshness;
        let fleets = vec![fleet.clone()];
        let (publisher, ..) = publication(
            fleets,
            render_options(freshness),
            clock.clone(),
            Arc::clone(&self_metrics),
            None,
            facts::fixed(Facts::default()),
        );
        let poller = Poller::new(&tenant, poll, client.unwrap(), fleet, publisher, metrics, clock);
        Self { test_tenant, poller, self_metrics }
    }

    fn control(&self) -> Control {
        self.test_tenant.sim.control().clone()
    }
}

/// The number of calls for each machine.
fn calls_by_machine(control: &Control) -> BTreeMap<String, usize> {
    let mut calls: BTreeMap<_, _> = control.machine_ids().into_iter().map(|id| (id, 0)).collect();
    for call in control.calls() {
        if let Some(times) = call.machine_id.and_then(|id| calls.get_mut(&id)) {
            *times += 1;
        }
    }
    calls
}

/// Asserts that no call was throttled, and that no window had more calls than the quota allows, over all
/// operations. On a busy host a call may arrive one `step` of the time after it was sent.
fn assert_quota_held(control: &Control, quota: [u32; 2], step: Duration) {
    let calls = control.calls();
    assert!(calls.iter().all(|call| call.status != Some(429)));
    let arrivals: Vec<_> =
        calls.iter().filter(|call| call.endpoint != Endpoint::Token).map(|call| call.at).collect();
    for (limit, window) in quota.into_iter().zip([MINUTE, HOUR]) {
        let over = arrivals
            .iter()
            .skip(limit as usize)
            .zip(&arrivals)
            .find(|(last, first)| **last - **first + step <= window);
        assert!(over.is_none(), "more than {limit} in {window:?}");
    }
}

/// The shortest time in which the quota allows this number of calls.
fn shortest(calls: u32, [per_minute, per_hour]: [u32; 2]) -> Duration {
    let last = calls - 1;
    HOUR * (last / per_hour) + MINUTE * (last % per_hour / per_minute)
}

#[tokio::test]
async fn fleet_is_polled_at_the_full_quota_without_throttling() {
    let second = Duration::from_secs(1);
    for (machines, quota, step) in [(79, [10, 500], second / 10), (310, [200, 100], 10 * second)] {
        let mut harness = QuotaHarness::new(machines, quota, 24 * HOUR).await;
        let start = Instant::now();
        in_time(step, harness.poller.poll()).await;
        let took = start.elapsed();
        assert_quota_held(&harness.control(), quota, step);
        assert!(calls_by_machine(&harness.control()).values().all(|times| *times == 1));
        let shortest = shortest(u32::try_from(machines).unwrap() + 1, quota);
        assert!(took >= shortest && took <= shortest.mul_f64(1.02), "{took:?} instead of {shortest:?}");
    }
}

#[tokio::test]
async fn fleet_too_large_for_the_interval_is_polled_in_turn() {
    let quota = [30, 60];
    let harness = QuotaHarness::new(150, quota, HOUR).await;
    let (control, self_metrics) = (harness.control(), Arc::clone(&harness.self_metrics));
    // Machines that are never found are retried, and must not delay the others.
    for id in control.machine_ids().iter().step_by(2) {
        control.inject_for_machine(id, Fault::Status(404), Times::Always);
    }
    let stop = CancellationToken::new();
    let half_a_day = async {
        tokio::time::sleep(12 * HOUR).await;
        stop.cancel();
    };
    let polling = Box::pin(harness.poller.run(stop.clone()));
    let time_step = Duration::from_secs(10);
    in_time(time_step, async { tokio::join!(polling, half_a_day) }).await;

    assert_quota_held(&control, quota, time_step);
    let calls = control.requests(Endpoint::Machines) + control.requests(Endpoint::MissingKbs);
    assert!(calls >= 706, "{calls} of 720 calls");
    let calls_by_machine = calls_by_machine(&control);
    assert!(calls_by_machine.values().all(|times| *times > 0), "{calls_by_machine:?}");
    let possible = count(&self_metrics, "contoso", "possible_poll_interval_seconds", &[]);
    assert_eq!(possible, 151.0 / 60.0 * 3600.0);
}
