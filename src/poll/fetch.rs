//! Machine by machine: one call each, several at a time, as far as that makes sense.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Poller;
use super::report::PollReport;
use crate::defender::ApiError;
use crate::fleet::ReportedUpdate;
use crate::model::MachineId;

/// Requests under way at once. The quota is the real bound; this keeps a slow API from being slower.
const CONCURRENCY: usize = 8;

/// So many machines in a row without an answer mean that the API is down, not the machines.
const FAILURES_IN_A_ROW: u32 = 10;

/// A 404 of a machine is often gone on the next ask; it counts after so many more.
const NOT_FOUND_RETRIES: u32 = 3;

impl Poller {
    /// Asks the machines that are `due`, in their order; those that are not found several times.
    pub(super) async fn fetch_machines(&mut self, due: Vec<MachineId>, report: &mut PollReport) {
        let mut not_found = self.ask(due, report).await;
        for _ in 0..NOT_FOUND_RETRIES {
            if not_found.is_empty() {
                break;
            }
            if report.stopped {
                // Not asked often enough to be believed: they stay as they are, and due.
                return;
            }
            // Also when the poll's time is over: until their 404 counts they are due first, and many of
            // them would take every poll from the others.
            report.until = None;
            let spread = (self.poll.interval / 100).min(Duration::from_secs(5));
            tokio::time::sleep(spread).await;
            let again = not_found.drain(..).map(|(id, _)| id).collect();
            not_found = self.ask(again, report).await;
        }
        for (id, error) in not_found {
            self.fleet.apply_failure(&id, self.clock.now());
            report.machine_failed(&self.fleet.tenant, &id, &error);
        }
    }

    /// Asks `machines` in their order. Returns those that the API did not find.
    async fn ask(&mut self, machines: Vec<MachineId>, report: &mut PollReport) -> Vec<(MachineId, ApiError)> {
        let mut not_found = Vec::new();
        let mut waiting = machines.into_iter();
        // What an earlier poll left was dropped with it.
        self.under_way = JoinSet::new();
        loop {
            while self.under_way.len() < CONCURRENCY && !report.stopped && !report.is_over() {
                let Some(id) = waiting.next() else { break };
                let client = Arc::clone(&self.client);
                self.under_way.spawn(async move {
                    let answer = client.missing_kbs(&id).await;
                    (id, answer)
                });
            }
            let ended = tokio::select! {
                ended = self.under_way.join_next() => ended,
                () = tokio::time::sleep_until(self.rests_until), if self.is_changed => {
                    self.hand_over();
                    continue;
                }
            };
            let Some(ended) = ended else { break };
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
        report: &mut PollReport,
    ) {
        let now = self.clock.now();
        match answer {
            Ok(mut missing) => {
                missing.retain(|update| !self.ignored.contains(&update.kb));
                self.fleet.apply_answer(id, now, missing, &self.poll.freshness);
                report.machine_read();
            }
            Err(error) if error.stops_the_poll() => report.failed(&error, true),
            Err(error) => {
                self.fleet.apply_failure(id, now);
                report.machine_failed(&self.fleet.tenant, id, &error);
                report.stopped |= report.in_a_row >= FAILURES_IN_A_ROW;
            }
        }
        self.fleet_changed();
    }
}
