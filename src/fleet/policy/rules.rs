//! The policies and exceptions of one rendering as rules.

use std::ops::Range;

use jiff::Timestamp;

use crate::fleet::rules::{RuleBits, RuleSet};
use crate::model::{Exception, Policy, PolicyRule, RuleDeadline};

/// The policies and exceptions of one rendering.
///
/// Exceptions are rules, too: every one that matches a missing update covers it.
#[derive(Clone, Debug)]
pub struct CompiledPolicies<'a> {
    pub(super) policies: &'a [Policy],
    pub(super) exceptions: &'a [Exception],
    pub(super) now: Timestamp,
    plans: Vec<PolicyPlan>,
    /// The words of the exceptions, behind those of the policies.
    pub(super) exception_words: Range<usize>,
    pub(super) rules: RuleSet,
}

/// The rules of one policy.
#[derive(Clone, Debug)]
struct PolicyPlan {
    words: Range<usize>,
    rules: Vec<RulePlan>,
}

/// The deadline of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct RulePlan {
    pub(super) deadline: RuleDeadline,
    /// The latest start with which a missing update is not overdue; none if the deadline reaches back beyond the
    /// calendar.
    pub(super) latest_start: Option<Timestamp>,
}

impl<'a> CompiledPolicies<'a> {
    /// The form of `policies` and `exceptions` for an evaluation at `now`.
    #[must_use]
    pub fn new(policies: &'a [Policy], exceptions: &'a [Exception], now: Timestamp) -> Self {
        let mut rules = RuleSet::default();
        let plans = policies.iter().map(|policy| PolicyPlan::new(policy, now, &mut rules)).collect();
        let exception_words = rules.add_words(exceptions.len());
        // One that has ended keeps its place, but no bit: it covers nothing.
        for (index, exception) in exceptions.iter().enumerate() {
            if exception.is_in_effect(now) {
                rules.add(&exception_words, index, &exception.conditions, &exception.not);
            }
        }
        Self { policies, exceptions, now, plans, exception_words, rules }
    }

    /// The first rule of a policy that matches a missing update with these outcomes, and its index.
    pub(super) fn first_match(
        &self,
        policy: usize,
        update: &[RuleBits],
        machine: &[RuleBits],
    ) -> Option<(usize, RulePlan)> {
        let PolicyPlan { words, rules } = &self.plans[policy];
        let index = self.rules.first_match(words, update, machine)?;
        Some((index, rules[index]))
    }
}

impl PolicyPlan {
    fn new(policy: &Policy, now: Timestamp, rules: &mut RuleSet) -> Self {
        let words = rules.add_words(policy.rules.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            rules.add(&words, index, &rule.conditions, &rule.not);
            if rule.or_unknown {
                rules.match_unknown(&words, index);
            }
            if rule.deadline == RuleDeadline::KnownExploitedDue {
                rules.need_due_date(&words, index);
            }
        }
        let plan = |rule: &PolicyRule| RulePlan {
            deadline: rule.deadline,
            latest_start: match rule.deadline {
                RuleDeadline::Within { time, .. } => now.checked_sub(time).ok(),
                RuleDeadline::Unlimited | RuleDeadline::KnownExploitedDue => None,
            },
        };
        Self { words, rules: policy.rules.iter().map(plan).collect() }
    }
}
