//! The rules of a policy.

use std::time::Duration;

use super::condition::{conditions, negated_conditions};
use super::reader::{MapReader, ValueReader};
use crate::model::{DeadlineStart, PolicyRule, RuleDeadline};

/// Ten years; a longer deadline is a mistake.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

pub(super) const BESIDE_DUE_DATE: &str = "is given together with from: known_exploited_due";

pub(super) const BESIDE_DUE_DATE_ALLOWED: &str = "the due date of the catalogue is the deadline";

const DEADLINE_ALLOWED: &str = "a duration from 1s to 3650d, such as 14d, or none is allowed";

/// The value of the key `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleStart {
    /// The deadline is a fixed time after an event.
    Event(DeadlineStart),
    /// The deadline is the due date of the catalogue: `known_exploited_due`.
    DueDate,
}

impl Default for RuleStart {
    fn default() -> Self {
        Self::Event(DeadlineStart::FirstSeen)
    }
}

impl RuleStart {
    /// The event from which an update without a deadline counts as late.
    pub(super) fn event_or_default(start: Option<Self>) -> DeadlineStart {
        match start {
            Some(Self::Event(event)) => event,
            Some(Self::DueDate) | None => DeadlineStart::FirstSeen,
        }
    }
}

/// Reads the key `from`; `default` applies if the key is not given.
pub(super) fn start(section: &MapReader<'_>, default: Option<RuleStart>) -> Option<RuleStart> {
    let allowed = "first_seen, released, known_exploited or known_exploited_due is allowed";
    let Some(field) = section.optional("from", allowed) else { return default };
    field.text(|word| {
        let event = DeadlineStart::ALL.into_iter().find(|start| start.as_str() == word);
        match (event, word) {
            (Some(event), _) => Ok(RuleStart::Event(event)),
            (None, "known_exploited_due") => Ok(RuleStart::DueDate),
            (None, _) => Err("is not a known start"),
        }
    })
}

/// Reads a deadline that is a duration.
pub(super) fn fixed_time(field: &ValueReader<'_>) -> Option<Duration> {
    field.duration(Duration::from_secs(1)..=LONGEST)
}

/// Reads the list of rules. `default_start` is the `from` of the policy; none after a problem with it.
pub(super) fn read_all(field: &ValueReader<'_>, default_start: Option<RuleStart>) -> Option<Vec<PolicyRule>> {
    let items = field.list("a mapping with a deadline and conditions is allowed")?;
    if items.is_empty() {
        field.problem("is empty");
        return None;
    }
    // Collected first, so that the problems of every rule are reported.
    let rules: Vec<_> = items.iter().map(|item| read(item, default_start)).collect();
    let matches_everything =
        |rule: &Option<PolicyRule>| rule.as_ref().is_some_and(PolicyRule::matches_everything);
    let last = rules.iter().position(matches_everything).map_or(rules.len(), |last| last + 1);
    for item in &items[last..] {
        let what = format!("is never used, because rule {last} matches every missing update");
        item.warning(what, "the rule without conditions belongs at the end");
    }
    rules.into_iter().collect()
}

fn read(field: &ValueReader<'_>, default_start: Option<RuleStart>) -> Option<PolicyRule> {
    let section = field.section()?;
    let conditions = conditions(&section);
    let not = negated_conditions(&section);
    let or_unknown =
        section.optional_or("or_unknown", "true or false is allowed", false, ValueReader::boolean);
    let deadline = deadline(&section, default_start);
    section.finish();
    Some(PolicyRule { conditions: conditions?, not: not?, or_unknown: or_unknown?, deadline: deadline? })
}

fn deadline(section: &MapReader<'_>, default_start: Option<RuleStart>) -> Option<RuleDeadline> {
    let field = section.optional("deadline", DEADLINE_ALLOWED);
    let is_unlimited = field.as_ref().is_some_and(|field| field.is_text("none"));
    let start = start(section, default_start);
    match (field, start) {
        // An inherited start does not apply to a rule without a deadline.
        (Some(_), start) if is_unlimited && (start != Some(RuleStart::DueDate) || !section.has("from")) => {
            Some(RuleDeadline::Unlimited)
        }
        (None, Some(RuleStart::DueDate)) => Some(RuleDeadline::KnownExploitedDue),
        (None, _) => {
            section.problem_of("deadline", "is missing", DEADLINE_ALLOWED);
            None
        }
        (Some(_), Some(RuleStart::DueDate)) => {
            section.problem_of("deadline", BESIDE_DUE_DATE, BESIDE_DUE_DATE_ALLOWED);
            None
        }
        (Some(field), start) => {
            let time = fixed_time(&field);
            let Some(RuleStart::Event(from)) = start else { return None };
            Some(RuleDeadline::Within { time: time?, from })
        }
    }
}
