//! The rows of the list of machines.

use crate::fleet::MachineState;
use crate::fleet::overview::{MachineSummary, MissingCounts};
use crate::fleet::policy::{MachineJudgement, PolicyState};
use crate::model::{FactsSource, ServicingState};
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{ShownDay, ShownTime, day, grouped, visible};

/// One machine.
pub(super) struct ListedMachine {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) link: String,
    pub(super) servicing: Option<ServicingTag>,
    pub(super) tenant: String,
    pub(super) platform: String,
    pub(super) group: String,
    /// The name and value of each own label; an empty value is that of a machine without one.
    pub(super) labels: Vec<(String, String)>,
    /// None while unknown, which differs from zero.
    pub(super) missing: Option<NumberCell>,
    pub(super) exploited: Option<NumberCell>,
    pub(super) overdue: Option<NumberCell>,
    /// True if the machine has data in service, so that a number that is none is unknown.
    pub(super) is_assessed: bool,
    pub(super) oldest: Option<ShownDay>,
    /// The time since which it misses the KB of the query.
    pub(super) kb_since: Option<ShownDay>,
    pub(super) policy_state: &'static str,
    pub(super) data: DataCell,
}

/// A number of missing updates and the link to them.
pub(super) struct NumberCell {
    pub(super) count: String,
    pub(super) link: String,
    pub(super) is_bad: bool,
}

/// The mark of a machine that is, or may be, past end of servicing.
pub(in crate::web::pages) struct ServicingTag {
    pub(in crate::web::pages) class: &'static str,
    pub(in crate::web::pages) words: String,
}

/// The data of a machine.
pub(in crate::web::pages) struct DataCell {
    pub(in crate::web::pages) state: &'static str,
    pub(in crate::web::pages) is_stale: bool,
    /// The time that the data describes; none if it was never read.
    pub(in crate::web::pages) read: Option<ShownTime>,
    /// The time of the last attempt if it failed.
    pub(in crate::web::pages) failed: Option<ShownTime>,
    /// True if the newest answer has an update id that is no KB.
    pub(in crate::web::pages) has_unreadable_ids: bool,
    pub(in crate::web::pages) last_seen: Option<ShownDay>,
}

/// Returns whether rows name their tenant.
pub(super) fn has_tenant(context: &PageContext) -> bool {
    context.snapshot.fleets.len() > 1 && context.query.tenant.is_none()
}

impl ListedMachine {
    pub(super) fn of(context: &PageContext, place: usize) -> Self {
        let PageContext { snapshot, query, now, .. } = context;
        let overview = snapshot.overview();
        let summary = &overview.machines[place];
        let judgement = &overview.policies[query.policy].machines[place];
        let facts = &summary.machine.facts;
        let values = &overview.owners[summary.owner as usize];
        let labels = snapshot.labels.iter().zip(values);
        let link = |change: &dyn Fn(&mut PageQuery)| page_link(context, place, change);
        let kb_since = query.kb.as_ref().and_then(|kb| summary.place_of(kb.kb?)).map(|place| {
            let missing = &summary.machine.missing_updates()[place];
            ShownDay::past(missing.first_seen, *now)
        });
        let [missing, exploited, overdue] = numbers(context, summary, judgement, link);
        Self {
            name: visible(shown_name(summary)),
            id: facts.id.to_string(),
            link: link(&|_| {}),
            servicing: ServicingTag::of(context, summary, judgement),
            tenant: if has_tenant(context) {
                visible(&snapshot.fleets[summary.tenant].tenant)
            } else {
                String::new()
            },
            platform: visible(format!("{} {}", facts.os_platform, facts.os_version).trim()),
            group: visible(&facts.device_group),
            labels: labels.map(|(label, value)| (label.name.to_string(), visible(value))).collect(),
            missing,
            exploited,
            overdue,
            is_assessed: summary.missing.is_some(),
            oldest: summary.missing.and_then(|missing| Some(ShownDay::past(missing.oldest?, *now))),
            kb_since,
            policy_state: judgement.state.as_str(),
            data: DataCell::of(context, summary),
        }
    }
}

