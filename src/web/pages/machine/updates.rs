//! The missing updates of one machine.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::fleet::overview::MachineSummary;
use crate::fleet::policy::{PolicyState, UpdateState, UpdateVerdict};
use crate::fleet::{EffectiveFacts, MissingUpdate};
use crate::model::{CvssScore, Severity, VendorSeverity};
use crate::web::pages::chips::{ALL, Chip};
use crate::web::pages::context::PageContext;
use crate::web::pages::list::SortHead;
use crate::web::pages::machines::last_day;
use crate::web::pages::query::PageQuery;
use crate::web::pages::selection::{selects_update, update_state};
use crate::web::pages::text::{ShownDay, day, grouped, visible};

/// The values of the parameter `sort`.
pub(in crate::web::pages) const ORDERS: [&str; 4] = ["deadline", "severity", "first_seen", "kb"];

/// The heads of the columns that sort the missing updates.
pub(super) struct UpdateOrder {
    pub(super) kb: SortHead,
    pub(super) severity: SortHead,
    pub(super) first_seen: SortHead,
    pub(super) deadline: SortHead,
}

/// One missing update.
pub(super) struct UpdateRow {
    pub(super) kb: String,
    pub(super) link: String,
    pub(super) title: String,
    pub(super) severity: Option<&'static str>,
    /// Microsoft's own rating.
    pub(super) vendor_severity: Option<&'static str>,
    /// None while unknown.
    pub(super) exploited: Option<bool>,
    /// The days on which it was added to the catalogue of known exploited vulnerabilities and is due there.
    pub(super) listed: Option<String>,
    pub(super) due: Option<String>,
    pub(super) released: Option<ShownDay>,
    pub(super) first_seen: ShownDay,
    /// None without a deadline.
    pub(super) deadline: Option<ShownDay>,
    /// The word of the state, and its mark.
    pub(super) state: (&'static str, &'static str),
    /// The name, the reason and the last day of the exception that covers it.
    pub(super) exception: Option<(String, String, String)>,
    /// The updates that it stands for: KB, link, and the day since which each is missing.
    pub(super) links: Vec<(String, String, String)>,
}

impl UpdateOrder {
    pub(super) fn of(context: &PageContext) -> Self {
        let head = |order, direction| SortHead::of(context, ORDERS[0], order, direction);
        Self {
            kb: head("kb", "ascending"),
            severity: head("severity", "descending"),
            first_seen: head("first_seen", "ascending"),
            deadline: head("deadline", "ascending"),
        }
    }
}

/// The states of the missing updates, each with the number of updates and the link to them.
pub(super) fn chips(context: &PageContext, verdicts: &[UpdateVerdict]) -> Vec<Chip> {
    let query = &context.query;
    let chip = |text: &'static str, count: usize, is_current, change: &dyn Fn(&mut PageQuery)| Chip {
        text: text.to_owned(),
        is_state: PolicyState::ALL.iter().any(|state| state.as_str() == text),
        count: grouped(count as u64),
        link: context.link_to_self(&query.with(|query| {
            (query.policy_state, query.exploited, query.kb) = (None, None, None);
            change(query);
        })),
        is_current,
    };
    let is_all = query.policy_state.is_none() && query.exploited.is_none() && query.kb.is_none();
    let mut chips = vec![chip(ALL, verdicts.len(), is_all, &|_| {})];
    if context.policy_name().is_some() {
        let states = [PolicyState::Overdue, PolicyState::Due, PolicyState::Accepted, PolicyState::Unknown];
        for state in states {
            let has_state = |verdict: &&UpdateVerdict| Some(verdict.state) == update_state(state);
            let count = verdicts.iter().filter(has_state).count();
            let is_current = query.policy_state == Some(state);
            if count > 0 || is_current || state == PolicyState::Overdue {
                chips
                    .push(chip(state.as_str(), count, is_current, &|query| query.policy_state = Some(state)));
            }
        }
    }
    let exploited = verdicts.iter().filter(|verdict| verdict.exploited == Some(true)).count();
    let is_current = query.exploited == Some(true);
    if exploited > 0 || is_current {
        chips.push(chip("exploited", exploited, is_current, &|query| query.exploited = Some(true)));
    }
    chips
}

