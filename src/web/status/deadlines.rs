//! The answer to "are we within our deadlines?": the headline, the policies and the exceptions.

use jiff::Timestamp;

use super::text::{ShownTime, counted, grouped, visible};
use crate::fleet::overview::TenantOverview;
use crate::fleet::policy::{PolicyState, PolicyStates};
use crate::fleet::servicing::ServicingCounts;
use crate::fleet::{MachineState, Overview};
use crate::model::{Exception, Policy};
use crate::publish::Snapshot;

/// An exception that ends within this number of days is marked. The alert `MdeExceptionEnding` has the same limit.
const ENDS_SOON_DAYS: i64 = 14;

/// What the page says about deadlines.
pub(super) struct Deadlines {
    /// The share within deadline under the first policy, with the number that cannot be judged.
    pub(super) headline: String,
    /// The number of machines that miss nothing at all.
    pub(super) misses_nothing: String,
    /// A sentence about the machines past end of servicing; none without such a machine.
    pub(super) servicing_ended: Option<String>,
    /// A sentence about the machines that may be past end of servicing, with what would settle it.
    pub(super) servicing_uncertain: Option<String>,
    /// One for each policy.
    pub(super) policies: Vec<PolicyCard>,
    /// One for each exception of the configuration.
    pub(super) exceptions: Vec<ExceptionRow>,
}

/// The machines under one policy.
pub(super) struct PolicyCard {
    pub(super) name: String,
    /// The share within deadline; none if no machine can be judged.
    pub(super) share: Option<String>,
    /// The number of judged machines.
    pub(super) judged: String,
    /// State, its words, and the number of machines in it.
    pub(super) states: Vec<(&'static str, &'static str, String)>,
    pub(super) has_overdue: bool,
}

/// One exception.
pub(super) struct ExceptionRow {
    pub(super) name: String,
    pub(super) reason: String,
    /// The last day.
    pub(super) until: String,
    /// The time until the end, or since the end.
    pub(super) end: ShownTime,
    pub(super) class: &'static str,
    /// The number of missing updates that it covers.
    pub(super) updates: String,
    /// The number of machines past end of servicing that it covers; none if there is none.
    pub(super) machines: Option<String>,
}

impl Deadlines {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let overview = snapshot.overview();
        let states: Vec<_> =
            (0..snapshot.policies.len()).map(|index| states_under(overview, index)).collect();
        let misses_nothing = MissesNothing::of(overview);
        let first = snapshot.policies.first().zip(states.first());
        let servicing = servicing(overview);
        Self {
            headline: first
                .map_or_else(|| misses_nothing.headline(), |(policy, states)| headline(policy, states)),
            misses_nothing: misses_nothing.sentence(),
            servicing_ended: servicing.ended().as_deref().map(visible),
            servicing_uncertain: servicing.uncertain(),
            policies: snapshot
                .policies
                .iter()
                .zip(&states)
                .map(|(policy, states)| card(policy, states))
                .collect(),
            exceptions: (snapshot.exceptions.iter().enumerate())
                .map(|(index, exception)| row(exception, covered(overview, index), snapshot.at))
                .collect(),
        }
    }
}

/// The machines of all tenants by state under the policy with this index.
fn states_under(overview: &Overview, policy: usize) -> PolicyStates {
    overview.tenants.iter().filter_map(|tenant| tenant.policies.get(policy)).copied().sum()
}

/// The servicing of the machines that are not unsupported.
fn servicing(overview: &Overview) -> ServicingCounts {
    let mut counts = ServicingCounts::default();
    for summary in &overview.machines {
        if summary.state != MachineState::Unsupported {
            counts.add(&summary.machine.facts, &summary.servicing);
        }
    }
    counts
}

/// The missing updates and the machines past end of servicing that the exception with this index covers, in all
/// tenants.
fn covered(overview: &Overview, exception: usize) -> (u64, u64) {
    let sum = |counts: fn(&TenantOverview) -> &[Option<u64>]| {
        overview.tenants.iter().filter_map(|tenant| *counts(tenant).get(exception)?).sum()
    };
    (sum(|tenant| &tenant.exception_updates), sum(|tenant| &tenant.exception_servicing))
}

fn headline(policy: &Policy, states: &PolicyStates) -> String {
    let (judged, within) = (states.judged(), states.within_deadline());
    let unknown = states.machines(PolicyState::Unknown);
    let policy = visible(&policy.name);
    match (judged, unknown) {
        (0, 0) => format!("No machine to judge under {policy}"),
        (0, _) => format!("No machine can be judged under {policy}: {} unknown", grouped(unknown)),
        _ => format!(
            "{} of {} within deadline under {policy}, {} cannot be judged",
            share(within, judged),
            counted(judged, "judged machine"),
            grouped(unknown)
        ),
    }
}

/// A share in percent with one decimal, rounded down: 100 % means all.
fn share(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000) / whole.max(1);
    if part == whole { "100 %".to_owned() } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

fn card(policy: &Policy, states: &PolicyStates) -> PolicyCard {
    let judged = states.judged();
    let count = |state: PolicyState| {
        let words = match state {
            PolicyState::Unknown => "cannot be judged",
            state => state.as_str(),
        };
        (state.as_str(), words, grouped(states.machines(state)))
    };
    let shown = [
        PolicyState::Compliant,
        PolicyState::Due,
        PolicyState::Accepted,
        PolicyState::Overdue,
        PolicyState::Unknown,
        PolicyState::Unsupported,
    ];
    PolicyCard {
        name: visible(&policy.name),
        share: (judged > 0).then(|| share(states.within_deadline(), judged)),
        judged: counted(judged, "judged machine"),
        states: shown.map(count).into(),
        has_overdue: states.machines(PolicyState::Overdue) > 0,
    }
}

fn row(exception: &Exception, (updates, machines): (u64, u64), now: Timestamp) -> ExceptionRow {
    let ends_at = exception.ends_at();
    let days_left = ends_at.duration_since(now).as_hours() / 24;
    let (end, class) = if exception.is_in_effect(now) {
        let class = if days_left < ENDS_SOON_DAYS { "waiting" } else { "soft" };
        (ShownTime::coming(ends_at, now), class)
    } else {
        let past = ShownTime::past(ends_at, now);
        (ShownTime { words: format!("ended {}", past.words), ..past }, "bad")
    };
    ExceptionRow {
        name: visible(&exception.name),
        reason: visible(&exception.reason),
        until: exception.until.to_string(),
        end,
        class,
        updates: grouped(updates),
        machines: (machines > 0).then(|| counted(machines, "machine")),
    }
}

/// The machines that miss no update and are still serviced, whatever the policies say.
struct MissesNothing {
    compliant: u64,
    assessed: u64,
}

impl MissesNothing {
    fn of(overview: &Overview) -> Self {
        let summaries = || overview.tenants.iter().map(|tenant| &tenant.summary);
        let groups = summaries().flat_map(|summary| summary.groups.values());
        let is_assessed = |state: &MachineState| state.is_assessed();
        let assessed = MachineState::ALL.into_iter().filter(is_assessed);
        Self {
            compliant: groups.map(|group| group.compliant).sum(),
            assessed: assessed
                .map(|state| summaries().map(|summary| summary.machines(state)).sum::<u64>())
                .sum(),
        }
    }

    fn headline(&self) -> String {
        let (compliant, assessed) = (grouped(self.compliant), counted(self.assessed, "machine"));
        format!("{compliant} of {assessed} with data miss nothing and are still serviced")
    }

    fn sentence(&self) -> String {
        self.headline() + "."
    }
}
