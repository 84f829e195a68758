//! What the lists of machines and of updates have in common: filters, the place in the list, downloads, and its pages.

use std::ops::Range;

use super::chips::{Chip, FilterChip, filters, policies};
use super::context::PageContext;
use super::query::PageQuery;
use super::text::{ShortText, grouped};

/// The number of rows on a page.
const ROWS: usize = 50;

/// The frame of a list.
pub(super) struct ListFrame {
    /// The name of the list for screen readers.
    pub(super) name: &'static str,
    /// The filters in effect, each with the link that removes it.
    pub(super) filters: Vec<FilterChip>,
    /// The parameters that the form for another filter keeps.
    pub(super) kept: Vec<(String, String)>,
    /// The link of the form.
    pub(super) action: String,
    /// The place of the rows in the list, such as `1 to 50 of 1,865`; empty without rows.
    pub(super) position: String,
    /// The order in words.
    pub(super) order: &'static str,
    pub(super) policies: Vec<Chip>,
    pub(super) downloads: DownloadLinks,
    /// The sentence in place of rows, and the name and target of the link behind it.
    pub(super) empty: Option<(String, (&'static str, String))>,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
    pub(super) page_of_pages: String,
}

/// A list of which a page is shown.
pub(super) struct ShownList {
    /// The name for screen readers.
    pub(super) name: &'static str,
    /// What the rows are; also the path of the page.
    pub(super) rows: &'static str,
    /// The number of rows on all pages.
    pub(super) count: usize,
    /// The order in words.
    pub(super) order: &'static str,
    /// Removes the filter that the form sets.
    pub(super) unset: fn(&mut PageQuery),
    /// The sentence in place of rows, without a full stop.
    pub(super) nothing: String,
}

/// The links to the rows as downloads.
pub(super) struct DownloadLinks {
    /// What the rows are.
    pub(super) rows: &'static str,
    pub(super) csv: String,
    pub(super) json: String,
}

/// A value of a filter that can be added.
pub(super) struct FilterValue {
    pub(super) value: ShortText,
    /// The number of rows in the list that have it.
    pub(super) count: String,
    /// The link to them.
    pub(super) link: String,
}

/// The head of a column that sorts.
pub(super) struct SortHead {
    pub(super) link: String,
    /// The value of `aria-sort`; empty if the list is in another order.
    pub(super) sorted: &'static str,
}

impl SortHead {
    /// The head of the column that sorts by `order`. The list is in the order `first` unless the query names another.
    pub(super) fn of(
        context: &PageContext,
        first: &'static str,
        order: &'static str,
        direction: &'static str,
    ) -> Self {
        let sort = (order != first).then_some(order);
        let is_current = order == context.query.sort.unwrap_or(first);
        Self {
            link: context.link_to_self(&context.query.with(|query| query.sort = sort)),
            sorted: if is_current { direction } else { "" },
        }
    }
}

impl DownloadLinks {
    /// The links to the download of the page `path` with the same query.
    pub(super) fn of(context: &PageContext, path: &str, rows: &'static str) -> Self {
        let link = |kind: &str| context.link(&format!("{path}.{kind}"), &context.query.with(|_| {}));
        Self { rows, csv: link("csv"), json: link("json") }
    }
}

/// The places in a list of `count` rows that the page shows.
pub(super) fn shown_range(context: &PageContext, count: usize) -> Range<usize> {
    let start = context.query.page.max(1).saturating_sub(1).saturating_mul(ROWS).min(count);
    start..start.saturating_add(ROWS).min(count)
}

impl ListFrame {
    pub(super) fn of(context: &PageContext, list: ShownList) -> Self {
        let query = &context.query;
        let ShownList { name, rows, count, order, unset, nothing } = list;
        let range = shown_range(context, count);
        let pages = count.div_ceil(ROWS).max(1);
        let page = query.page.max(1);
        let to_page = |page| context.link_to_self(&PageQuery { page, ..query.clone() });
        Self {
            name,
            filters: filters(context),
            kept: query.with(unset).parameters(&context.snapshot),
            action: context.link(rows, &PageQuery::default()),
            position: position(&range, count),
            order,
            policies: policies(context),
            downloads: DownloadLinks::of(context, rows, rows),
            empty: range.is_empty().then(|| emptiness(context, count, pages, nothing)),
            previous: (page > 1).then(|| to_page((page - 1).min(pages))),
            next: (page < pages).then(|| to_page(page + 1)),
            page_of_pages: format!("Page {} of {}", grouped(page.min(pages) as u64), grouped(pages as u64)),
        }
    }
}

/// The place of the rows in the list.
pub(super) fn position(range: &Range<usize>, count: usize) -> String {
    let [start, end, count] = [range.start + 1, range.end, count].map(|number| grouped(number as u64));
    if range.is_empty() { String::new() } else { format!("{start} to {end} of {count}") }
}

/// The sentence of a page without rows, with the name and the target of a link that leads on.
fn emptiness(
    context: &PageContext,
    count: usize,
    pages: usize,
    nothing: String,
) -> (String, (&'static str, String)) {
    let query = &context.query;
    if count > 0 {
        let last = PageQuery { page: pages, ..query.clone() };
        let sentence = format!("The list ends at page {}.", grouped(pages as u64));
        return (sentence, ("Show the last page", context.link_to_self(&last)));
    }
    let link = if query.is_filtered() {
        let all = PageQuery { tenant: None, sort: query.sort, ..query.kept() };
        ("Remove all filters", context.link_to_self(&all))
    } else {
        ("Show the state of the tenants", context.link("status", &query.kept()))
    };
    (nothing + ".", link)
}
