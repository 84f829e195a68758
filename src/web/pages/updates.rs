//! `GET /updates`: the updates that machines miss.
//!
//! A search, a KB and exploitation select updates. All other parameters select the machines that are counted.

mod headline;
mod list;
mod row;

use askama::Template;

use self::headline::{headline, notes, sentence_about_nothing};
use self::row::ListedUpdateRow;
use super::Answer;
use super::chips::{ALL, Chip};
use super::context::PageContext;
use super::layout::Layout;
use super::list::{FilterValue, ListFrame, ShownList, SortHead, shown_range};
use super::query::PageQuery;
use super::text::{ShortText, grouped};

pub(super) use self::list::{ListedUpdate, ORDERS, listed_updates, sort};

/// The most tenants that a page offers as filters.
const TENANTS: usize = 30;

pub(super) fn page(context: &PageContext, _: &str) -> askama::Result<Answer> {
    Answer::of(&UpdatesPage::of(context))
}

#[derive(Template)]
#[template(path = "updates.html")]
struct UpdatesPage {
    layout: Layout,
    /// Sentences about what limits the answer.
    notes: Vec<String>,
    /// All updates and the exploited ones, each with their number and the link to them.
    chips: Vec<Chip>,
    list: ListFrame,
    /// The tenants that can be selected.
    tenants: Vec<FilterValue>,
    /// The number of tenants that are not among them, in words; empty without one.
    more_tenants: String,
    columns: UpdateColumns,
    rows: Vec<ListedUpdateRow>,
}

/// The columns of the table.
struct UpdateColumns {
    kb: SortHead,
    has_tenant: bool,
    exploited: SortHead,
    age: SortHead,
    machines: SortHead,
    overdue: Option<SortHead>,
}

impl UpdatesPage {
    fn of(context: &PageContext) -> Self {
        let query = &context.query;
        // The numbers beside the chips are those of the list without exploitation as a filter.
        let all = list::updates_with(context, &PageQuery { exploited: None, ..query.clone() });
        let exploited = list::exploited(context, &all);
        let mut listed = all.clone();
        list::select_exploited(context, &mut listed);
        sort(context, &mut listed);
        let range = shown_range(context, listed.len());
        let (tenants, more_tenants) = tenants(context, &listed);
        Self {
            layout: Layout::new(context, headline(context, &listed, all.len(), exploited), "updates"),
            notes: notes(context),
            chips: chips(context, all.len(), exploited),
            list: ListFrame::of(
                context,
                ShownList {
                    name: "Updates",
                    rows: "updates",
                    count: listed.len(),
                    order: words(query.sort.unwrap_or(ORDERS[0])),
                    unset: |query| query.search.clear(),
                    nothing: sentence_about_nothing(context).to_owned(),
                },
            ),
            tenants,
            more_tenants,
            columns: UpdateColumns::of(context),
            rows: listed[range].iter().map(|update| ListedUpdateRow::of(context, update)).collect(),
        }
    }
}

/// All updates and the exploited ones.
fn chips(context: &PageContext, all: usize, exploited: Option<usize>) -> Vec<Chip> {
    let chip = |text: &str, count: usize, wanted: Option<bool>| Chip {
        text: text.to_owned(),
        is_state: false,
        count: grouped(count as u64),
        link: context.link_to_self(&context.query.with(|query| query.exploited = wanted)),
        is_current: context.query.exploited == wanted,
    };
    let exploited = exploited.map(|count| chip("exploited", count, Some(true)));
    [chip(ALL, all, None)].into_iter().chain(exploited).collect()
}

/// The tenants with the most updates, if several can be selected, and how many there are beyond them.
fn tenants(context: &PageContext, listed: &[ListedUpdate]) -> (Vec<FilterValue>, String) {
    let snapshot = &context.snapshot;
    if context.query.tenant.is_some() || snapshot.fleets.len() < 2 {
        return Default::default();
    }
    let mut counts: Vec<(usize, usize)> = (0..snapshot.fleets.len()).map(|tenant| (0, tenant)).collect();
    for update in listed {
        counts[update.tenant].0 += 1;
    }
    counts.retain(|(count, _)| *count > 0);
    counts.sort_by_key(|&(count, tenant)| (std::cmp::Reverse(count), tenant));
    let more = counts.len().saturating_sub(TENANTS);
    let value = |(count, tenant): (usize, usize)| FilterValue {
        value: ShortText::of(&snapshot.fleets[tenant].tenant),
        count: grouped(count as u64),
        link: context.link_to_self(&context.query.with(|query| query.tenant = Some(tenant))),
    };
    let values = counts.into_iter().take(TENANTS).map(value).collect();
    let more = if more == 0 { String::new() } else { format!("and {} more", grouped(more as u64)) };
    (values, more)
}

/// An order in words.
fn words(order: &str) -> &'static str {
    match order {
        "exploited" => "exploited updates first",
        "overdue" => "most overdue machines first",
        "age" => "first seen the longest ago first",
        "kb" => "by KB",
        _ => "most machines first",
    }
}

impl UpdateColumns {
    fn of(context: &PageContext) -> Self {
        let head = |order, direction| SortHead::of(context, ORDERS[0], order, direction);
        Self {
            kb: head("kb", "ascending"),
            has_tenant: context.query.tenant.is_none() && context.snapshot.fleets.len() > 1,
            exploited: head("exploited", "descending"),
            age: head("age", "ascending"),
            machines: head("machines", "descending"),
            overdue: context.policy_name().map(|_| head("overdue", "descending")),
        }
    }
}
