//! The rules of a policy and their conditions.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{MapReader, ValueReader};
use crate::model::{
    Condition, CvssScore, DeadlineStart, MachineCondition, PolicyRule, RuleDeadline, Severity, TextPattern,
    UpdateCondition, VendorSeverity,
};

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
    let conditions = ConditionReader::read(&section);
    let not_allowed = "a mapping of at least one condition is allowed";
    let not = section.optional_or("not", not_allowed, Vec::new(), |field| {
        let section = field.section()?;
        let conditions = ConditionReader::read(&section);
        if section.is_empty() {
            field.problem("holds no condition");
        }
        section.finish();
        conditions
    });
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

/// Reads the conditions of a rule or of its `not`.
struct ConditionReader<'a> {
    section: &'a MapReader<'a>,
    conditions: Vec<Condition>,
    has_problem: bool,
}

impl<'a> ConditionReader<'a> {
    /// Returns the conditions in the order of the documentation, or none after a problem with one of them.
    fn read(section: &'a MapReader<'a>) -> Option<Vec<Condition>> {
        let mut reader = Self { section, conditions: Vec::new(), has_problem: false };
        let flag = "true or false is allowed";
        reader.add_flag("exploited", flag, UpdateCondition::Exploited);
        reader.add_flag("known_exploited", flag, UpdateCondition::KnownExploited);
        let severities = "critical, important, moderate or low is allowed";
        let severity = |word: &str| VendorSeverity::parse(word).ok_or("is not a severity of Microsoft");
        reader.add_list("vendor_severity", severities, severity, UpdateCondition::VendorSeverity);
        let severities = "critical, high, medium or low is allowed";
        let severity = |word: &str| Severity::parse(word).ok_or("is not a severity of CVSS");
        reader.add_list("severity", severities, severity, UpdateCondition::Severity);
        let scores = "a number from 0 to 10 without quotes, such as 7.0, is allowed";
        reader.add("cvss_at_least", scores, |field| field.number(score).map(UpdateCondition::CvssAtLeast));
        let probabilities = "a number from 0 to 1 without quotes, such as 0.1, is allowed";
        let probability = |text: &str| within(text, 0.0..=1.0);
        reader.add("epss_at_least", probabilities, |field| {
            field.number(probability).map(UpdateCondition::EpssAtLeast)
        });
        let products = "a product, such as windows_11 or office*, is allowed";
        reader.add_list("products", products, pattern, UpdateCondition::Products);
        let platforms = "a platform, such as WindowsServer*, is allowed";
        reader.add_list("platforms", platforms, pattern, MachineCondition::Platforms);
        let groups = "the name of a device group is allowed";
        reader.add_list("device_groups", groups, pattern, MachineCondition::DeviceGroups);
        let names = "a DNS name, such as srv-*.corp.example, is allowed";
        reader.add_list("names", names, pattern, MachineCondition::Names);
        let tags = "a machine tag, such as internet-facing, is allowed";
        reader.add_list("tags", tags, pattern, MachineCondition::Tags);
        (!reader.has_problem).then_some(reader.conditions)
    }

    /// Adds the condition `key`, if it is given.
    fn add<C: Into<Condition>>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&ValueReader<'a>) -> Option<C>,
    ) {
        let Some(field) = self.section.optional(key, allowed) else { return };
        let condition = read(&field);
        self.has_problem |= condition.is_none();
        self.conditions.extend(condition.map(Into::into));
    }

    fn add_flag(&mut self, key: &'static str, allowed: &str, condition: fn(bool) -> UpdateCondition) {
        self.add(key, allowed, |field| field.boolean().map(condition));
    }

    /// Adds the condition `key`, if it is given: a list of values.
    fn add_list<T, C: Into<Condition>>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
        condition: fn(Vec<T>) -> C,
    ) {
        self.add(key, "a list of at least one value is allowed", |field| {
            let items = field.list(allowed)?;
            if items.is_empty() {
                field.problem("is empty");
                return None;
            }
            // Collected first, so that the problems of every item are reported.
            let values: Vec<_> = items.iter().map(|item| item.text(&parse)).collect();
            values.into_iter().collect::<Option<Vec<_>>>().map(condition)
        });
    }
}

fn within(text: &str, range: RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// Parses a lowest score. Scores have one decimal: 7.05 is reached by 7.1 and above.
fn score(text: &str) -> Option<CvssScore> {
    let score = within(text, 0.0..=10.0)?;
    // The rounding removes the error of the decimal fraction in binary.
    let tenths = ((score * 1e6).round() / 1e5).ceil();
    CvssScore::new(tenths.max(1.0) / 10.0)
}

fn pattern(text: &str) -> Result<TextPattern, &'static str> {
    match text {
        text if text.trim().is_empty() => Err("is blank"),
        text if text.contains(char::is_control) => Err("holds a control character"),
        text => Ok(TextPattern::new(text)),
    }
}
