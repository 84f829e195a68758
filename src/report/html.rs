//! A report as one page to print: the metadata, a summary of the policy, and the rows that need attention first.

use std::collections::BinaryHeap;
use std::io::{self, Write};

use askama::Template;
use jiff::Timestamp;

use super::row::ReportRow;
use super::summary::{ReportSummary, TenantCounts};
use super::{ReportMetadata, RowWriter};
use crate::fleet::policy::{PolicyState, UpdateState};
use crate::model::{OwnLabel, ReportState, Severity, VendorSeverity};
use crate::text::{grouped, share, visible};

/// The largest number of rows on a page.
pub const LARGEST_PAGE: usize = 10_000;

const STYLE: &str = include_str!("../../templates/report.css");

/// Collects the rows of a page.
///
/// Of more rows than fit, those with the least [`RowRank`] stay.
#[derive(Debug)]
pub struct HtmlWriter<W> {
    output: W,
    metadata: ReportMetadata,
    labels: Vec<String>,
    /// The rows of the page, the last one on top.
    rows: BinaryHeap<RankedRow>,
    /// The number of all rows.
    count: usize,
}

/// The place of a row: the state, then the deadline, then the place in the report.
type RowRank = (usize, Timestamp, usize);

/// The states in the order of the page.
const ORDER: [ReportState; ReportState::ALL.len()] = [
    ReportState::Overdue,
    ReportState::Accepted,
    ReportState::Due,
    ReportState::Unknown,
    ReportState::None,
    ReportState::Unsupported,
    ReportState::Compliant,
];

/// The states of machines in the summary; unsupported machines are shown apart.
const MACHINE_STATES: [PolicyState; 5] = [
    PolicyState::Unknown,
    PolicyState::Compliant,
    PolicyState::Due,
    PolicyState::Accepted,
    PolicyState::Overdue,
];

#[derive(Debug)]
struct RankedRow {
    rank: RowRank,
    row: PageRow,
}

