//! The usability of a tenant's API, from the outcome of each call. Pure.
//!
//! The API counts as usable from a good answer on. It counts as unusable at once if the token or a role is
//! refused or a long pause is requested, and otherwise after several failures in a row: a single 503 is
//! normal. Failures of one machine alone do not count, because the cause may be that machine.
//!
//! The export is counted on its own: the answers to machine lists do not show that it can be read.
//!
//! An unusable API is probed with one call at a time, at least once a minute.

use std::time::Duration;

use tokio::time::Instant;

use crate::defender::{ApiError, RequestedPause};
use crate::model::MachineId;

/// The number of failures in a row after which the API counts as unusable.
const FAILURES: u32 = 3;

/// The longest time between a failure and the next call, unless the API requests a longer pause.
pub(super) const PROBE_PAUSE: Duration = Duration::from_mins(1);

/// A requested pause that is longer makes the API unusable at once.
const SHORT_PAUSE: Duration = Duration::from_mins(1);

/// The part of the API that a call uses. Each part needs a role of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    List,
    Machine,
    Export,
}

/// The outcome of a call after its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// A good answer: a success, or a 404 for one machine.
    Answered,
    /// No usable answer.
    Failed,
    /// The token, or the credential for it, is refused.
    TokenRefused,
    /// The application lacks the role for this kind of call.
    RoleRefused,
    /// The API requested a pause.
    Paused { until: Instant },
}

impl CallOutcome {
    /// The outcome of a call of `kind` that failed with `error`. `pause` is the one that runs, if any.
    pub(super) fn of_error(kind: CallKind, error: &ApiError, pause: Option<RequestedPause>) -> Self {
        match (error, pause) {
            (ApiError::NotFound { .. }, _) if kind == CallKind::Machine => Self::Answered,
            (error, _) if error.refuses_token() => Self::TokenRefused,
            (ApiError::Forbidden { .. }, _) => Self::RoleRefused,
            (_, Some(pause)) if pause.length > SHORT_PAUSE => Self::Paused { until: pause.until },
            _ => Self::Failed,
        }
    }
}

/// The calls that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Any number.
    Free,
    /// One, to find out whether the API is usable again.
    Probe,
    None,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct ApiHealth {
    is_up: bool,
    failures_to_fail: u32,
    /// The time between a failure and the next call.
    pause: Duration,
    /// The number of failures since the newest answer.
    in_a_row: u32,
    /// The number of failures of the export since its newest answer.
    export_in_a_row: u32,
    /// The machine that all failures in a row concern; none if they concern several, or a list.
    only_machine: Option<MachineId>,
    refusal: Option<Refusal>,
    paused_until: Option<Instant>,
    /// The time of the next probe; none while the newest call was answered.
    probe_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Token,
    Role(CallKind),
}

impl ApiHealth {
    /// The health of an API that was usable before a restart if `is_up`, with calls every `interval`.
    pub(super) fn new(is_up: bool, interval: Duration) -> Self {
        Self {
            is_up,
            failures_to_fail: FAILURES,
            pause: interval.min(PROBE_PAUSE),
            in_a_row: 0,
            export_in_a_row: 0,
            only_machine: None,
            refusal: None,
            paused_until: None,
            probe_at: None,
        }
    }

    /// Returns whether the API is usable.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Changes the number of failures in a row after which the API counts as unusable.
    pub(super) fn fail_after(&mut self, failures: u32) {
        self.failures_to_fail = failures;
    }

    /// Records a call that ended at `now`; `machine` is the one that it read.
    pub(super) fn record(
        &mut self,
        kind: CallKind,
        machine: Option<&MachineId>,
        outcome: CallOutcome,
        now: Instant,
    ) {
        if outcome == CallOutcome::Answered {
            return self.answered(kind, now);
        }
        self.probe_at = Some(now + self.pause);
        match outcome {
            CallOutcome::Answered => {}
            CallOutcome::Failed => {
                let is_same = self.in_a_row == 0 || self.only_machine.as_ref() == machine;
                self.only_machine = machine.filter(|_| is_same).cloned();
                self.in_a_row += 1;
                self.export_in_a_row += u32::from(kind == CallKind::Export);
            }
            CallOutcome::TokenRefused => self.refusal = Some(Refusal::Token),
            CallOutcome::RoleRefused => self.refusal = Some(Refusal::Role(kind)),
            CallOutcome::Paused { until } => self.paused_until = self.paused_until.max(Some(until)),
        }
        self.is_up &= self.is_usable(now);
    }

