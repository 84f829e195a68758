//! What the file holds, as it was last read or written: what the next save is compared with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Machine, ResolutionHistogram, TenantFleet, UpdateFacts};
use crate::model::{ApiOperation, MachineId, Severity, Source};

/// Everything in the file but the calls.
#[derive(Debug, Default)]
pub(super) struct PersistedState {
    /// The tenants by name.
    pub(super) tenants: BTreeMap<Arc<str>, PersistedTenant>,
    /// Keys of the update facts. The facts are copies, so that nobody who counts who shares an `Arc`
    /// is misled.
    pub(super) facts: HashMap<UpdateFacts, i64>,
    /// Keys of update facts that no gap names any more.
    pub(super) unused_facts: Vec<i64>,
    /// Whether the file holds rows that are not accounted for here, so that it must be emptied first.
    pub(super) needs_rewrite: bool,
}

/// A tenant in the file.
#[derive(Debug)]
pub(super) struct PersistedTenant {
    /// Key of its row.
    pub(super) key: i64,
    /// What its rows say.
    pub(super) fleet: Arc<TenantFleet>,
    /// Keys of its machines' rows.
    pub(super) machines: HashMap<MachineId, i64>,
}

/// A machine of a fleet, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) machine: &'a Arc<Machine>,
    /// When it left the scope; none while it is in.
    pub(super) departed_at: Option<Timestamp>,
}

/// Every machine of `fleet`, in scope or departed, by id. In scope wins.
pub(super) fn machines(fleet: &TenantFleet) -> impl Iterator<Item = (&MachineId, Known<'_>)> {
    merge_join(fleet.machines.iter(), fleet.out_of_scope.iter()).filter_map(|(id, inside, out_of_scope)| {
        let known = match (inside, out_of_scope) {
            (Some(machine), _) => Known { machine, departed_at: None },
            (None, Some(out_of_scope)) => {
                Known { machine: &out_of_scope.machine, departed_at: Some(out_of_scope.since) }
            }
            (None, None) => return None,
        };
        Some((id, known))
    })
}

/// Full outer join of two iterators that ascend by key.
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

/// How long calls are kept: the longest window of the API's quota, and a little more, since a call
/// counts there from when it arrives, which is after it was noted.
const CALLS_KEPT: SignedDuration = SignedDuration::from_secs(3_610);

/// The API calls of the last hour by tenant, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls(pub(super) BTreeMap<String, Vec<(Timestamp, ApiOperation)>>);

impl Calls {
    /// Adds calls of `tenant`.
    pub(super) fn add(&mut self, tenant: &str, made: &[(Timestamp, ApiOperation)]) {
        let calls = self.0.entry(tenant.to_owned()).or_default();
        calls.extend_from_slice(made);
        calls.sort_by_key(|(at, _)| *at);
    }

    /// The time before `now` from which on calls count: older ones are forgotten.
    pub(super) fn horizon(now: Timestamp) -> Timestamp {
        now.saturating_sub(CALLS_KEPT).unwrap_or(Timestamp::MIN)
    }

    /// Forgets the calls that are not later than `horizon`.
    pub(super) fn forget(&mut self, horizon: Timestamp) {
        for calls in self.0.values_mut() {
            calls.retain(|(at, _)| *at > horizon);
        }
        self.0.retain(|_, calls| !calls.is_empty());
    }
}

/// Names of the slots of [`ResolutionHistogram`], as Prometheus spells bounds.
pub(super) fn resolution_slots() -> impl Iterator<Item = String> {
    ResolutionHistogram::BOUNDS_DAYS.iter().map(u32::to_string).chain(["+Inf".to_owned()])
}

/// A severity in the file: the worse, the higher.
pub(super) fn severity_number(severity: Severity) -> i64 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

/// A source in the file, as the configuration spells it.
pub(super) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Machines => "machines",
        Source::Export => "export",
    }
}
