//! The sentences about the updates that a query selects.

use super::list::ListedUpdate;
use crate::model::FactsSource;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{counted, grouped};

/// The answer of the page. `all` is the number of updates with any exploitation, `exploited` that of the exploited
/// ones, if known.
pub(super) fn headline(
    context: &PageContext,
    listed: &[ListedUpdate],
    all: usize,
    exploited: Option<usize>,
) -> String {
    let query = &context.query;
    let count = listed.len() as u64;
    if count == 0 {
        return sentence_about_nothing(context).to_owned();
    }
    let is_one = count == 1;
    let is = if is_one { "is" } else { "are" };
    let is_wide = !PageQuery { tenant: None, exploited: None, ..query.clone() }.is_filtered();
    let answer = match (query.exploited, exploited) {
        (Some(true), _) if is_wide => {
            let updates = counted(all as u64, "missing update");
            format!("{} of {updates} {is} exploited", grouped(count))
        }
        (None, Some(exploited)) if is_wide => {
            let verb = if exploited == 1 { "is" } else { "are" };
            let updates = counted(count, "missing update");
            let exploited = if exploited == 0 { "none".to_owned() } else { grouped(exploited as u64) };
            capitalised(&format!("{exploited} of {updates} {verb} exploited"))
        }
        (Some(true), _) => format!("{} {}", counted(count, "exploited update"), matching(is_one)),
        _ if is_wide => format!("{} {is} missing", counted(count, "update")),
        _ => format!("{} {}", counted(count, "missing update"), matching(is_one)),
    };
    let overdue = listed.iter().filter(|update| update.overdue.is_some_and(|overdue| overdue > 0)).count();
    match overdue as u64 {
        0 => answer,
        1 => format!("{answer}, 1 is overdue"),
        overdue => format!("{answer}, {} are overdue", grouped(overdue)),
    }
}

fn matching(is_one: bool) -> &'static str {
    if is_one { "matches" } else { "match" }
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The headline of an empty list.
pub(super) fn sentence_about_nothing(context: &PageContext) -> &'static str {
    let tenants = &context.snapshot.overview().tenants;
    if context.query.is_filtered() {
        "No missing update matches"
    } else if tenants.iter().any(|tenant| tenant.data.is_some()) {
        "No update is missing"
    } else {
        "No machine has been read yet"
    }
}

/// Sentences about what limits the answer.
pub(super) fn notes(context: &PageContext) -> Vec<String> {
    let facts = &context.snapshot.facts;
    let mut notes = Vec::new();
    if !facts.has(FactsSource::Msrc) {
        notes.push(
            "Severity and exploitation of updates are unknown: turn on `facts` in the configuration."
                .to_owned(),
        );
    } else if !facts.has(FactsSource::Kev) {
        notes.push(
            "The catalogue of known exploited vulnerabilities was never loaded: more updates may be exploited."
                .to_owned(),
        );
    }
    notes
}
