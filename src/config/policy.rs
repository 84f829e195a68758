//! The section `policies`: patch deadlines.
//!
//! A policy is one deadline, or a list of rules, or a preset. [`rule`] reads the rules.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::{MapReader, ValueReader};
use super::rule::{self, RuleStart};
use super::values::label;
use super::{FactsConfig, Tenant};
use crate::model::{FactsSource, Policy, PolicyPreset, PolicyRule, RuleDeadline};

/// Names of policies, each with the path of the first policy of that name.
type PolicyNames = HashMap<Arc<str>, String>;

const DEADLINE_ALLOWED: &str = "a duration from 1s to 3650d, such as 14d, is allowed";

const FORMS_ALLOWED: &str =
    "a duration from 1s to 3650d, such as 14d, or rules or a preset in its place is allowed";

pub(super) fn read(field: &ValueReader<'_>) -> Option<Vec<Policy>> {
    let items = field.list("a mapping with the keys of a policy is allowed")?;
    let mut names = PolicyNames::default();
    // Collected first, so that the problems of every policy are reported.
    let policies: Vec<_> = items.iter().map(|item| policy(item, &mut names)).collect();
    policies.into_iter().collect()
}

fn policy(field: &ValueReader<'_>, names: &mut PolicyNames) -> Option<Policy> {
    let section = field.section()?;
    let allowed = "text without control characters, of its own for each policy, is allowed";
    let name = section.required("name", allowed).and_then(|field| {
        let name = field.text(label)?;
        if let Some(first) = names.get(&name) {
            field.problem(format!("is the same as that of {first}"));
            return None;
        }
        names.insert(Arc::clone(&name), section.path().to_owned());
        Some(name)
    });
    let deadline = section.optional("deadline", DEADLINE_ALLOWED);
    let start = rule::start(&section, Some(RuleStart::default()));
    let rules = section.optional("rules", "a list of at least one rule is allowed");
    let preset = section.optional("preset", &preset_allowed());
    let policy = match (&rules, &preset) {
        (None, None) => single(&section, deadline.as_ref(), start).zip(name).map(|(rule, name)| Policy {
            name,
            from: RuleStart::event_or_default(start),
            rules: vec![rule],
            preset: None,
        }),
        (Some(rules), None) => {
            refuse(&section, &["deadline"], "rules", "each rule has a deadline of its own");
            rule::read_all(rules, start).zip(name).map(|(rules, name)| Policy {
                name,
                from: RuleStart::event_or_default(start),
                rules,
                preset: None,
            })
        }
        (_, Some(preset)) => {
            refuse(&section, &["deadline", "from", "rules"], "preset", "a preset sets its own deadlines");
            preset
                .text(|word| PolicyPreset::from_word(word).ok_or("is not a known preset"))
                .zip(name)
                .map(|(preset, name)| preset.policy(name))
        }
    };
    section.finish();
    policy
}

/// Reads the one deadline of a policy without rules.
fn single(
    section: &MapReader<'_>,
    deadline: Option<&ValueReader<'_>>,
    start: Option<RuleStart>,
) -> Option<PolicyRule> {
    let deadline = match (deadline, start) {
        (None, Some(RuleStart::DueDate)) => RuleDeadline::KnownExploitedDue,
        (None, _) => {
            section.problem_of("deadline", "is missing", FORMS_ALLOWED);
            return None;
        }
        (Some(_), Some(RuleStart::DueDate)) => {
            section.problem_of("deadline", rule::BESIDE_DUE_DATE, rule::BESIDE_DUE_DATE_ALLOWED);
            return None;
        }
        (Some(field), start) => {
            let time = rule::fixed_time(field);
            let Some(RuleStart::Event(from)) = start else { return None };
            RuleDeadline::Within { time: time?, from }
        }
    };
    Some(PolicyRule::unconditional(deadline))
}

/// Reports keys that are given although `chosen` makes them useless.
fn refuse(section: &MapReader<'_>, keys: &[&str], chosen: &str, reason: &str) {
    for key in keys.iter().filter(|key| section.has(key)) {
        section.problem_of(key, format!("is given together with {chosen}"), reason);
    }
}

fn preset_allowed() -> String {
    let words = PolicyPreset::ALL.map(PolicyPreset::as_str).join(", ");
    format!("one of {words} is allowed")
}

/// Warns at each policy that needs facts of a source that is off.
pub(super) fn warn_of_unused_facts(
    field: &ValueReader<'_>,
    policies: &[Policy],
    facts: Option<&FactsConfig>,
    tenants: &[Tenant],
) {
    let Some(items) = field.list("") else { return };
    for (item, policy) in items.iter().zip(policies) {
        let is_needed = |source: &FactsSource| {
            tenants.iter().any(|tenant| policy.needed_facts(tenant.source).any(|needed| needed == *source))
        };
        if let Some(what) = FactsConfig::left_out(facts, is_needed) {
            let what = format!("{what}: machines with missing updates are unknown under it");
            item.warning(what, "facts: {} turns every source on");
        }
    }
}
