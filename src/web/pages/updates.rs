//! `GET /updates`: the updates that machines miss.
//!
//! A search, a KB and exploitation select updates. All other parameters select the machines that are counted.

mod headline;
mod list;
mod row;

use std::ops::Range;

use askama::Template;

use self::headline::{emptiness, headline, notes};
use self::row::ListedUpdateRow;
use super::Answer;
use super::context::PageContext;
use super::layout::Layout;
use super::machines::{ALL, Chip, FilterChip, SortHead, filters, policies, position};
use super::query::PageQuery;
use super::text::{grouped, visible};

pub(super) use self::list::{ListedUpdate, ORDERS, listed_updates, sort};

/// The number of updates on a page.
const ROWS: usize = 50;

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
    /// The filters in effect, each with the link that removes it.
    filters: Vec<FilterChip>,
    /// The tenants that can be selected.
    tenants: Vec<Chip>,
    /// The number of tenants that are not among them, in words; empty without one.
    more_tenants: String,
    /// The parameters that the form for a search keeps.
    kept: Vec<(String, String)>,
    /// The link of the form.
    action: String,
    /// The place of the rows in the list, such as `1 to 50 of 243`; empty without an update.
    position: String,
    order: &'static str,
    policies: Vec<Chip>,
    csv: String,
    json: String,
    columns: UpdateColumns,
    rows: Vec<ListedUpdateRow>,
    /// The sentence in place of rows, and the name and target of a link behind it.
    empty: Option<(String, Option<(&'static str, String)>)>,
    previous: Option<String>,
    next: Option<String>,
    page_of_pages: String,
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
        let count = listed.len();
        let pages = count.div_ceil(ROWS).max(1);
        let page = query.page.max(1);
        let start = page.saturating_sub(1).saturating_mul(ROWS).min(count);
        let range: Range<usize> = start..start.saturating_add(ROWS).min(count);
        let to_page = |page| context.link_to_self(&PageQuery { page, ..query.clone() });
        let download =
            |kind: &str| context.link(&format!("updates.{kind}"), &PageQuery { page: 1, ..query.clone() });
        let mut kept = query.clone();
        (kept.search, kept.page) = (String::new(), 1);
        let (tenants, more_tenants) = tenants(context, &listed);
        Self {
            layout: Layout::new(context, headline(context, &listed, all.len(), exploited), "updates"),
            notes: notes(context),
            chips: chips(context, all.len(), exploited),
            filters: filters(context),
            tenants,
            more_tenants,
            kept: kept.parameters(&context.snapshot),
            action: context.link("updates", &PageQuery::default()),
            position: position(&range, count),
            order: words(query.sort.unwrap_or(ORDERS[0])),
            policies: policies(context),
            csv: download("csv"),
            json: download("json"),
            columns: UpdateColumns::of(context),
            rows: listed[range.clone()].iter().map(|update| ListedUpdateRow::of(context, update)).collect(),
            empty: range.is_empty().then(|| emptiness(context, count, pages)),
            previous: (page > 1).then(|| to_page((page - 1).min(pages))),
            next: (page < pages).then(|| to_page(page + 1)),
            page_of_pages: format!("Page {} of {}", grouped(page.min(pages) as u64), grouped(pages as u64)),
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
fn tenants(context: &PageContext, listed: &[ListedUpdate]) -> (Vec<Chip>, String) {
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
    let chip = |(count, tenant): (usize, usize)| Chip {
        text: visible(&snapshot.fleets[tenant].tenant),
        is_state: false,
        count: grouped(count as u64),
        link: context.link_to_self(&context.query.with(|query| query.tenant = Some(tenant))),
        is_current: false,
    };
    let chips = counts.into_iter().take(TENANTS).map(chip).collect();
    let more = if more == 0 { String::new() } else { format!("and {} more", grouped(more as u64)) };
    (chips, more)
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
        let current = context.query.sort.unwrap_or(ORDERS[0]);
        let head = |order: &'static str, direction| SortHead {
            link: context.link_to_self(
                &context.query.with(|query| query.sort = Some(order).filter(|order| *order != ORDERS[0])),
            ),
            sorted: if order == current { direction } else { "" },
        };
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