/// The rows of the missing updates that the query selects.
pub(super) fn rows(
    context: &PageContext,
    summary: &MachineSummary,
    verdicts: &[UpdateVerdict],
) -> Vec<UpdateRow> {
    let selected = selected_updates(context, summary, verdicts);
    selected.into_iter().map(|(missing, verdict)| row(context, summary, missing, verdict)).collect()
}

/// The missing updates that the query selects, in its order.
pub(super) fn selected_updates<'a>(
    context: &PageContext,
    summary: &'a MachineSummary,
    verdicts: &'a [UpdateVerdict],
) -> Vec<(&'a MissingUpdate, &'a UpdateVerdict)> {
    let missing = summary.updates().unwrap_or_default().iter().zip(verdicts);
    let mut selected: Vec<_> =
        missing.filter(|(missing, verdict)| selects_update(&context.query, missing, verdict)).collect();
    let severity = |missing: &MissingUpdate| severity(context, missing);
    // Sorts are stable: equal ones stay in the order of KBs.
    match context.query.sort.unwrap_or(ORDERS[0]) {
        "severity" => {
            selected.sort_by_key(|(missing, verdict)| (Reverse(severity(missing)), urgency(verdict)));
        }
        "first_seen" => selected.sort_by_key(|(missing, _)| missing.first_seen),
        "kb" => {}
        _ => selected.sort_by_key(|(_, verdict)| urgency(verdict)),
    }
    selected
}

/// The key that puts the most urgent update first.
fn urgency(verdict: &UpdateVerdict) -> (u8, Timestamp) {
    let class = match verdict.state {
        UpdateState::Overdue => 0,
        UpdateState::Due => 1,
        UpdateState::Unknown => 2,
        UpdateState::Accepted => 3,
        UpdateState::Unlimited => 4,
    };
    (class, verdict.deadline.unwrap_or(Timestamp::MAX))
}

/// The severity that Defender reports, else that by the facts; as in the report.
fn severity(context: &PageContext, missing: &MissingUpdate) -> Option<Severity> {
    let facts = EffectiveFacts::of(&context.snapshot.facts, [missing.update.kb]);
    missing.update.severity.or(facts.cvss.map(CvssScore::severity))
}

fn row(
    context: &PageContext,
    summary: &MachineSummary,
    missing: &MissingUpdate,
    verdict: &UpdateVerdict,
) -> UpdateRow {
    let PageContext { snapshot, now, .. } = context;
    let kb = missing.update.kb;
    let of_tenant = snapshot.overview().tenants[summary.tenant].summary.updates.get(&kb);
    let kbs = missing.links().iter().map(|link| link.kb).chain([kb]);
    let known = EffectiveFacts::of(&snapshot.facts, kbs).known_exploited;
    let known = known.filter(|_| verdict.exploited == Some(true));
    let own = EffectiveFacts::of(&snapshot.facts, [kb]);
    let page = |kb| context.link(&format!("updates/{kb}"), &context.query.kept());
    let exception = verdict.exception.map(|index| &snapshot.exceptions[index]);
    UpdateRow {
        kb: format!("KB{kb}"),
        link: page(kb),
        title: visible(of_tenant.map_or(&missing.update.facts.title, |update| &update.facts.title)),
        severity: severity(context, missing).map(Severity::as_str),
        vendor_severity: own.vendor_severity.map(VendorSeverity::as_str),
        exploited: verdict.exploited,
        listed: known.map(|known| day(known.since, *now)),
        due: known.and_then(|known| known.due).map(|due| day(last_day(due), *now)),
        released: of_tenant.and_then(|update| update.released).map(|at| ShownDay::past(at, *now)),
        first_seen: ShownDay::past(missing.first_seen, *now),
        deadline: verdict.deadline.map(|at| ShownDay::deadline(at, *now)),
        state: match verdict.state {
            UpdateState::Unlimited => ("no deadline", "none"),
            state => (state.as_str(), state.as_str()),
        },
        exception: exception.map(|exception| {
            (visible(&exception.name), visible(&exception.reason), exception.until.to_string())
        }),
        links: missing
            .links()
            .iter()
            .map(|link| (format!("KB{}", link.kb), page(link.kb), day(link.first_seen, *now)))
            .collect(),
    }
}