    fn answered(&mut self, kind: CallKind, now: Instant) {
        (self.in_a_row, self.only_machine) = (0, None);
        if kind == CallKind::Export {
            self.export_in_a_row = 0;
        }
        // The answer to a list does not show that machines may be read.
        self.refusal =
            self.refusal.filter(|refusal| matches!(refusal, Refusal::Role(other) if *other != kind));
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if self.is_usable(now) {
            (self.is_up, self.probe_at) = (true, None);
        }
    }

    /// Returns whether it is time for a machine list that shows whether the API is usable.
    pub(super) fn needs_list(&self, now: Instant) -> bool {
        let is_other = |refusal| matches!(refusal, Refusal::Role(CallKind::Machine | CallKind::Export));
        let can_help = self.in_a_row > 0
            || self.paused_until.is_some()
            || self.refusal.is_some_and(|refusal| !is_other(refusal));
        can_help && self.next_probe().is_some_and(|at| at <= now)
    }

    /// Forgets that the role for machines is refused. For a scope without a machine, which does not need it.
    pub(super) fn machines_are_not_needed(&mut self) {
        self.refusal.take_if(|refusal| *refusal == Refusal::Role(CallKind::Machine));
    }

    /// Allows a probe at once, unless the API requested a pause.
    pub(super) fn probe_now(&mut self, now: Instant) {
        self.probe_at = self.probe_at.map(|at| at.min(now));
    }

    /// Records that a probe without a result was made.
    pub(super) fn probed(&mut self, now: Instant) {
        self.probe_at = self.probe_at.map(|_| now + self.pause);
    }

    /// The calls of `kind` that are allowed at `now`.
    pub(super) fn permission(&self, kind: CallKind, now: Instant) -> Permission {
        let is_blocked = self.paused_until.is_some()
            || self.has_failed()
            || self
                .refusal
                .is_some_and(|refusal| refusal == Refusal::Token || refusal == Refusal::Role(kind));
        match self.next_probe() {
            Some(at) if is_blocked && now >= at => Permission::Probe,
            _ if is_blocked => Permission::None,
            _ => Permission::Free,
        }
    }

