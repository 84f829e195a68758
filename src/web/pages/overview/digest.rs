//! The answers in one line each, for screens that are too small for the tables.

use super::not_judged::NotJudgedCard;
use super::upcoming::{DAYS, UpcomingChart};
use super::worst::{ExploitedCard, OverdueCard};
use crate::text::spelt_out;
use crate::web::pages::reason::reason_in_short;

/// The number of machines that the answer about overdue machines names.
const NAMED: usize = 2;

/// The longest name in characters. The table has the whole name.
const LONGEST_NAME: usize = 40;

/// The answer to one question.
pub(super) struct DigestLine {
    /// The id of the section with the whole answer.
    pub(super) section: &'static str,
    pub(super) label: &'static str,
    pub(super) parts: Vec<DigestPart>,
}

/// A part of an answer.
pub(super) struct DigestPart {
    pub(super) text: String,
    /// True for a name, which may be of any language and length.
    pub(super) is_name: bool,
    pub(super) link: Option<String>,
}

impl DigestPart {
    fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_name: false, link: None }
    }

    fn number((text, link): &(String, String)) -> Self {
        Self { text: text.clone(), is_name: false, link: Some(link.clone()) }
    }

    fn name(name: &str, link: &str) -> Self {
        Self { text: spelt_out(name, LONGEST_NAME), is_name: true, link: Some(link.to_owned()) }
    }
}

/// What is worst, what becomes overdue next, and what cannot be judged.
pub(super) fn digest(
    exploited: Option<&ExploitedCard>,
    overdue: Option<&OverdueCard>,
    upcoming: Option<&UpcomingChart>,
    not_judged: &NotJudgedCard,
) -> Vec<DigestLine> {
    let line = |section, label, parts| DigestLine { section, label, parts };
    let overdue = overdue.map(|card| line("overdue", "Overdue the longest", of_overdue(card)));
    let of_exploited =
        exploited.map_or_else(|| vec![DigestPart::words("unknown without facts")], of_exploited);
    let exploited = line("exploited", "Exploited and still missing", of_exploited);
    let upcoming = upcoming.map(|chart| line("upcoming", "Becomes overdue", of_upcoming(chart)));
    let not_judged = line("not-judged", "Not judged", of_not_judged(not_judged));
    [overdue, Some(exploited), upcoming, Some(not_judged)].into_iter().flatten().collect()
}

fn of_overdue(card: &OverdueCard) -> Vec<DigestPart> {
    if card.rows.is_empty() {
        return vec![DigestPart::words("no machine")];
    }
    let mut parts = Vec::new();
    for row in card.rows.iter().take(NAMED) {
        parts.push(DigestPart::name(&row.name, &row.link));
        let since = row.since.as_ref().map(|since| format!(" since {}", unbroken(&since.day)));
        parts.push(DigestPart::words(since.unwrap_or_default() + ", "));
    }
    parts.extend([DigestPart::words("of "), DigestPart::number(&card.all)]);
    parts
}

/// A day that does not wrap.
fn unbroken(day: &str) -> String {
    day.replace(' ', "\u{a0}")
}

fn of_exploited(card: &ExploitedCard) -> Vec<DigestPart> {
    let Some(worst) = card.rows.first() else { return vec![DigestPart::words("no update")] };
    vec![
        DigestPart::number(&card.updates),
        DigestPart::words(" on "),
        DigestPart::number(&card.machines),
        DigestPart::words(", first "),
        DigestPart::name(&worst.kb, &worst.link),
    ]
}

fn of_upcoming(chart: &UpcomingChart) -> Vec<DigestPart> {
    let Some(next) = &chart.next else { return vec![DigestPart::words("no machine")] };
    vec![
        DigestPart::number(&next.machines),
        DigestPart::words(format!(" on {}, ", unbroken(&next.day))),
        DigestPart::number(&chart.total),
        DigestPart::words(format!(" within {DAYS} days")),
    ]
}

fn of_not_judged(card: &NotJudgedCard) -> Vec<DigestPart> {
    let totals = || card.machines.iter().chain(&card.devices);
    if totals().next().is_none() {
        return vec![DigestPart::words("no machine")];
    }
    let mut parts = Vec::new();
    for total in totals() {
        if !parts.is_empty() {
            parts.push(DigestPart::words(", "));
        }
        parts.push(DigestPart::number(total));
    }
    for (place, row) in card.rows.iter().enumerate() {
        parts.push(DigestPart::words(if place == 0 { ": " } else { ", " }));
        parts.push(DigestPart::number(&(row.count.clone(), row.link.clone())));
        parts.push(DigestPart::words(format!(" {}", reason_in_short(row.reason))));
    }
    parts
}
