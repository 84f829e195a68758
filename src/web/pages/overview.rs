//! `GET /`: whether the fleet is patched in time, what is worst, and what comes next.
//!
//! A search that means one machine or update leads to its page, any other to the list of machines.

mod digest;
mod exceptions;
mod headline;
mod not_judged;
mod notes;
mod policies;
mod search;
mod tenants;
mod upcoming;
mod worst;

use askama::Template;

use self::digest::{DigestLine, digest};
use self::exceptions::{ExceptionRow, exceptions};
use self::headline::{headline, lead};
use self::not_judged::{NotJudgedCard, not_judged};
use self::notes::{Note, limits, of_polls};
use self::policies::{PolicyRow, policies};
use self::search::search;
use self::tenants::{TenantRow, tenants};
use self::upcoming::{UpcomingChart, upcoming};
use self::worst::{ExploitedCard, OverdueCard};
use super::Answer;
use super::context::PageContext;
use super::layout::Layout;
use super::text::visible;

/// The most policies that have room for two lines each on the first screen.
const ROOMY_POLICIES: usize = 3;

pub(super) fn page(context: &PageContext, _: &str) -> askama::Result<Answer> {
    if context.query.search.is_empty() {
        return Answer::of(&OverviewPage::of(context));
    }
    Ok(Answer::Redirect(search(context)))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    layout: Layout,
    lead: String,
    /// The answers in one line each.
    digest: Vec<DigestLine>,
    policies: Vec<PolicyRow>,
    /// True if there are so many policies that each has one line.
    has_many_policies: bool,
    /// Sentences about polls.
    polls: Vec<Note>,
    /// Sentences about what limits the answer.
    limits: Vec<Note>,
    exploited: Option<ExploitedCard>,
    overdue: Option<OverdueCard>,
    upcoming: Option<UpcomingChart>,
    not_judged: NotJudgedCard,
    /// Empty unless several tenants are shown.
    tenants: Vec<TenantRow>,
    exceptions: Vec<ExceptionRow>,
    policy: String,
}

impl OverviewPage {
    fn of(context: &PageContext) -> Self {
        let policies = policies(context);
        let exploited = ExploitedCard::of(context);
        let overdue = (!policies.is_empty()).then(|| OverdueCard::of(context));
        let upcoming = (!policies.is_empty()).then(|| upcoming(context));
        let not_judged = not_judged(context);
        Self {
            layout: Layout::new(context, headline(context), ""),
            lead: lead(context),
            digest: digest(exploited.as_ref(), overdue.as_ref(), upcoming.as_ref(), &not_judged),
            has_many_policies: policies.len() > ROOMY_POLICIES,
            polls: of_polls(context),
            limits: limits(context),
            policies,
            exploited,
            overdue,
            upcoming,
            not_judged,
            tenants: tenants(context),
            exceptions: exceptions(context),
            policy: context.policy_name().map(visible).unwrap_or_default(),
        }
    }
}
