//! The source `machines`: one call per machine, several in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PollMode;
use super::context::PollContext;
use super::plan;
use super::report::PollReport;
use crate::defender::ApiError;
use crate::fleet::MachineAnswer;
use crate::model::MachineId;

/// The number of calls in flight. The quota bounds the rate; this bounds the load on an API that is slow.
const CONCURRENCY: usize = 8;

/// The number of machines that fail in a row until the API counts as down and the poll stops.
const FAILURES_IN_A_ROW: u32 = 10;

/// The number of further attempts before a 404 counts as a failure of the machine: the API often answers the
/// next call.
const NOT_FOUND_RETRIES: u32 = 3;

/// The answer about one machine, or the failure to fetch it.
type FetchResult = Result<MachineAnswer, ApiError>;

/// Fetches the missing updates machine by machine.
#[derive(Debug, Default)]
pub(super) struct MachineFetcher {
    in_flight: JoinSet<(MachineId, FetchResult)>,
}

impl MachineFetcher {
    /// Fetches the machines that are due, or all.
    ///
    /// A poll of due machines ends after one interval. Machines that the quota does not allow within that
    /// time are fetched by the next poll, oldest first, after a refresh of the machine list. A poll of
    /// everything has no time limit.
    pub(super) async fn poll(&mut self, context: &mut PollContext, mode: PollMode, report: &mut PollReport) {
        let machines = match mode {
            PollMode::Everything => plan::all(&context.fleet, context.clock.now(), &context.freshness),
            PollMode::Due => {
                report.until = Some(Instant::now() + context.interval);
                plan::due(&context.fleet, context.clock.now(), context.interval, &context.freshness)
            }
        };
        self.fetch_machines(machines, context, report).await;
    }

    /// Fetches `machines` in their order, and those that the API does not find several times.
    async fn fetch_machines(
        &mut self,
        machines: Vec<MachineId>,
        context: &mut PollContext,
        report: &mut PollReport,
    ) {
        let mut not_found = self.fetch_once(machines, context, report).await;
        for _ in 0..NOT_FOUND_RETRIES {
            if not_found.is_empty() {
                break;
            }
            if report.stopped {
                // Too few attempts for a verdict: these machines stay as they are, and due.
                return;
            }
            // The retries ignore the end of the poll. A machine stays first in line until its 404 counts,
            // so many of them would take every poll from the others.
            report.until = None;
            let pause = (context.interval / 100).min(Duration::from_secs(5));
            tokio::time::sleep(pause).await;
            let again = not_found.drain(..).map(|(id, _)| id).collect();
            not_found = self.fetch_once(again, context, report).await;
        }
        for (id, error) in not_found {
            context.fleet.apply_failure(&id, context.clock.now());
            report.machine_failed(&context.fleet.tenant, &id, &error);
        }
    }

    /// Fetches `machines` in their order. Returns those that the API does not find.
    async fn fetch_once(
        &mut self,
        machines: Vec<MachineId>,
        context: &mut PollContext,
        report: &mut PollReport,
    ) -> Vec<(MachineId, ApiError)> {
        let mut not_found = Vec::new();
        let mut waiting = machines.into_iter();
        // Calls that a cancelled poll left in flight are aborted.
        self.in_flight = JoinSet::new();
        loop {
            while self.in_flight.len() < CONCURRENCY && !report.stopped && !report.is_over() {
                let Some(id) = waiting.next() else { break };
                let client = Arc::clone(&context.client);
                self.in_flight.spawn(async move {
                    let result = client.missing_kbs(&id).await;
                    (id, result)
                });
            }
            let ended = tokio::select! {
                ended = self.in_flight.join_next() => ended,
                () = wait_until(context.sender.pending_until()) => {
                    context.sender.submit(&context.fleet);
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            let (id, result) =
                ended.expect("Safe: the task neither panics nor is aborted while the set lives");
            match result {
                Err(error @ ApiError::NotFound { .. }) => {
                    report.in_a_row = 0;
                    not_found.push((id, error));
                }
                result => apply_result(&id, result, context, report),
            }
        }
        not_found
    }

    /// Aborts the calls in flight and waits until they have ended.
    pub(super) async fn shutdown(&mut self) {
        self.in_flight.shutdown().await;
    }
}

/// Waits until `at`; for ever when there is no such time.
async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn apply_result(id: &MachineId, result: FetchResult, context: &mut PollContext, report: &mut PollReport) {
    let now = context.clock.now();
    match result {
        Ok(mut answer) => {
            answer.ignore(&context.ignored);
            context.unreadable_log.report(&context.fleet.tenant, id, &answer.unreadable);
            context.fleet.apply_answer(id, now, answer, &context.freshness);
            report.machine_read();
        }
        Err(error) if error.stops_the_poll() => report.failed(&error, true),
        Err(error) => {
            context.fleet.apply_failure(id, now);
            report.machine_failed(&context.fleet.tenant, id, &error);
            report.stopped |= report.in_a_row >= FAILURES_IN_A_ROW;
        }
    }
    context.fleet_changed();
}
