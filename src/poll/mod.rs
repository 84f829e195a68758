//! The poll task of one tenant: finds out which machines are in scope, asks those that are due,
//! oldest first, and hands each new state of the fleet to the publisher.
//!
//! One task per tenant and one poll at a time, so a tenant is never polled twice at once and never
//! waits for another. A poll may be dropped at any moment (stop does): every answer is applied as it
//! comes, and what was not asked is due next time. A failed call changes no data.

mod discover;
mod plan;
mod report;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Poll, Selectors, Tenant};
use crate::defender::{ApiError, Client};
use crate::error::Chain;
use crate::fleet::{MachineId, PollStatus, ReportedUpdate, TenantFleet};
use crate::publish::Publisher;
use crate::selfmon::TenantMetrics;
use discover::Scope;
use report::Report;

/// Requests under way at once. The quota is the real bound; this keeps a slow API from being slower.
const CONCURRENCY: usize = 8;

/// So many machines in a row without an answer mean that the API is down, not the machines.
const FAILURES_IN_A_ROW: u32 = 10;

/// A 404 of a machine is often gone on the next ask; it counts after so many more.
const NOT_FOUND_RETRIES: u32 = 3;

/// Polls one tenant. Owns the only copy of its fleet that changes.
#[derive(Debug)]
pub struct Poller {
    selectors: Selectors,
    poll: Poll,
    client: Arc<Client>,
    fleet: TenantFleet,
    /// When the scope was last found out.
    listed_at: Option<Timestamp>,
    /// The machine list is forbidden, and that was said.
    unlisted: bool,
    /// Selectors that found nothing, as they were last said.
    unmatched: Vec<String>,
    publisher: Publisher,
    metrics: TenantMetrics,
    clock: Clock,
}

impl Poller {
    /// A poller of `tenant` that knows nothing yet.
    #[must_use]
    pub fn new(
        tenant: &Tenant,
        poll: Poll,
        client: Client,
        publisher: Publisher,
        metrics: TenantMetrics,
        clock: Clock,
    ) -> Self {
        metrics.poll_interval(poll.interval);
        Self {
            selectors: tenant.machines.clone(),
            poll,
            client: Arc::new(client),
            fleet: TenantFleet::new(Arc::clone(&tenant.name)),
            listed_at: None,
            unlisted: false,
            unmatched: Vec::new(),
            publisher,
            metrics,
            clock,
        }
    }

