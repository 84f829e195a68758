//! The poll task of one tenant: finds out which machines are in scope, asks those that are due,
//! oldest first (or reads one export of all), and hands each new state of the fleet to the publisher.
//!
//! One task per tenant and one poll at a time, so a tenant is never polled twice at once and never
//! waits for another. A poll may be dropped at any moment (stop does): every answer is applied as it
//! comes, and what was not asked is due next time. A failed call changes no data.

mod discover;
mod fetch;
mod import;
mod plan;
mod quota_advisor;
mod report;
mod shrink_guard;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Poll, Selectors, Tenant};
use crate::defender::{ApiError, Client};
use crate::error::Chain;
use crate::fleet::{MachineFacts, PollStatus, ReportedUpdate, TenantFleet};
use crate::model::{KbId, MachineId, SnapshotRejectReason, Source};
use crate::publish::FleetSender;
use crate::self_metrics::TenantMetrics;

pub use discover::{MachineLists, Scope, scope_without_list};
use import::Import;
use quota_advisor::QuotaAdvisor;
use report::{LoggedFailures, PollReport};
use shrink_guard::{ShrinkGuard, Verdict};

/// Handing over may take a fiftieth of the time: it copies the list of a large fleet.
const REST_PER_HANDOVER: u32 = 49;

/// Longer than any call of the client takes, which are two hours with waiting for the quota: a poller that
/// makes no [`progress`](Poller::progress) for so long hangs.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(150);

/// Polls one tenant. Owns the only copy of its fleet that changes.
#[derive(Debug)]
pub struct Poller {
    selectors: Selectors,
    /// See [`Selectors::digest`].
    selectors_digest: Arc<str>,
    source: Source,
    ignored: Arc<BTreeSet<KbId>>,
    poll: Poll,
    client: Arc<Client>,
    fleet: TenantFleet,
    plausibility: ShrinkGuard,
    import: Import,
    /// The machine list is forbidden, and that was said.
    list_is_forbidden: bool,
    /// Selectors that found nothing, as they were last said.
    unmatched: Vec<String>,
    said: LoggedFailures,
    pace: QuotaAdvisor,
    publisher: FleetSender,
    /// Not handed over again before; and whether there is something to hand over.
    rests_until: Instant,
    is_changed: bool,
    /// Calls for machines under way.
    under_way: JoinSet<(MachineId, Result<Vec<ReportedUpdate>, ApiError>)>,
    /// Grows while the next poll is waited for.
    waited: Arc<AtomicU64>,
    metrics: TenantMetrics,
    clock: Clock,
}

impl Poller {
    /// A poller of `tenant` that starts from what is known in `fleet`.
    #[must_use]
    pub fn new(
        tenant: &Tenant,
        poll: Poll,
        client: impl Into<Arc<Client>>,
        mut fleet: TenantFleet,
        publisher: FleetSender,
        metrics: TenantMetrics,
        clock: Clock,
    ) -> Self {
        metrics.poll_interval(poll.interval);
        fleet.source = tenant.source;
        let selectors_digest: Arc<str> = tenant.machines.digest().into();
        // A state file of an earlier release stores them in another form.
        if tenant.machines.is_stored_as(&fleet.selectors) {
            fleet.selectors = Arc::clone(&selectors_digest);
        }
        Self {
            selectors: tenant.machines.clone(),
            selectors_digest,
            source: tenant.source,
            ignored: Arc::default(),
            poll,
            client: client.into(),
            import: Import::starting_from(&fleet),
            fleet,
            plausibility: ShrinkGuard::default(),
            list_is_forbidden: false,
            unmatched: Vec::new(),
            said: LoggedFailures::default(),
            pace: QuotaAdvisor::new(tenant.source),
            publisher,
            rests_until: Instant::now(),
            is_changed: false,
            under_way: JoinSet::new(),
            waited: Arc::default(),
            metrics,
            clock,
        }
    }

    /// The same poller, to which `kbs` do not exist. They must not be in its fleet.
    #[must_use]
    pub fn ignoring(self, kbs: Arc<BTreeSet<KbId>>) -> Self {
        Self { ignored: kbs, ..self }
    }

