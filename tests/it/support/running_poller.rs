//! A poller that runs on paused time, and what readers see of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config::{Poll, Quota, Selectors, Tenant};
use mde_exporter::defender::{Client, QuotaHistory};
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::{PollStatus, TenantFleet};
use mde_exporter::http::ProxyMode;
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::Policy;
use mde_exporter::poll::Poller;
use mde_exporter::publish::{Snapshot, SnapshotReader, publication};
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Control, Options, Realism, Simulator};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::RETRY;
use super::paused_time::in_time;
use super::poller::{all, render_options};
use super::tenant::TestTenant;

/// The settings of a poller that is about to run.
pub(crate) struct PollerSetup {
    pub(crate) test_tenant: TestTenant,
    pub(crate) tenant: Tenant,
    pub(crate) interval: Duration,
    pub(crate) policies: Vec<Policy>,
    pub(crate) clock: Clock,
    pub(crate) fleet: TenantFleet,
    pub(crate) self_metrics: Arc<SelfMetrics>,
}

/// What a test can do with a running poller.
pub(crate) struct RunningPoller {
    pub(crate) control: Control,
    pub(crate) reader: SnapshotReader,
    pub(crate) wake: Arc<Notify>,
    pub(crate) self_metrics: Arc<SelfMetrics>,
    start: Instant,
}

impl PollerSetup {
    /// A poller of `machines` plain machines, with the default quota and interval.
    pub(crate) async fn new(machines: usize) -> Self {
        Self::starting_at(Timestamp::now(), machines).await
    }

    /// Like [`new`](Self::new), at another time.
    pub(crate) async fn starting_at(start: Timestamp, machines: usize) -> Self {
        let clock = Clock::following_tokio(start);
        let now = clock.clone();
        let options = Options {
            machines,
            realism: Realism::Plain,
            quota_per_minute: None,
            quota_per_hour: None,
            ..Options::new(move || now.now())
        };
        let sim = Simulator::start(options).await.unwrap();
        let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
        test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
        let mut tenant = test_tenant.config();
        tenant.machines = all();
        let fleet = TenantFleet::new(Arc::clone(&tenant.name));
        let self_metrics = Arc::new(SelfMetrics::new("test"));
        let interval = Poll::default().interval;
        Self { test_tenant, tenant, interval, policies: Vec::new(), clock, fleet, self_metrics }
    }

    pub(crate) fn selecting(mut self, selectors: Selectors) -> Self {
        self.tenant.machines = selectors;
        self
    }

    pub(crate) fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    pub(crate) fn with_quota(mut self, per_minute: u32, per_hour: u32) -> Self {
        let limit = |number| NonZeroU32::new(number).unwrap();
        self.tenant.quota = Quota { per_minute: limit(per_minute), per_hour: limit(per_hour), share: 1.0 };
        self
    }

    /// A poller with these settings, and the parts that see its data.
    fn poller(&self) -> (Poller, mde_exporter::publish::SnapshotTask, SnapshotReader) {
        let metrics = self.self_metrics.tenant(&self.tenant.name);
        let (random, history) = (fastrand::Rng::with_seed(7), QuotaHistory::default());
        let (route, clock) = (ProxyMode::Direct, self.clock.clone());
        let client = Client::new(&self.tenant, route, RETRY, random, history, clock.clone(), metrics.clone());
        let poll = Poll { interval: self.interval, ..Poll::default() };
        let fleet = self.fleet.clone();
        let (publisher, publication, reader) = publication(
            vec![fleet.clone()],
            RenderOptions { policies: self.policies.clone().into(), ..render_options(poll.freshness) },
            clock.clone(),
            Arc::clone(&self.self_metrics),
            None,
            facts::fixed(Facts::default()),
        );
        let poller = Poller::new(&self.tenant, poll, client.unwrap(), fleet, publisher, metrics, clock);
        (poller, publication, reader)
    }

    /// Runs the poller on paused time, in steps of `step`, while `test` runs. Returns the settings of the next
    /// run, with the fleet of this one, and the result of the test.
    pub(crate) async fn run<T>(
        mut self,
        step: Duration,
        test: impl AsyncFnOnce(&mut RunningPoller) -> T,
    ) -> (Self, T) {
        let (poller, publication, reader) = self.poller();
        let mut running = RunningPoller {
            control: self.test_tenant.sim.control().clone(),
            reader,
            wake: poller.wake_signal(),
            self_metrics: Arc::clone(&self.self_metrics),
            start: Instant::now(),
        };
        let end = CancellationToken::new();
        let testing = async {
            running.start = Instant::now();
            let result = test(&mut running).await;
            end.cancel();
            result
        };
        let (polling, publishing) = (poller.run(end.clone()), publication.run(end.clone()));
        let all = async { tokio::join!(polling, publishing, testing) };
        let (fleet, (), result) = Box::pin(in_time(step, all)).await;
        self.fleet = fleet;
        (self, result)
    }
}

impl RunningPoller {
    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The published status.
    pub(crate) fn status(&self) -> PollStatus {
        self.reader.borrow().fleets[0].status.clone()
    }

    /// Waits until the published status fulfils `condition`, and returns the time that it took.
    pub(crate) async fn until(&mut self, condition: impl Fn(&PollStatus) -> bool) -> Duration {
        let started = Instant::now();
        let fulfilled = |seen: &Arc<Snapshot>| condition(&seen.fleets[0].status);
        drop(self.reader.wait_for(fulfilled).await.unwrap());
        started.elapsed()
    }

    /// The values of `up` that are published within `time`, without repetitions.
    pub(crate) async fn ups(&mut self, time: Duration) -> Vec<bool> {
        let mut seen = vec![self.status().up];
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                changed = self.reader.changed() => {
                    changed.unwrap();
                    let up = self.reader.borrow_and_update().fleets[0].status.up;
                    if seen.last() != Some(&up) {
                        seen.push(up);
                    }
                }
                () = &mut end => return seen,
            }
        }
    }
}
