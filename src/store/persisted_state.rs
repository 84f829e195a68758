//! The data in the file as last read or written, with which the next save compares.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{BurnDown, Machine, Onboarding, ResolutionHistogram, TenantFleet, UpdateFacts};
use crate::model::{ApiOperation, MachineId, Severity, Source};

/// Everything in the file except the calls.
#[derive(Debug, Default)]
pub(super) struct PersistedState {
    /// The tenants by name.
    pub(super) tenants: BTreeMap<Arc<str>, PersistedTenant>,
    /// The row keys of the update facts. The facts are copies and not shared, so that they do not count among
    /// the references to a machine's facts.
    pub(super) facts: HashMap<UpdateFacts, i64>,
    /// The row keys of update facts that no missing update refers to any more.
    pub(super) unused_facts: Vec<i64>,
    /// True if the file holds rows that are missing here, so that it must be emptied first.
    pub(super) needs_rewrite: bool,
}

/// A tenant in the file.
#[derive(Debug)]
pub(super) struct PersistedTenant {
    /// The key of its row.
    pub(super) key: i64,
    /// The data in its rows.
    pub(super) fleet: Arc<TenantFleet>,
    /// The daily counts in its rows.
    pub(super) burn_down: Arc<BurnDown>,
    /// The row keys of its machines.
    pub(super) machines: HashMap<MachineId, i64>,
}

/// A machine of a fleet, in or out of scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineEntry<'a> {
    pub(super) machine: &'a Arc<Machine>,
    /// The time at which it left the scope; none while it is in scope.
    pub(super) departed_at: Option<Timestamp>,
}

/// Every machine of `fleet`, in or out of scope, by id. If a machine is both, in scope wins.
pub(super) fn machines(fleet: &TenantFleet) -> impl Iterator<Item = (&MachineId, MachineEntry<'_>)> {
    merge_join(fleet.machines.iter(), fleet.out_of_scope.iter()).filter_map(|(id, inside, out_of_scope)| {
        let entry = match (inside, out_of_scope) {
            (Some(machine), _) => MachineEntry { machine, departed_at: None },
            (None, Some(out_of_scope)) => {
                MachineEntry { machine: &out_of_scope.machine, departed_at: Some(out_of_scope.since) }
            }
            (None, None) => return None,
        };
        Some((id, entry))
    })
}

/// Joins two iterators that are sorted by key (a full outer join).
pub(super) fn merge_join<K: Ord, L, R>(
    left: impl Iterator<Item = (K, L)>,
    right: impl Iterator<Item = (K, R)>,
) -> impl Iterator<Item = (K, Option<L>, Option<R>)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        let (first, second) =
            (order.is_le().then(|| left.next()).flatten(), order.is_ge().then(|| right.next()).flatten());
        match (first, second) {
            (Some((key, left)), right) => Some((key, Some(left), right.map(|(_, right)| right))),
            (None, Some((key, right))) => Some((key, None, Some(right))),
            (None, None) => None,
        }
    })
}

/// The time for which calls are kept: the longest quota window and a little more, because the API counts a
/// call from its arrival, which is later than its record.
const CALLS_KEPT: SignedDuration = SignedDuration::from_secs(3_610);

/// The API calls of the last hour by tenant, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordedCalls(pub(super) BTreeMap<String, Vec<(Timestamp, ApiOperation)>>);

impl RecordedCalls {
    /// Adds calls of `tenant`.
    pub(super) fn add(&mut self, tenant: &str, made: &[(Timestamp, ApiOperation)]) {
        let calls = self.0.entry(tenant.to_owned()).or_default();
        calls.extend_from_slice(made);
        calls.sort_by_key(|(at, _)| *at);
    }

    /// Sets calls in the future back, so that the latest is at `now`. They keep the time between them: the quota
    /// would be used up for an hour if all of them counted as made now. Returns whether there were any.
    pub(super) fn set_back_times(&mut self, now: Timestamp) -> bool {
        let all = self.0.values().flatten().map(|(at, _)| *at);
        let Some(lead) =
            all.max().map(|latest| latest.duration_since(now)).filter(SignedDuration::is_positive)
        else {
            return false;
        };
        for calls in self.0.values_mut() {
            for (at, _) in calls.iter_mut().filter(|(at, _)| *at > now) {
                *at = at.saturating_sub(lead).unwrap_or(now);
            }
            calls.sort_by_key(|(at, _)| *at);
        }
        true
    }

    /// The time after which calls still count at `now`.
    pub(super) fn horizon(now: Timestamp) -> Timestamp {
        now.saturating_sub(CALLS_KEPT).unwrap_or(Timestamp::MIN)
    }

    /// Drops the calls that are not later than `horizon`.
    pub(super) fn drop_until(&mut self, horizon: Timestamp) {
        for calls in self.0.values_mut() {
            calls.retain(|(at, _)| *at > horizon);
        }
        self.0.retain(|_, calls| !calls.is_empty());
    }
}

/// The bounds of [`ResolutionHistogram`] in the spelling of Prometheus.
pub(super) fn resolution_bounds() -> impl Iterator<Item = String> {
    ResolutionHistogram::BOUNDS_DAYS.iter().map(u32::to_string).chain(["+Inf".to_owned()])
}

/// The number of a severity in the file. It rises with the severity.
pub(super) fn severity_number(severity: Severity) -> i64 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

/// The number of an onboarding status in the file. Earlier releases wrote 0 for each status but onboarded.
pub(super) fn onboarding_number(onboarding: Onboarding) -> i64 {
    match onboarding {
        Onboarding::Onboarded => 1,
        Onboarding::Unreported => 0,
        Onboarding::NotOnboarded => -1,
    }
}

/// The name of a source in the file, as in the configuration.
pub(super) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Machines => "machines",
        Source::Export => "export",
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn calls_in_the_future_are_set_back_with_their_distances() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |minutes: i64| (now + minutes.minutes(), ApiOperation::MissingKbs);
        let calls = [("a", vec![at(-70), at(-1), at(500), at(540)]), ("b", vec![at(530)])];
        let mut recorded = RecordedCalls(calls.map(|(name, made)| (name.to_owned(), made)).into());
        assert!(recorded.set_back_times(now) && !recorded.set_back_times(now));
        assert_eq!(recorded.0["a"], [at(-70), at(-40), at(-1), at(0)]);
        assert_eq!(recorded.0["b"], [at(-10)]);
        recorded.drop_until(RecordedCalls::horizon(now));
        assert_eq!(recorded.0["a"].len(), 3);
    }
}