    /// Answers a number that grows while the poller gets on, if only with waiting.
    pub fn progress(&self) -> impl Fn() -> u64 + Send + use<> {
        let (client, waited) = (Arc::clone(&self.client), Arc::clone(&self.waited));
        move || client.calls_made() + waited.load(Ordering::Relaxed)
    }

    /// Polls until `stop`; answers what is known then. What was restored and is still fresh is not asked
    /// again. Nothing is under way any more at the end.
    pub async fn run(mut self, stop: CancellationToken) -> TenantFleet {
        self.announce();
        while let Some(next) = self.fleet.status.next_poll {
            let waited = stop.run_until_cancelled(self.wait_until(next)).await;
            if waited.is_none() || stop.run_until_cancelled(self.poll()).await.is_none() {
                break;
            }
        }
        self.under_way.shutdown().await;
        if self.is_changed {
            self.hand_over();
        }
        self.fleet
    }

    /// Says what is known before the first poll.
    fn announce(&mut self) {
        let status = &self.fleet.status;
        self.metrics.poll_restored(status.last_poll, status.last_success);
        self.metrics.forget_source();
        if let Some(snapshot) = self.fleet.snapshot.filter(|_| self.source == Source::Export) {
            self.metrics.source_snapshot(snapshot.generated_at);
        }
        let next = self.next_due().unwrap_or(Timestamp::MIN).max(self.clock.now());
        self.metrics.next_poll(next);
        self.fleet.status.next_poll = Some(next);
        self.look_at_the_pace();
        self.hand_over();
    }