    /// The time at which to make a call even if nothing is due, to find out whether the API is usable; none
    /// while the newest call was answered.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.probe_at.map(|at| self.paused_until.map_or(at, |until| until.max(at)))
    }

    fn is_usable(&self, now: Instant) -> bool {
        !self.has_failed() && !self.has_export_failed() && self.refusal.is_none() && !self.is_paused(now)
    }

    fn has_failed(&self) -> bool {
        self.in_a_row >= self.failures_to_fail && self.only_machine.is_none()
    }

    fn has_export_failed(&self) -> bool {
        self.export_in_a_row >= self.failures_to_fail
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_hours(6);

    fn machine(number: u8) -> MachineId {
        MachineId::parse(&format!("m{number}")).unwrap()
    }

    /// An API that has answered, and the time of its answer.
    fn usable() -> (ApiHealth, Instant) {
        let (mut health, now) = (ApiHealth::new(false, INTERVAL), Instant::now());
        assert!(!health.is_up(), "before the first answer");
        health.record(CallKind::List, None, CallOutcome::Answered, now);
        assert!(health.is_up());
        (health, now)
    }

    #[test]
    fn third_failure_in_a_row_makes_the_api_unusable() {
        let (mut health, now) = usable();
        for (number, up) in [(1, true), (2, true), (3, false), (4, false)] {
            health.record(CallKind::Machine, Some(&machine(number)), CallOutcome::Failed, now);
            assert_eq!(health.is_up(), up, "{number}");
        }
        assert_eq!(health.permission(CallKind::List, now), Permission::None);
        assert_eq!(health.permission(CallKind::List, now + PROBE_PAUSE), Permission::Probe);
        health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::Answered, now);
        assert!(health.is_up());
        assert_eq!(health.permission(CallKind::Machine, now), Permission::Free);
    }

    #[test]
    fn failures_of_one_machine_leave_the_api_usable() {
        let (mut health, now) = usable();
        for _ in 0..9 {
            health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::Failed, now);
        }
        assert!(health.is_up());
        assert!(!health.needs_list(now) && health.needs_list(now + PROBE_PAUSE), "it shows the cause");
        health.record(CallKind::List, None, CallOutcome::Failed, now);
        assert!(!health.is_up());
    }

    #[test]
    fn answers_to_lists_do_not_hide_that_the_export_fails() {
        let (mut health, now) = usable();
        for up in [true, true, false] {
            health.record(CallKind::List, None, CallOutcome::Answered, now);
            health.record(CallKind::Export, None, CallOutcome::Failed, now);
            assert_eq!(health.is_up(), up);
        }
        health.record(CallKind::List, None, CallOutcome::Answered, now);
        assert!(!health.is_up());
        assert_eq!(health.permission(CallKind::List, now), Permission::Free);
        health.record(CallKind::Export, None, CallOutcome::Answered, now);
        assert!(health.is_up());
    }

    #[test]
    fn refusal_ends_with_an_answer_of_its_kind() {
        let (mut health, now) = usable();
        health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::RoleRefused, now);
        assert!(!health.is_up());
        health.record(CallKind::List, None, CallOutcome::Answered, now);
        assert!(!health.is_up(), "the role for machines is still missing");
        assert!(!health.needs_list(now + PROBE_PAUSE));
        assert_eq!(health.permission(CallKind::Machine, now + PROBE_PAUSE), Permission::Probe);
        assert_eq!(health.permission(CallKind::List, now), Permission::Free);
        assert_eq!(health.permission(CallKind::Machine, now), Permission::None);
        health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::Answered, now);
        assert!(health.is_up());

        health.record(CallKind::List, None, CallOutcome::TokenRefused, now);
        assert!(!health.is_up());
        health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::Answered, now);
        assert!(health.is_up());
    }

    #[test]
    fn long_pause_makes_the_api_unusable_until_an_answer_after_it() {
        let (mut health, now) = usable();
        let until = now + Duration::from_hours(1);
        health.record(CallKind::List, None, CallOutcome::Paused { until }, now);
        health.record(CallKind::Machine, Some(&machine(1)), CallOutcome::Answered, now);
        assert!(!health.is_up(), "a call that was in flight");
        health.probe_now(now);
        assert_eq!(health.permission(CallKind::List, until - Duration::from_millis(1)), Permission::None);
        assert_eq!(health.permission(CallKind::List, until), Permission::Probe);
        assert_eq!(health.next_probe(), Some(until));
        health.record(CallKind::List, None, CallOutcome::Answered, until);
        assert!(health.is_up());
    }

    #[test]
    fn short_interval_shortens_the_pause_between_probes() {
        let (mut health, now) = (ApiHealth::new(true, Duration::from_secs(5)), Instant::now());
        health.record(CallKind::List, None, CallOutcome::TokenRefused, now);
        assert_eq!(health.next_probe(), Some(now + Duration::from_secs(5)));
        health.probe_now(now);
        assert_eq!(health.permission(CallKind::List, now), Permission::Probe);
    }

    proptest! {
        #[test]
        fn alternating_failures_never_make_the_api_unusable(failures in proptest::collection::vec(0..3u8, 1..40)) {
            let (mut health, now) = usable();
            for failures in failures {
                for number in 0..failures {
                    health.record(CallKind::Machine, Some(&machine(number)), CallOutcome::Failed, now);
                    prop_assert!(health.is_up());
                }
                health.record(CallKind::Machine, Some(&machine(9)), CallOutcome::Answered, now);
                prop_assert!(health.is_up() && health.next_probe().is_none());
            }
        }

        #[test]
        fn unusable_api_is_probed_within_a_minute(outcomes in proptest::collection::vec(0..4u8, 1..40)) {
            let (mut health, mut now) = usable();
            for outcome in outcomes {
                now += Duration::from_secs(7);
                let outcome = match outcome {
                    0 => CallOutcome::Answered,
                    1 => CallOutcome::Failed,
                    2 => CallOutcome::TokenRefused,
                    _ => CallOutcome::RoleRefused,
                };
                health.record(CallKind::List, None, outcome, now);
                let probe = health.permission(CallKind::List, now + PROBE_PAUSE);
                let is_allowed = probe != Permission::None;
                prop_assert!(is_allowed && (health.is_up() == (probe == Permission::Free)));
            }
        }
    }
}