    /// Polls until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let polled = stop.run_until_cancelled(self.poll()).await;
            let Some(next) = polled.and(self.fleet.status.next_poll) else { return };
            // In steps, so that a wall clock that is set does not stretch the wait.
            while let Ok(left) = Duration::try_from(next.duration_since(self.clock.now())) {
                if left.is_zero() {
                    break;
                }
                let pause = tokio::time::sleep(left.min(Duration::from_mins(1)));
                if stop.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        }
    }

    /// One poll: the scope when it is due, then every machine that is due.
    pub async fn poll(&mut self) {
        let started = Instant::now();
        let mut report = Report::default();
        self.refresh_scope(&mut report).await;
        if !report.stopped {
            let due = plan::due(&self.fleet, self.clock.now(), self.poll.interval);
            self.ask_all(due, &mut report).await;
        }
        self.finish(&report, started.elapsed());
    }

    /// The fleet as it is known now.
    #[must_use]
    pub fn fleet(&self) -> &TenantFleet {
        &self.fleet
    }

    async fn refresh_scope(&mut self, report: &mut Report) {
        let now = self.clock.now();
        let fresh = |at: Timestamp| at <= now && now + self.poll.interval / 10 < at + self.poll.interval;
        if self.listed_at.is_some_and(fresh) {
            return;
        }
        let scope = match discover::discover(&self.client, &self.selectors).await {
            Ok(scope) => scope,
            Err(error) => match (&error, discover::unlisted(&self.selectors)) {
                (ApiError::Forbidden { .. }, Some(scope)) => {
                    if !self.unlisted {
                        tracing::warn!(tenant = &*self.fleet.tenant, error = %Chain(&error),
                            "going on without the machine list: machines have no name and no platform");
                    }
                    self.unlisted = true;
                    scope
                }
                // The scope stays what it was, and its machines are asked as far as that makes sense.
                _ => return report.failed(&error, error.stops_the_poll() || is_unreachable(&error)),
            },
        };
        self.take_scope(scope, now);
    }

    fn take_scope(&mut self, scope: Scope, now: Timestamp) {
        if scope.unmatched != self.unmatched {
            for selector in &scope.unmatched {
                tracing::warn!(tenant = &*self.fleet.tenant, selector, "a selector finds no machine");
            }
            self.unmatched = scope.unmatched;
        }
        self.listed_at = Some(now);
        self.fleet.apply_list(scope.machines);
        self.publisher.submit(&self.fleet);
    }

    async fn ask_all(&mut self, due: Vec<MachineId>, report: &mut Report) {
        let mut not_found = self.ask(due, report).await;
        for _ in 0..NOT_FOUND_RETRIES {
            if not_found.is_empty() {
                break;
            }
            if report.stopped {
                // Not asked often enough to be believed: they stay as they are, and due.
                return;
            }
            let spread = (self.poll.interval / 100).min(Duration::from_secs(5));
            tokio::time::sleep(spread).await;
            let again = not_found.drain(..).map(|(id, _)| id).collect();
            not_found = self.ask(again, report).await;
        }
        for (id, error) in not_found {
            self.fleet.apply_failure(&id, self.clock.now());
            report.machine_failed(&id, &error);
        }
    }

    /// Asks `machines` in their order. Returns those that the API did not find.
    async fn ask(&mut self, machines: Vec<MachineId>, report: &mut Report) -> Vec<(MachineId, ApiError)> {
        let mut not_found = Vec::new();
        let mut waiting = machines.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < CONCURRENCY && !report.stopped {
                let Some(id) = waiting.next() else { break };
                let client = Arc::clone(&self.client);
                under_way.spawn(async move {
                    let answer = client.missing_kbs(&id).await;
                    (id, answer)
                });
            }
            let Some(ended) = under_way.join_next().await else { break };
            let (id, answer) =
                ended.expect("Safe: the task neither panics nor is aborted while the set lives");
            match answer {
                Err(error @ ApiError::NotFound { .. }) => {
                    report.in_a_row = 0;
                    not_found.push((id, error));
                }
                answer => self.take_answer(&id, answer, report),
            }
        }
        not_found
    }

    fn take_answer(
        &mut self,
        id: &MachineId,
        answer: Result<Vec<ReportedUpdate>, ApiError>,
        report: &mut Report,
    ) {
        let now = self.clock.now();
        match answer {
            Ok(missing) => {
                self.fleet.apply_answer(id, now, missing);
                report.machine_read();
            }
            Err(error) if error.stops_the_poll() => report.failed(&error, true),
            Err(error) => {
                self.fleet.apply_failure(id, now);
                report.machine_failed(id, &error);
                report.stopped |= report.in_a_row >= FAILURES_IN_A_ROW;
            }
        }
        self.publisher.submit(&self.fleet);
    }

    /// Settles what the poll means: status, metrics, log, and when to poll again.
    fn finish(&mut self, report: &Report, took: Duration) {
        let now = self.clock.now();
        let interval = self.poll.interval;
        let soon = now + interval.min(plan::FAILURE_PAUSE);
        let list_due = self.listed_at.map(|at| at + interval);
        let machine_due = plan::next_due(&self.fleet, interval);
        let next = match list_due.into_iter().chain(machine_due).min() {
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
        report.log(&self.fleet.tenant, took, next);
        self.fleet.status = PollStatus {
            up,
            last_poll: Some(now),
            last_success: if up { Some(now) } else { self.fleet.status.last_success },
            next_poll: Some(next),
            last_error: report.last_error(),
        };
        self.publisher.submit(&self.fleet);
    }
}

/// Whether the API could not be spoken to at all, so that asking for machines is pointless.
fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::Network { .. } | ApiError::Timeout { .. })
}