    /// Hands over what is known, unless that was done just now: then a little later.
    fn fleet_changed(&mut self) {
        self.is_changed = true;
        if Instant::now() >= self.rests_until {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let started = Instant::now();
        self.publisher.submit(&self.fleet);
        self.is_changed = false;
        self.rests_until = Instant::now() + started.elapsed() * REST_PER_HANDOVER;
    }

    /// In steps, so that a wall clock that is set does not stretch the wait.
    async fn wait_until(&self, next: Timestamp) {
        while let Ok(left) = Duration::try_from(next.duration_since(self.clock.now())) {
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(Duration::from_mins(1))).await;
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One poll: the scope when it is due, then every machine that is due.
    pub async fn poll(&mut self) {
        self.poll_what_is_older_than(self.poll.interval).await;
    }

    /// One poll of everything, fresh or not.
    pub async fn poll_all(&mut self) {
        self.poll_what_is_older_than(Duration::ZERO).await;
    }

    async fn poll_what_is_older_than(&mut self, interval: Duration) {
        let started = Instant::now();
        let mut report = PollReport::default();
        if self.list_is_older_than(interval) {
            self.refresh_scope(&mut report).await;
        }
        if report.stopped {
            // Nothing more would be answered.
        } else if self.source == Source::Export {
            self.import(interval, &mut report).await;
        } else {
            // What the quota does not allow within an interval is asked in the next poll, oldest first,
            // after a look at the machine list. A poll of everything takes as long as it takes.
            report.until = (!interval.is_zero()).then(|| Instant::now() + interval);
            let due = plan::due(&self.fleet, self.clock.now(), interval);
            self.fetch_machines(due, &mut report).await;
        }
        self.finish(&report, started.elapsed());
    }

    fn list_is_older_than(&self, interval: Duration) -> bool {
        let now = self.clock.now();
        let fresh = |at: Timestamp| at <= now && now + interval / 10 < at + interval;
        let suspected = self.plausibility.recheck_at().is_some_and(|at| at <= now);
        suspected || !self.uses_same_selectors() || !self.fleet.listed_at.is_some_and(fresh)
    }

    /// Returns whether the scope was fetched with the current selectors.
    fn uses_same_selectors(&self) -> bool {
        self.fleet.selectors == self.selectors_digest
    }

    /// The fleet as it is known now.
    #[must_use]
    pub fn fleet(&self) -> &TenantFleet {
        &self.fleet
    }

    async fn refresh_scope(&mut self, report: &mut PollReport) {
        let (now, calls_before) = (self.clock.now(), self.client.calls_made());
        let scope = match discover::discover(&self.client, &self.selectors).await {
            Ok(scope) => scope,
            Err(error) => match (&error, discover::scope_without_list(&self.selectors)) {
                (ApiError::Forbidden { .. }, Some(mut scope)) => {
                    // What an earlier list said is better than nothing.
                    for facts in &mut scope.machines {
                        if let Some(known) = self.fleet.machines.get(&facts.id) {
                            *facts = known.facts.clone();
                        }
                    }
                    if !self.list_is_forbidden {
                        tracing::warn!(tenant = &*self.fleet.tenant, error = %Chain(&error),
                            "going on without the machine list: machines have no name and no platform");
                    }
                    self.list_is_forbidden = true;
                    scope
                }
                // The scope stays what it was, and its machines are asked as far as that makes sense.
                _ => return report.failed(&error, error.stops_the_poll() || is_unreachable(&error)),
            },
        };
        self.take_scope(scope, now);
        self.pace.list_took(self.client.calls_made() - calls_before);
        self.look_at_the_pace();
    }

    fn look_at_the_pace(&mut self) {
        let (tenant, machines) = (&self.fleet.tenant, self.fleet.machines.len());
        self.pace.look(tenant, machines, self.poll.interval, &self.client, &self.metrics);
    }

    fn take_scope(&mut self, scope: Scope, now: Timestamp) {
        if scope.unmatched != self.unmatched {
            for selector in &scope.unmatched {
                tracing::warn!(tenant = &*self.fleet.tenant, selector, "a selector finds no machine");
            }
            self.unmatched = scope.unmatched;
        }
        if self.uses_same_selectors() {
            let (lost, known) = (self.lost(&scope.machines), self.fleet.machines.len());
            if let Verdict::Hold { first } = self.plausibility.judge(lost, known, now) {
                self.metrics.list_rejected(SnapshotRejectReason::Shrunk);
                if first {
                    let tenant = &*self.fleet.tenant;
                    tracing::warn!(
                        tenant,
                        lost,
                        known,
                        "the machine list lost more than half; it has to be seen twice, five minutes apart"
                    );
                }
                return;
            }
        } else if scope.machines.iter().any(|facts| !self.fleet.machines.contains_key(&facts.id)) {
            // An export that was read for other machines says nothing of these.
            self.import = Import::default();
        }
        self.fleet.selectors = Arc::clone(&self.selectors_digest);
        self.fleet.apply_list(scope.machines, now, &self.poll.freshness);
        self.fleet_changed();
    }

    /// Machines in scope that are not `listed`.
    fn lost(&self, listed: &[MachineFacts]) -> usize {
        let listed: HashSet<&MachineId> = listed.iter().map(|facts| &facts.id).collect();
        self.fleet.machines.keys().filter(|id| !listed.contains(id)).count()
    }

    /// When something comes due: the list, a second look at it, or a machine. None while the list is
    /// still to be had for the selectors in force.
    fn next_due(&self) -> Option<Timestamp> {
        let interval = self.poll.interval;
        let list = self.fleet.listed_at.filter(|_| self.uses_same_selectors())? + interval;
        let data = match self.source {
            Source::Machines => plan::next_due(&self.fleet, interval),
            Source::Export if self.fleet.machines.is_empty() => None,
            Source::Export => Some(self.import.next_due(interval)),
        };
        [Some(list), data, self.plausibility.recheck_at()].into_iter().flatten().min()
    }

    /// Settles what the poll means: status, metrics, log, and when to poll again.
    fn finish(&mut self, report: &PollReport, took: Duration) {
        let now = self.clock.now();
        let interval = self.poll.interval;
        let soon = now + interval.min(plan::FAILURE_PAUSE);
        let next = match self.next_due() {
            Some(next) if !report.incomplete() => next.max(now),
            _ => soon,
        };
        let up = report.is_up();
        self.metrics.poll_finished(now, took);
        self.metrics.next_poll(next);
        if up {
            self.metrics.poll_succeeded(now);
        }
        for reason in report.reasons() {
            self.metrics.poll_failed(reason);
        }
        report.log(&self.fleet.tenant, took, next, &mut self.said);
        self.fleet.status = PollStatus {
            up,
            last_poll: Some(now),
            last_success: if up { Some(now) } else { self.fleet.status.last_success },
            next_poll: Some(next),
            last_error: report.last_error(),
        };
        self.hand_over();
    }
}

/// Whether the API could not be spoken to at all, so that asking for machines is pointless.
#[must_use]
pub fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::Network { .. } | ApiError::Timeout { .. })
}
