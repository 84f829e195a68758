//! The work of a poller: the next call, its outcome, and the time of the one after it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::api_health::{CallKind, CallOutcome, Permission};
use super::context::PollContext;
use super::due_queue::FAILURE_PAUSE;
use super::fetch::{FetchResult, MachineOutcome};
use super::source::DataSource;
use super::{LONGEST_WAIT, PollMode, Poller, log_times_set_back};
use crate::defender::ApiError;
use crate::model::MachineId;

/// The shortest wait after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Poller {
    /// Makes the calls that are due, until nothing is due or the API is unusable.
    ///
    /// The machine list comes first, and alone: what it adds and removes decides about the machines.
    pub(super) async fn work(&mut self, mode: PollMode) {
        loop {
            self.watch_clock();
            if mode == PollMode::Due && self.report.elapsed() >= Some(self.context.interval) {
                self.finish();
            }
            self.update_progress();
            let list_is_due = mode == PollMode::Due && self.list_is_due();
            if list_is_due && self.source.is_idle() {
                self.refresh_scope().await;
                continue;
            }
            if self.export_is_due() {
                self.read_export().await;
                continue;
            }
            let allowed = self.health.permission(CallKind::Machine, Instant::now());
            let DataSource::Machines(fetcher) = &mut self.source else { return };
            if !list_is_due {
                fetcher.start(&self.context, allowed);
            }
            if !fetcher.is_busy(allowed) {
                return;
            }
            if !fetcher.is_idle() {
                self.report.begin();
            }
            self.next_event().await;
        }
    }

    /// Waits for the next reply and applies it, or for something else to do.
    async fn next_event(&mut self) {
        let DataSource::Machines(fetcher) = &mut self.source else { return };
        let retry_at = fetcher.next_retry().filter(|at| *at > Instant::now());
        let wake_at = Instant::now() + LONGEST_WAIT;
        let reply = tokio::select! {
            Some(reply) = fetcher.next_reply() => Some(reply),
            () = wait_until(self.context.sender.pending_until()) => {
                self.context.sender.submit(&self.context.fleet);
                None
            }
            () = tokio::time::sleep_until(retry_at.map_or(wake_at, |at| at.min(wake_at))) => None,
        };
        if let Some((id, result)) = reply {
            self.apply_reply(&id, result);
        }
    }

    /// Waits until something may be due, or for the signal to try a failed API at once.
    pub(super) async fn wait(&mut self) {
        let shortest =
            if self.health.next_probe().is_some() { SHORTEST_PAUSE } else { Duration::from_millis(1) };
        let wake_at = Instant::now() + self.time_to_next_event().max(shortest);
        let is_signal = tokio::select! {
            () = tokio::time::sleep_until(wake_at) => false,
            () = self.wake.notified() => true,
            () = wait_until(self.context.sender.pending_until()) => {
                self.context.sender.submit(&self.context.fleet);
                false
            }
        };
        if is_signal {
            self.try_now();
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Allows failed calls to be repeated at once, unless the API requested a pause.
    pub(super) fn try_now(&mut self) {
        (self.list_retry_at, self.export_retry_at) = (None, None);
        self.health.probe_now(Instant::now());
    }

    /// Sets times back after the clock was set back, and compares it with the clock of the API.
    fn watch_clock(&mut self) {
        let PollContext { fleet, client, clock, .. } = &mut self.context;
        self.clock_watch.compare(&fleet.tenant, client.clock_skew());
        let now = clock.now();
        if !self.clock_watch.was_set_back(now) {
            return;
        }
        self.scope.set_back_times(now);
        if let Some(lead) = fleet.set_back_times(now) {
            log_times_set_back(&fleet.tenant, lead);
            self.context.fleet_changed();
        }
        self.source.scope_changed(&self.context);
        self.set_next_poll();
    }

    /// Returns whether the machine list is to be fetched: because it is due, or to find out whether the API is
    /// usable while no machine is due.
    fn list_is_due(&self) -> bool {
        let PollContext { fleet, interval, clock, .. } = &self.context;
        let now = Instant::now();
        let allowed = self.health.permission(CallKind::List, now);
        let may_repeat = allowed == Permission::Probe || is_reached(self.list_retry_at, now);
        let is_due = may_repeat && self.scope.is_due(fleet, clock.now(), *interval);
        let is_probe = || {
            let has_other = match &self.source {
                DataSource::Machines(fetcher) => fetcher.has_due() || !fetcher.is_idle(),
                DataSource::Export(_) => false,
            };
            !has_other && self.health.needs_list(now)
        };
        allowed != Permission::None && (is_due || is_probe())
    }

    fn export_is_due(&self) -> bool {
        let DataSource::Export(importer) = &self.source else { return false };
        let now = Instant::now();
        let is_allowed = self.health.permission(CallKind::Export, now) != Permission::None;
        is_allowed
            && is_reached(self.export_retry_at, now)
            && importer.is_due(&self.context, self.context.clock.now())
    }

    /// Fetches the machine list and applies it. After a failure the scope stays as it is.
    pub(super) async fn refresh_scope(&mut self) {
        self.report.begin();
        let started = self.context.clock.now();
        let calls_before = self.context.client.calls_made();
        let scope = match self.scope.fetch(&self.context).await {
            Ok(scope) => scope,
            Err(error) => {
                self.list_retry_at = Some(self.retry_at());
                self.report.tenant_failed(&error);
                return self.record_error(CallKind::List, None, &error);
            }
        };
        if self.scope.selectors_add_machines(&scope, &self.context.fleet) {
            self.source.forget_export();
        }
        let listed_at = started.min(self.context.clock.now());
        self.scope.apply(scope, listed_at, &mut self.context);
        self.source.scope_changed(&self.context);
        self.quota_advisor.set_list_calls(self.context.client.calls_made() - calls_before);
        self.update_quota_advice();
        self.report.source_read();
        if self.context.fleet.machines.is_empty() {
            self.health.machines_are_not_needed();
        }
        if self.scope.is_forbidden() {
            // The scope does without the list. So neither an answer nor a failure.
            self.health.probed(Instant::now());
        } else {
            self.record(CallKind::List, None, CallOutcome::Answered);
        }
    }

    /// Checks for a new export version and applies it.
    async fn read_export(&mut self) {
        let DataSource::Export(importer) = &mut self.source else { return };
        self.report.begin();
        match importer.poll(&mut self.context, &mut self.report).await {
            Ok(()) => {
                self.report.source_read();
                self.record(CallKind::Export, None, CallOutcome::Answered);
            }
            Err(error) => {
                self.report.tenant_failed(&error);
                self.record_error(CallKind::Export, None, &error);
            }
        }
    }

    /// Applies the reply about a machine.
    fn apply_reply(&mut self, id: &MachineId, result: FetchResult) {
        let DataSource::Machines(fetcher) = &mut self.source else { return };
        let outcome = fetcher.apply(id, result, &mut self.context);
        let tenant = &self.context.fleet.tenant;
        match &outcome {
            MachineOutcome::Read => self.report.machine_read(),
            MachineOutcome::Retry => {}
            MachineOutcome::Failed(error) => self.report.machine_failed(tenant, id, error),
            MachineOutcome::Unasked(error) => self.report.tenant_failed(error),
        }
        match outcome {
            MachineOutcome::Read | MachineOutcome::Retry => {
                self.record(CallKind::Machine, Some(id), CallOutcome::Answered);
            }
            MachineOutcome::Failed(error) | MachineOutcome::Unasked(error) => {
                self.record_error(CallKind::Machine, Some(id), &error);
            }
        }
    }

    fn record_error(&mut self, kind: CallKind, machine: Option<&MachineId>, error: &ApiError) {
        let outcome = CallOutcome::of_error(kind, error, self.context.client.requested_pause());
        self.record(kind, machine, outcome);
        // Its quota allows few attempts, so only a refusal is probed every minute.
        let is_refused = matches!(outcome, CallOutcome::TokenRefused | CallOutcome::RoleRefused);
        if kind == CallKind::Export {
            self.export_retry_at = self.health.next_probe().filter(|_| is_refused).or(Some(self.retry_at()));
        }
    }

    /// Records the outcome of a call in the status. A change of `up` is submitted at once.
    fn record(&mut self, kind: CallKind, machine: Option<&MachineId>, outcome: CallOutcome) {
        self.health.record(kind, machine, outcome, Instant::now());
        let is_up = self.health.is_up();
        let PollContext { fleet, metrics, clock, sender, .. } = &mut self.context;
        let (now, status) = (clock.now(), &mut fleet.status);
        status.last_poll = Some(now);
        metrics.poll_called(now);
        if outcome == CallOutcome::Answered {
            status.last_success = Some(now);
            metrics.poll_succeeded(now);
        }
        let error = self.report.last_error();
        if is_up || error.is_some() {
            status.last_error = error;
        }
        let was_up = std::mem::replace(&mut status.up, is_up);
        if was_up == is_up {
            return self.context.fleet_changed();
        }
        if is_up {
            self.logged.end(&fleet.tenant);
        }
        sender.submit(fleet);
        if is_up {
            self.try_now();
        }
    }

    /// The time at which a failed list or export is repeated.
    fn retry_at(&self) -> Instant {
        Instant::now() + self.context.interval.min(FAILURE_PAUSE)
    }

    /// Updates the number of machines that wait, and logs the progress of a first reading.
    pub(super) fn update_progress(&mut self) {
        let waiting = self.source.waiting(&self.context, self.context.clock.now());
        let PollContext { fleet, client, metrics, .. } = &mut self.context;
        let never_asked = self.source.never_asked();
        self.first_reading.update(&fleet.tenant, never_asked, client.time_for(never_asked));
        if fleet.status.waiting == waiting {
            return;
        }
        metrics.due_machines(waiting);
        fleet.status.waiting = waiting;
        let is_timed = waiting > 0 && matches!(self.source, DataSource::Machines(_));
        fleet.status.time_left = is_timed.then(|| client.time_for(waiting));
        self.context.fleet_changed();
    }

    pub(super) fn update_quota_advice(&mut self) {
        let PollContext { fleet, interval, client, metrics, .. } = &self.context;
        self.quota_advisor.update(&fleet.tenant, fleet.machines.len(), *interval, client, metrics);
    }

    /// Ends the poll if nothing more is due soon, and records when the next call is.
    pub(super) fn rest(&mut self) {
        let soon = self.context.clock.now() + self.context.interval / 10;
        let is_unusable = self.health.next_probe().is_some();
        if is_unusable || self.next_due().is_none_or(|at| at > soon) {
            self.finish();
        } else {
            self.set_next_poll();
        }
    }

    /// The time at which the list, an export or a machine becomes due, whether the API is usable or not.
    fn next_due(&self) -> Option<Timestamp> {
        let list = self.scope.next_due(&self.context.fleet, self.context.interval)?;
        let retry = |at: Option<Instant>| at.map(|at| self.context.clock.now() + until(at));
        let data = self
            .source
            .next_due(&self.context)
            .map(|at| retry(self.export_retry_at).map_or(at, |retry| at.max(retry)));
        let list = retry(self.list_retry_at).map_or(list, |retry| list.max(retry));
        Some(data.map_or(list, |data| data.min(list)))
    }

    /// The time until something may be due.
    fn time_to_next_event(&self) -> Duration {
        let (now, wall) = (Instant::now(), self.context.clock.now());
        let from_now = |at: Timestamp| Duration::try_from(at.duration_since(wall)).unwrap_or_default();
        let retry = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let probe = self.health.next_probe().map(|at| at.saturating_duration_since(now));
        let is_free = |kind| self.health.permission(kind, now) == Permission::Free;
        let list = is_free(CallKind::List).then(|| {
            let due = self.scope.next_due(&self.context.fleet, self.context.interval);
            due.map_or(Duration::ZERO, from_now).max(retry(self.list_retry_at))
        });
        let data = match &self.source {
            DataSource::Machines(fetcher) => {
                fetcher.next_due().filter(|_| is_free(CallKind::Machine)).map(from_now)
            }
            DataSource::Export(_) => {
                let due = self.source.next_due(&self.context).filter(|_| is_free(CallKind::Export));
                due.map(|at| from_now(at).max(retry(self.export_retry_at)))
            }
        };
        [probe, list, data].into_iter().flatten().fold(LONGEST_WAIT, Duration::min)
    }

    /// Records the result of a poll in status, metrics and log. Does nothing without a call.
    pub(super) fn finish(&mut self) {
        let report = std::mem::take(&mut self.report);
        let next = self.set_next_poll();
        let Some(took) = report.elapsed() else { return };
        let PollContext { fleet, metrics, sender, .. } = &mut self.context;
        metrics.poll_finished(took);
        for reason in report.reasons() {
            metrics.poll_failed(reason);
        }
        report.log(&fleet.tenant, took, next, &mut self.logged);
        let error = report.last_error();
        if fleet.status.up || error.is_some() {
            fleet.status.last_error = error;
        }
        sender.submit(fleet);
    }

    /// Exports the time of the next call, and returns it.
    pub(super) fn set_next_poll(&mut self) -> Timestamp {
        let now = self.context.clock.now();
        let next = match self.health.next_probe() {
            Some(probe) => now + until(probe),
            None if self.context.fleet.status.waiting > 0 => now,
            None => self.next_due().unwrap_or(now).max(now),
        };
        self.context.metrics.next_poll(next);
        if self.context.fleet.status.next_poll.replace(next) != Some(next) {
            self.context.fleet_changed();
        }
        next
    }
}

/// Waits until `at`; for ever when there is no such time.
async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The time until `at`, rounded up to whole seconds, for people.
fn until(at: Instant) -> Duration {
    let left = at.saturating_duration_since(Instant::now());
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

/// Returns whether `at` is reached; true without such a time.
fn is_reached(at: Option<Instant>, now: Instant) -> bool {
    at.is_none_or(|at| at <= now)
}
