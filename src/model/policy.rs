//! Patch deadlines.

use std::sync::Arc;
use std::time::Duration;

use super::{Condition, FactsSource, MachineCondition, PolicyPreset, Source};

/// A patch deadline: ordered rules, of which the first one that matches a missing update applies to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Value of the label `policy`.
    pub name: Arc<str>,
    /// The start from which an update without a deadline counts as late; the default of the rules in the
    /// configuration.
    pub from: DeadlineStart,
    /// At least one rule. A policy of one deadline is one rule without conditions.
    pub rules: Vec<PolicyRule>,
    /// The preset that the rules come from.
    pub preset: Option<PolicyPreset>,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRule {
    /// The conditions, all of which have to hold; at most one of each kind.
    pub conditions: Vec<Condition>,
    /// The conditions of `not`, which must not all hold together; empty without `not`.
    pub not: Vec<Condition>,
    /// True if the rule also matches when some conditions are unknown and none is false.
    pub or_unknown: bool,
    /// The deadline of the missing updates that the rule matches.
    pub deadline: RuleDeadline,
}

/// The deadline that a rule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleDeadline {
    /// No deadline: such a missing update is never overdue.
    Unlimited,
    /// A fixed time after a start.
    Within {
        /// Time between the start and the deadline, from 1s to 3650d.
        time: Duration,
        /// The event from which the deadline is measured.
        from: DeadlineStart,
    },
    /// The earliest due date in the catalogue of known exploited vulnerabilities. The rule does not match an update
    /// without a due date.
    KnownExploitedDue,
}

/// The event from which a deadline is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineStart {
    /// The update was first seen missing on the machine. The default.
    FirstSeen,
    /// The update was released; first seen where the release is not known.
    Released,
    /// The update was listed as known exploited; first seen where it is not listed.
    KnownExploited,
}

impl Default for Policy {
    /// 14 days, as some regulators require, from first seen, which every missing update has.
    fn default() -> Self {
        Self::single("14d", Duration::from_hours(14 * 24), DeadlineStart::FirstSeen)
    }
}

impl Policy {
    /// The policy of one deadline for every missing update.
    #[must_use]
    pub fn single(name: &str, time: Duration, from: DeadlineStart) -> Self {
        let rule = PolicyRule::unconditional(RuleDeadline::Within { time, from });
        Self { name: name.into(), from, rules: vec![rule], preset: None }
    }

    /// The deadline of a policy that has one deadline for every missing update; none for any other policy.
    #[must_use]
    pub fn single_deadline(&self) -> Option<RuleDeadline> {
        match &self.rules[..] {
            [rule] if self.preset.is_none() && rule.is_unconditional() => Some(rule.deadline),
            _ => None,
        }
    }

    /// The shortest fixed deadline among the rules; none when no rule has one.
    #[must_use]
    pub fn shortest_deadline(&self) -> Option<Duration> {
        let fixed = |rule: &PolicyRule| match rule.deadline {
            RuleDeadline::Within { time, .. } => Some(time),
            RuleDeadline::Unlimited | RuleDeadline::KnownExploitedDue => None,
        };
        self.rules.iter().filter_map(fixed).min()
    }

    /// The sources of facts that the conditions and the starts of the rules need in a tenant with this source, in
    /// the order of [`FactsSource::ALL`].
    pub fn needed_facts(&self, source: Source) -> impl Iterator<Item = FactsSource> {
        let needs = move |facts_source: &FactsSource| {
            self.rules.iter().any(|rule| rule.needs_facts(*facts_source, source))
        };
        FactsSource::ALL.into_iter().filter(needs)
    }

    /// Returns whether a rule has a condition on this machine tag.
    #[must_use]
    pub fn uses_tag(&self, tag: &str) -> bool {
        let lower = tag.to_lowercase();
        let mut conditions = self.rules.iter().flat_map(|rule| rule.conditions.iter().chain(&rule.not));
        conditions.any(|condition| match condition {
            Condition::Machine(MachineCondition::Tags(tags)) => tags.iter().any(|tag| tag.is_lower(&lower)),
            _ => false,
        })
    }
}

impl PolicyRule {
    /// The rule that matches every missing update.
    #[must_use]
    pub fn unconditional(deadline: RuleDeadline) -> Self {
        Self { conditions: Vec::new(), not: Vec::new(), or_unknown: false, deadline }
    }

    /// Returns whether the rule has no conditions.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.conditions.is_empty() && self.not.is_empty()
    }

    /// Returns whether the rule matches every missing update, so that no later rule is used.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.is_unconditional() && self.deadline != RuleDeadline::KnownExploitedDue
    }

    fn needs_facts(&self, facts_source: FactsSource, source: Source) -> bool {
        let needs_catalogue = match self.deadline {
            RuleDeadline::KnownExploitedDue => true,
            RuleDeadline::Within { from, .. } => from == DeadlineStart::KnownExploited,
            RuleDeadline::Unlimited => false,
        };
        let mut conditions = self.conditions.iter().chain(&self.not);
        needs_catalogue && facts_source == FactsSource::Kev
            || conditions.any(|condition| condition.needed_facts(source).contains(&facts_source))
    }
}

impl DeadlineStart {
    /// Every start.
    pub const ALL: [Self; 3] = [Self::FirstSeen, Self::Released, Self::KnownExploited];

    /// The value of `from` in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstSeen => "first_seen",
            Self::Released => "released",
            Self::KnownExploited => "known_exploited",
        }
    }
}
