//! The source `machines`: one call per machine, several in flight.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api_health::Permission;
use super::context::PollContext;
use super::due_queue::DueQueue;
use super::not_found::NotFoundRetries;
use crate::defender::ApiError;
use crate::fleet::MachineAnswer;
use crate::model::MachineId;

/// The number of calls in flight. The quota bounds the rate; this bounds the load on an API that is slow.
const CONCURRENCY: usize = 8;

/// The answer about one machine, or the failure to fetch it.
pub(super) type FetchResult = Result<MachineAnswer, ApiError>;

/// Fetches the missing updates machine by machine.
#[derive(Debug, Default)]
pub(super) struct MachineFetcher {
    queue: DueQueue,
    not_found: NotFoundRetries,
    in_flight: JoinSet<(MachineId, FetchResult)>,
    /// The machines of the calls in flight.
    asked: HashSet<MachineId>,
}

/// The effect of a reply on its machine.
#[derive(Debug)]
pub(super) enum MachineOutcome {
    /// The reply was applied.
    Read,
    /// The API did not find the machine, and is asked again.
    Retry,
    /// The attempt failed, and no data changed.
    Failed(ApiError),
    /// No call for any machine can succeed now. The machine stays due.
    Unasked(ApiError),
}

impl MachineFetcher {
    /// Fills the queue again after a change of the scope or of the time. Calls in flight continue.
    pub(super) fn scope_changed(&mut self, context: &PollContext) {
        let PollContext { fleet, interval, freshness, clock, .. } = context;
        self.not_found.retain(|id| fleet.machines.contains_key(id));
        let (not_found, asked) = (&self.not_found, &self.asked);
        let is_planned = |id: &MachineId| not_found.contains(id) || asked.contains(id);
        self.queue.rebuild(fleet, clock.now(), *interval, freshness, is_planned);
    }

    /// Makes every machine due.
    pub(super) fn make_all_due(&mut self) {
        self.queue.make_all_due();
    }

    /// Makes the machines due whose time has come.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.queue.advance(now);
    }

    /// The number of machines that wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.queue.due() + self.not_found.waiting() + self.in_flight.len()
    }

    /// The number of machines without any attempt.
    pub(super) fn never_asked(&self) -> usize {
        self.queue.never_asked()
    }

    /// The time at which the next machine becomes due; none if there is none that is not due already.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.queue.next_due()
    }

    /// Returns whether no call is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Returns whether a machine is due now.
    pub(super) fn has_due(&self) -> bool {
        self.queue.due() > 0 || self.not_found.next().is_some_and(|at| at <= Instant::now())
    }

    /// Returns whether calls are in flight, or will be soon with this permission.
    pub(super) fn is_busy(&self, permission: Permission) -> bool {
        !self.is_idle() || (permission == Permission::Free && self.not_found.waiting() > 0)
    }

    /// The time of the next repeated attempt for a machine that was not found.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.not_found.next()
    }

    /// Starts the calls that are due and allowed.
    pub(super) fn start(&mut self, context: &PollContext, permission: Permission) {
        let limit = match permission {
            Permission::Free => CONCURRENCY,
            Permission::Probe => 1,
            Permission::None => 0,
        };
        while self.in_flight.len() < limit {
            let Some(id) = self.not_found.take(Instant::now()).or_else(|| self.queue.take()) else { break };
            self.asked.insert(id.clone());
            let client = Arc::clone(&context.client);
            self.in_flight.spawn(async move {
                let result = client.missing_kbs(&id).await;
                (id, result)
            });
        }
    }

    /// Waits for the next reply; none without a call in flight. May be cancelled.
    pub(super) async fn next_reply(&mut self) -> Option<(MachineId, FetchResult)> {
        let ended = self.in_flight.join_next().await?;
        Some(ended.expect("Safe: the task neither panics nor is aborted while the set lives"))
    }

    /// Applies a reply to the fleet and plans the next attempt for the machine.
    pub(super) fn apply(
        &mut self,
        id: &MachineId,
        result: FetchResult,
        context: &mut PollContext,
    ) -> MachineOutcome {
        let (now, interval) = (context.clock.now(), context.interval);
        self.asked.remove(id);
        if !context.fleet.machines.contains_key(id) {
            return result.map_or_else(MachineOutcome::Failed, |_| MachineOutcome::Read);
        }
        let outcome = match result {
            Ok(mut answer) => {
                answer.ignore(&context.ignored);
                context.unreadable_log.report(&context.fleet.tenant, id, &answer.unreadable);
                let facts = Arc::clone(&context.facts.borrow());
                context.fleet.apply_answer(id, now, answer, &context.freshness, &facts);
                MachineOutcome::Read
            }
            Err(ApiError::NotFound { .. }) if self.not_found.plan(id, Instant::now(), interval) => {
                return MachineOutcome::Retry;
            }
            Err(error @ ApiError::NotFound { .. }) => {
                context.fleet.apply_not_found(id, now);
                MachineOutcome::Failed(error)
            }
            Err(error) if error.stops_the_poll() => {
                if !self.not_found.put_back(id, Instant::now()) {
                    self.queue.put_back(id, &context.fleet.machines[id]);
                }
                return MachineOutcome::Unasked(error);
            }
            Err(error) => {
                context.fleet.apply_failure(id, now);
                MachineOutcome::Failed(error)
            }
        };
        self.not_found.forget(id);
        self.queue.attempted(id, &context.fleet.machines[id], interval);
        outcome
    }

    /// Aborts the calls in flight and waits until they have ended.
    pub(super) async fn shutdown(&mut self) {
        self.in_flight.shutdown().await;
    }
}
