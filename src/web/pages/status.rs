//! `GET /status`: the exporter itself, its tenants, polls, series and facts.

use askama::Template;

use super::Answer;
use super::context::PageContext;
use super::layout::Layout;
use super::tenants::{FactValue, TenantCard, cards};
use super::text::{ShownTime, counted, grouped, visible};
use crate::metrics::SeriesBudget;
use crate::model::{DetailLevel, FactsSource};

pub(super) fn page(context: &PageContext, _: &str) -> askama::Result<Answer> {
    Answer::of(&StatusPage::of(context))
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    layout: Layout,
    /// Sentences about policies, exceptions and rules that do not do what they say.
    warnings: Vec<String>,
    tenants: Vec<TenantCard>,
    levels: Vec<LevelRow>,
    series_limit: String,
    facts: Vec<FactsRow>,
}

/// The series of a detail level.
struct LevelRow {
    name: &'static str,
    link: String,
    served: String,
    suppressed: String,
    is_suppressed: bool,
    is_deepest: bool,
}

/// A source of facts.
struct FactsRow {
    name: &'static str,
    /// The time of its data; none if it was never loaded.
    data: Option<FactValue>,
}

impl StatusPage {
    fn of(context: &PageContext) -> Self {
        let snapshot = &context.snapshot;
        let budget = snapshot.body.budget();
        let layout = Layout::new(context, headline(context), "status");
        Self {
            warnings: snapshot.policy_warnings().iter().map(|warning| visible(warning)).collect(),
            tenants: cards(context),
            levels: DetailLevel::ALL
                .into_iter()
                .map(|level| LevelRow::of(level, budget, &layout.metrics))
                .collect(),
            series_limit: if budget.limit == 0 { "none".to_owned() } else { grouped(budget.limit) },
            facts: FactsSource::ALL.into_iter().map(|source| FactsRow::of(context, source)).collect(),
            layout,
        }
    }
}

/// The number of tenants that are read.
fn headline(context: &PageContext) -> String {
    let statuses = || context.snapshot.fleets.iter().map(|fleet| &fleet.status);
    let tenants = statuses().count() as u64;
    let failing = statuses().filter(|status| !status.up && status.last_poll.is_some()).count() as u64;
    let waiting = statuses().filter(|status| !status.up && status.last_poll.is_none()).count() as u64;
    match (failing, waiting) {
        (0, 0) if tenants == 1 => "The tenant is read".to_owned(),
        (0, 0) => format!("All {} are read", counted(tenants, "tenant")),
        (0, _) => format!("{} of {} not read yet", grouped(waiting), counted(tenants, "tenant")),
        (_, _) => format!("{} of {} cannot be read", grouped(failing), counted(tenants, "tenant")),
    }
}

impl LevelRow {
    fn of(level: DetailLevel, budget: &SeriesBudget, metrics: &str) -> Self {
        let series = budget.series[level as usize];
        let suppressed = budget.suppressed[level as usize];
        let (served_text, suppressed_text) = match suppressed {
            _ if level > budget.wanted => ("none".to_owned(), "not configured".to_owned()),
            0 => (grouped(series), "none suppressed".to_owned()),
            _ => (grouped(series), format!("{} suppressed", grouped(suppressed))),
        };
        Self {
            name: level.as_str(),
            link: format!("{metrics}?detail={level}"),
            served: served_text,
            suppressed: suppressed_text,
            is_suppressed: suppressed > 0,
            is_deepest: level == budget.deepest,
        }
    }
}

impl FactsRow {
    fn of(context: &PageContext, source: FactsSource) -> Self {
        let facts = &context.snapshot.facts;
        let data = match facts.data_at(source) {
            Some(at) => FactValue::Time(ShownTime::past(at, context.now)),
            None => FactValue::Words("loaded, without a date".to_owned()),
        };
        Self { name: source.as_str(), data: facts.has(source).then_some(data) }
    }
}
