//! The orders of the list of machines.
//!
//! A machine that cannot be judged never comes behind one that misses nothing.

use std::ops::Range;

use jiff::Timestamp;

use crate::fleet::MachineState;
use crate::fleet::overview::MachineSummary;
use crate::fleet::policy::{MachineJudgement, PolicyState};
use crate::web::pages::context::PageContext;
use crate::web::pages::ranking::sorted_part;

/// The values of the parameter `sort`.
pub(in crate::web::pages) const ORDERS: [&str; 5] = ["overdue", "missing", "exploited", "oldest", "name"];

/// An order of machines. Machines of one rank are in the order of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineOrder {
    /// Overdue the longest first, then the next deadline, then not judged.
    Overdue,
    /// Most missing updates first.
    Missing,
    /// Most exploited missing updates first.
    Exploited,
    /// Oldest missing update first.
    Oldest,
    Name,
}

/// The rank of a machine: its class, its place in the class, and its place among the names.
type MachineRank = (u8, i64, u32);

impl MachineOrder {
    const ALL: [Self; ORDERS.len()] =
        [Self::Overdue, Self::Missing, Self::Exploited, Self::Oldest, Self::Name];

    /// The order of the query. Without policies nothing is overdue, and the machines that miss most come first.
    pub(super) fn of(context: &PageContext) -> Self {
        let place = context.query.sort.and_then(|sort| ORDERS.iter().position(|order| *order == sort));
        match (place.map(|place| Self::ALL[place]), context.policy_name()) {
            (Some(Self::Overdue) | None, None) => Self::Missing,
            (order, _) => order.unwrap_or(Self::Overdue),
        }
    }

    /// The value of `sort` for a link; none for the default.
    pub(super) fn parameter(self, context: &PageContext) -> Option<&'static str> {
        let default = if context.policy_name().is_some() { Self::Overdue } else { Self::Missing };
        (self != default).then(|| ORDERS[self as usize])
    }

    /// The order in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Overdue => "overdue the longest first",
            Self::Missing => "most missing updates first",
            Self::Exploited => "most exploited updates first",
            Self::Oldest => "oldest missing update first",
            Self::Name => "by name",
        }
    }

    /// The value of `aria-sort` for the column of this order.
    pub(super) fn direction(self) -> &'static str {
        match self {
            Self::Missing | Self::Exploited | Self::Overdue => "descending",
            Self::Oldest | Self::Name => "ascending",
        }
    }

    /// The machines at `range` of `places` in this order. Only these are sorted.
    pub(super) fn page_of(self, context: &PageContext, places: &[usize], range: Range<usize>) -> Vec<usize> {
        let overview = context.snapshot.overview();
        let judgements = &overview.policies[context.query.policy].machines;
        let rank = |&place: &usize| (self.rank(&overview.machines[place], &judgements[place]), place);
        let mut ranked: Vec<_> = places.iter().map(rank).collect();
        sorted_part(&mut ranked, range).iter().map(|(_, place)| *place).collect()
    }

    fn rank(self, summary: &MachineSummary, judgement: &MachineJudgement) -> MachineRank {
        let (class, value) = match self {
            Self::Overdue => deadline_rank(judgement),
            Self::Missing => count_rank(summary, summary.missing.map(|missing| missing.total)),
            Self::Exploited => count_rank(summary, summary.missing.map(|missing| missing.exploited as usize)),
            Self::Oldest => match summary.missing.map(|missing| missing.oldest) {
                Some(Some(oldest)) => (0, oldest.as_microsecond()),
                Some(None) => (2, 0),
                None => unassessed_rank(summary),
            },
            Self::Name => (0, 0),
        };
        (class, value, summary.name_rank)
    }
}

fn deadline_rank(judgement: &MachineJudgement) -> (u8, i64) {
    let second = |at: Option<Timestamp>, fallback| at.map_or(fallback, Timestamp::as_microsecond);
    match judgement.state {
        // An end of servicing without a known day is long ago.
        PolicyState::Overdue => (0, second(judgement.overdue_since, i64::MIN)),
        PolicyState::Due => (1, second(judgement.next_deadline, i64::MAX)),
        PolicyState::Unknown => (2, 0),
        PolicyState::Accepted => (3, second(judgement.next_deadline, i64::MAX)),
        PolicyState::Compliant => (4, 0),
        PolicyState::Unsupported => (5, 0),
    }
}

/// The rank by a number of updates, the greatest first.
fn count_rank(summary: &MachineSummary, count: Option<usize>) -> (u8, i64) {
    match count {
        Some(0) => (2, 0),
        Some(count) => (0, -i64::try_from(count).unwrap_or(i64::MAX)),
        None => unassessed_rank(summary),
    }
}

fn unassessed_rank(summary: &MachineSummary) -> (u8, i64) {
    (if summary.state == MachineState::Unsupported { 3 } else { 1 }, 0)
}