/// The numbers of missing, exploited and overdue updates.
fn numbers(
    context: &PageContext,
    summary: &MachineSummary,
    judgement: &MachineJudgement,
    link: impl Fn(&dyn Fn(&mut PageQuery)) -> String,
) -> [Option<NumberCell>; 3] {
    let number = |count: u64, is_bad: bool, change: &dyn Fn(&mut PageQuery)| NumberCell {
        count: grouped(count),
        link: link(change),
        is_bad: is_bad && count > 0,
    };
    let Some(MissingCounts { total, exploited, .. }) = summary.missing else { return [None, None, None] };
    let is_known = context.snapshot.facts.has(FactsSource::Msrc) || exploited > 0 || total == 0;
    let exploited = u64::from(exploited);
    let exploited = is_known.then(|| number(exploited, true, &|query| query.exploited = Some(true)));
    let overdue = judgement.overdue.map(|count| {
        number(u64::from(count), true, &|query| query.policy_state = Some(PolicyState::Overdue))
    });
    [Some(number(total as u64, false, &|_| {})), exploited, overdue]
}

/// The name of a machine, or its id if it has none.
pub(in crate::web::pages) fn shown_name(summary: &MachineSummary) -> &str {
    let facts = &summary.machine.facts;
    if facts.name.is_empty() { facts.id.as_str() } else { &facts.name }
}

/// The link to the page of the machine at `place`, and of no machine of another tenant.
pub(in crate::web::pages) fn page_link(
    context: &PageContext,
    place: usize,
    change: impl FnOnce(&mut PageQuery),
) -> String {
    let overview = context.snapshot.overview();
    let summary = &overview.machines[place];
    let id = &summary.machine.facts.id;
    let mut query = context.query.kept();
    if overview.machines_with_id(id).nth(1).is_some() {
        query.tenant = Some(summary.tenant);
    }
    context.link(&format!("machines/{id}"), &query.with(change))
}

impl ServicingTag {
    /// None if the version is in service or unknown, or the machine is unsupported.
    pub(in crate::web::pages) fn of(
        context: &PageContext,
        summary: &MachineSummary,
        judgement: &MachineJudgement,
    ) -> Option<Self> {
        let servicing = &summary.servicing;
        let words = match servicing.state {
            _ if summary.state == MachineState::Unsupported => return None,
            ServicingState::Ended => match servicing.ended_at {
                Some(end) => format!("servicing ended {}", day(last_day(end), context.now)),
                None => "servicing ended".to_owned(),
            },
            ServicingState::Uncertain => "servicing uncertain".to_owned(),
            ServicingState::InService | ServicingState::Unknown => return None,
        };
        let is_overdue = servicing.state == ServicingState::Ended && judgement.state == PolicyState::Overdue;
        Some(Self { class: if is_overdue { "bad" } else { "warn" }, words })
    }
}

/// A time on the last day before `end`, which is 00:00 UTC.
pub(in crate::web::pages) fn last_day(end: jiff::Timestamp) -> jiff::Timestamp {
    end.saturating_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(end)
}

impl DataCell {
    pub(in crate::web::pages) fn of(context: &PageContext, summary: &MachineSummary) -> Self {
        let machine = &summary.machine;
        let past = |at| ShownTime::past(at, context.now);
        let failed = machine.attempt.filter(|attempt| !attempt.succeeded);
        Self {
            state: summary.state.as_str(),
            is_stale: summary.state == MachineState::Stale,
            read: machine.assessment.as_ref().map(|assessment| past(assessment.as_of)),
            failed: failed.map(|attempt| past(attempt.at)),
            has_unreadable_ids: machine.has_unreadable_ids(),
            last_seen: machine.facts.last_seen.map(|at| ShownDay::past(at, context.now)),
        }
    }
}