impl PartialEq for RankedRow {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for RankedRow {}

impl PartialOrd for RankedRow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RankedRow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// A row as text.
#[derive(Debug)]
struct PageRow {
    tenant: String,
    machine: String,
    id: String,
    /// Platform and version.
    platform: String,
    device_group: String,
    /// The values of the own labels.
    labels: Vec<String>,
    update: Option<PageUpdate>,
    /// The title of a row about the end of servicing; empty in other rows.
    servicing: String,
    late_since: String,
    deadline: String,
    rule: String,
    state: &'static str,
    exception: Option<PageException>,
    data_read_at: String,
}

#[derive(Debug)]
struct PageUpdate {
    kb: String,
    title: String,
    severity: &'static str,
    vendor_severity: &'static str,
    is_exploited: bool,
    released: String,
    first_seen: String,
}

#[derive(Debug)]
struct PageException {
    name: String,
    until: String,
}

impl<W: Write> HtmlWriter<W> {
    /// An empty page.
    #[must_use]
    pub fn new(output: W, labels: &[OwnLabel], metadata: ReportMetadata) -> Self {
        let labels = labels.iter().map(|label| label.name.to_string()).collect();
        Self { output, metadata, labels, rows: BinaryHeap::new(), count: 0 }
    }
}

impl<W: Write> RowWriter for HtmlWriter<W> {
    fn row(&mut self, row: &ReportRow<'_>) -> io::Result<()> {
        let rank = rank(row, self.count);
        self.count += 1;
        let is_shown = |last: &RankedRow| rank < last.rank;
        if self.rows.len() < LARGEST_PAGE || self.rows.peek().is_some_and(is_shown) {
            self.rows.push(RankedRow { rank, row: PageRow::from(row) });
        }
        if self.rows.len() > LARGEST_PAGE {
            self.rows.pop();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, summary: &ReportSummary) -> io::Result<()> {
        let Self { metadata, labels, rows, count, .. } = *self;
        let rows: Vec<_> = rows.into_sorted_vec().into_iter().map(|ranked| ranked.row).collect();
        let has_tenants = summary.tenants.len() > 1;
        let total = has_tenants.then(|| SummaryRow::new("All tenants", &summary.total()));
        let tenants = summary.tenants.iter().map(|counts| SummaryRow::new(&visible(&counts.tenant), counts));
        let page = ReportPage {
            style: STYLE,
            more: (count > rows.len()).then(|| grouped((count - rows.len()) as u64)),
            count: grouped(count as u64),
            shown: grouped(rows.len() as u64),
            summary: tenants.chain(total).collect(),
            machine_states: MACHINE_STATES.map(PolicyState::as_str),
            update_states: UpdateState::ALL.map(UpdateState::as_str),
            has_tenants,
            labels,
            rows,
            time: shown(metadata.time),
            facts: facts_dates(&metadata),
            state_saved_at: metadata.state_saved_at.map(shown),
            policy: metadata.policy.as_deref().map(visible),
            tenants: metadata.tenants.iter().map(|tenant| visible(tenant)).collect::<Vec<_>>().join(", "),
            warnings: metadata.warnings.iter().map(|warning| visible(warning)).collect(),
            states: metadata.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", "),
            metadata,
        };
        let html = page.render().map_err(io::Error::other)?;
        self.output.write_all(html.as_bytes())?;
        self.output.flush()
    }
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage {
    style: &'static str,
    metadata: ReportMetadata,
    warnings: Vec<String>,
    time: String,
    state_saved_at: Option<String>,
    /// The sources of facts, each with the date of its data.
    facts: Vec<(String, String)>,
    policy: Option<String>,
    tenants: String,
    /// The states that the rows are limited to; empty for all.
    states: String,
    summary: Vec<SummaryRow>,
    /// The headings of the counts of each row of the summary.
    machine_states: [&'static str; MACHINE_STATES.len()],
    update_states: [&'static str; UpdateState::ALL.len()],
    /// True if there is more than one tenant.
    has_tenants: bool,
    labels: Vec<String>,
    rows: Vec<PageRow>,
    count: String,
    shown: String,
    /// The number of rows that are left out; none if the page has all of them.
    more: Option<String>,
}

/// The counts of a tenant as text.
struct SummaryRow {
    tenant: String,
    /// Judged machines that are not overdue, as a share; none if no machine can be judged.
    within_deadline: Option<String>,
    /// By [`MACHINE_STATES`].
    machines: [String; MACHINE_STATES.len()],
    unsupported: String,
    missing_nothing: String,
    servicing_ended: String,
    /// By [`UpdateState`].
    updates: [String; UpdateState::ALL.len()],
}

impl SummaryRow {
    fn new(tenant: &str, counts: &TenantCounts) -> Self {
        Self {
            tenant: tenant.to_owned(),
            within_deadline: share(counts.machines.within_deadline(), counts.machines.judged()),
            machines: MACHINE_STATES.map(|state| grouped(counts.machines.machines(state))),
            unsupported: grouped(counts.machines.machines(PolicyState::Unsupported)),
            missing_nothing: grouped(counts.missing_nothing),
            servicing_ended: grouped(counts.servicing_ended),
            updates: UpdateState::ALL.map(|state| grouped(counts.updates(state))),
        }
    }
}

fn rank(row: &ReportRow<'_>, index: usize) -> RowRank {
    let state = row.verdict.map(|verdict| verdict.state);
    let place = ORDER.iter().position(|ordered| Some(*ordered) == state).unwrap_or(ORDER.len());
    let deadline = row.verdict.and_then(|verdict| verdict.deadline);
    (place, deadline.unwrap_or(Timestamp::MAX), index)
}

impl From<&ReportRow<'_>> for PageRow {
    fn from(row: &ReportRow<'_>) -> Self {
        let machine = row.machine;
        let time = |time: Option<Timestamp>| time.map(shown).unwrap_or_default();
        let verdict = row.verdict.as_ref();
        let rule = verdict.and_then(|verdict| verdict.rule);
        let platform = [machine.os_platform.as_str(), &machine.os_version].map(visible).join(" ");
        Self {
            tenant: visible(row.tenant),
            machine: visible(&machine.name),
            id: visible(machine.id.as_str()),
            platform: platform.trim().to_owned(),
            device_group: visible(&machine.device_group),
            labels: row.labels.iter().map(|value| visible(value)).collect(),
            update: row.update.as_ref().map(|update| PageUpdate {
                kb: update.kb.to_string(),
                title: visible(update.title),
                severity: update.severity.map(Severity::as_str).unwrap_or_default(),
                vendor_severity: update.vendor_severity.map(VendorSeverity::as_str).unwrap_or_default(),
                is_exploited: update.exploited == Some(true),
                released: time(update.released),
                first_seen: shown(update.first_seen),
            }),
            servicing: row.servicing.map(visible).unwrap_or_default(),
            late_since: time(verdict.and_then(|verdict| verdict.late_since)),
            deadline: time(verdict.and_then(|verdict| verdict.deadline)),
            rule: rule.map(|rule| rule.to_string()).unwrap_or_default(),
            state: verdict.map(|verdict| verdict.state.as_str()).unwrap_or_default(),
            exception: row.exception.map(|exception| PageException {
                name: visible(&exception.name),
                until: exception.until.to_string(),
            }),
            data_read_at: time(row.data_read_at),
        }
    }
}

/// A time on the page, to the minute.
fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

fn facts_dates(metadata: &ReportMetadata) -> Vec<(String, String)> {
    let Some(dates) = &metadata.facts else { return Vec::new() };
    let sources = dates.sources.iter();
    let sources = sources.map(|(source, at)| ((*source).to_owned(), at.map_or("undated".to_owned(), shown)));
    [("file".to_owned(), shown(dates.made_at))].into_iter().chain(sources).collect()
}
