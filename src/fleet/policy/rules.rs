//! The rules of all policies in a form in which a missing update is compared with many of them at once.
//!
//! Each rule has a bit in a word of its policy. A condition that several rules share is decided once, and clears the
//! bits of the rules that it excludes. The conditions on updates are decided once for each update, those on machines
//! once for each machine; for a missing update, the bits of both are combined.
//!
//! Exceptions are in the same form: each has a bit, and every one whose bit is left covers the missing update.

use std::ops::Range;

use jiff::Timestamp;

use super::condition::{MachineProperty, UpdateTraits, judge_machine};
use super::truth::{Truth, TruthBits};
use crate::fleet::MachineFacts;
use crate::model::{
    Condition, Exception, MachineCondition, Policy, PolicyRule, RuleDeadline, UpdateCondition,
};

/// Rules per word.
pub(super) const WORD: usize = u64::BITS as usize;

/// The policies and exceptions of one rendering.
#[derive(Clone, Debug)]
pub struct CompiledPolicies<'a> {
    pub(super) policies: &'a [Policy],
    pub(super) exceptions: &'a [Exception],
    pub(super) now: Timestamp,
    plans: Vec<PolicyPlan>,
    /// The words of the exceptions, behind those of the policies.
    pub(super) exception_words: Range<usize>,
    /// For each word, the rules with `or_unknown`.
    or_unknown: Vec<u64>,
    /// For each word, the rules that exist, and those that have a `not`.
    initial: Vec<RuleBits>,
    /// The outcomes of the conditions on machines before any is decided.
    pub(super) undecided: Vec<RuleBits>,
    /// The rules whose deadline is the due date of the catalogue.
    by_due_date: RuleMasks,
    update_conditions: Vec<(UpdateCondition, RuleMasks)>,
    /// By [`MachineProperty`].
    machine_conditions: [Vec<(MachineCondition, RuleMasks)>; MachineProperty::ALL.len()],
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

/// The outcomes of the rules of a word: of their conditions, and of those in `not`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleBits {
    conditions: TruthBits,
    negated: TruthBits,
}

/// The rules that have a condition: the word, the rules, and those that have it in `not`.
type RuleMasks = Vec<(usize, u64, u64)>;

impl<'a> CompiledPolicies<'a> {
    /// The form of `policies` and `exceptions` for an evaluation at `now`.
    #[must_use]
    pub fn new(policies: &'a [Policy], exceptions: &'a [Exception], now: Timestamp) -> Self {
        let mut compiled = Self {
            policies,
            exceptions,
            now,
            plans: Vec::new(),
            exception_words: 0..0,
            or_unknown: Vec::new(),
            initial: Vec::new(),
            undecided: Vec::new(),
            by_due_date: RuleMasks::new(),
            update_conditions: Vec::new(),
            machine_conditions: Default::default(),
        };
        for policy in policies {
            compiled.add_policy(policy);
        }
        compiled.add_exceptions();
        let every = TruthBits::all(u64::MAX);
        compiled.undecided = vec![RuleBits { conditions: every, negated: every }; compiled.initial.len()];
        compiled
    }

    fn add_policy(&mut self, policy: &Policy) {
        let words = self.add_words(policy.rules.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            let (word, bit) = place(&words, index);
            self.add_rule(rule, word, bit);
        }
        let now = self.now;
        let plan = |rule: &PolicyRule| RulePlan {
            deadline: rule.deadline,
            latest_start: match rule.deadline {
                RuleDeadline::Within { time, .. } => now.checked_sub(time).ok(),
                RuleDeadline::Unlimited | RuleDeadline::KnownExploitedDue => None,
            },
        };
        self.plans.push(PolicyPlan { words, rules: policy.rules.iter().map(plan).collect() });
    }

    /// Adds the exceptions. One that has ended keeps its place, but no bit: it covers nothing.
    fn add_exceptions(&mut self) {
        let words = self.add_words(self.exceptions.len());
        for (index, exception) in self.exceptions.iter().enumerate() {
            if exception.is_in_effect(self.now) {
                let (word, bit) = place(&words, index);
                self.add_conditions(&exception.conditions, &exception.not, word, bit);
            }
        }
        self.exception_words = words;
    }

    /// Adds words for this many rules.
    fn add_words(&mut self, rules: usize) -> Range<usize> {
        let first = self.initial.len();
        let words = first..first + rules.div_ceil(WORD);
        self.initial.resize(words.end, RuleBits::default());
        self.or_unknown.resize(words.end, 0);
        words
    }

    fn add_rule(&mut self, rule: &PolicyRule, word: usize, bit: u64) {
        let PolicyRule { conditions, not, or_unknown, deadline } = rule;
        if *or_unknown {
            self.or_unknown[word] |= bit;
        }
        if *deadline == RuleDeadline::KnownExploitedDue {
            set(&mut self.by_due_date, word, bit, 0);
        }
        self.add_conditions(conditions, not, word, bit);
    }

    fn add_conditions(&mut self, conditions: &[Condition], not: &[Condition], word: usize, bit: u64) {
        let initial = &mut self.initial[word];
        initial.conditions = TruthBits::all(initial.conditions.certain | bit);
        if !not.is_empty() {
            initial.negated = TruthBits::all(initial.negated.certain | bit);
        }
        let conditions = conditions.iter().map(|condition| (condition, bit, 0));
        let not = not.iter().map(|condition| (condition, 0, bit));
        for (condition, bit, negated_bit) in conditions.chain(not) {
            let masks = match condition {
                Condition::Update(condition) => masks_of(&mut self.update_conditions, condition),
                Condition::Machine(condition) => {
                    let property = MachineProperty::of(condition);
                    masks_of(&mut self.machine_conditions[property as usize], &with_sorted_ids(condition))
                }
            };
            set(masks, word, bit, negated_bit);
        }
    }

    /// Decides the conditions on an update.
    pub(super) fn update_bits(&self, traits: &UpdateTraits) -> Vec<RuleBits> {
        let mut bits = self.initial.clone();
        for (condition, masks) in &self.update_conditions {
            restrict(&mut bits, masks, traits.judge(condition));
        }
        restrict(&mut bits, &self.by_due_date, Truth::known(traits.due.is_some()));
        bits
    }

    /// Returns whether a condition depends on `property`.
    pub(super) fn depends_on(&self, property: MachineProperty) -> bool {
        !self.machine_conditions[property as usize].is_empty()
    }

    /// Decides the conditions on one property of a machine, into `bits`.
    pub(super) fn decide(&self, property: MachineProperty, facts: &MachineFacts, bits: &mut [RuleBits]) {
        let texts = property.texts(facts);
        for (condition, masks) in &self.machine_conditions[property as usize] {
            restrict(bits, masks, judge_machine(condition, texts.as_deref()));
        }
    }

    /// The first rule of a policy that matches a missing update with these outcomes, and its index.
    pub(super) fn first_match(
        &self,
        policy: usize,
        update: &[RuleBits],
        machine: &[RuleBits],
    ) -> Option<(usize, RulePlan)> {
        let PolicyPlan { words, rules } = &self.plans[policy];
        for (number, word) in words.clone().enumerate() {
            let outcome = update[word].and(machine[word]).outcome();
            let matching = outcome.certain | outcome.possible & self.or_unknown[word];
            if matching != 0 {
                let index = number * WORD + matching.trailing_zeros() as usize;
                return Some((index, rules[index]));
            }
        }
        None
    }
}

impl RuleBits {
    /// The rules of which no condition is false, whatever is decided later.
    pub(super) fn possible(self) -> u64 {
        self.conditions.possible
    }

    /// The outcomes of whole rules.
    pub(super) fn outcome(self) -> TruthBits {
        self.conditions.and(self.negated.not())
    }

    /// Combines the outcomes with others, as by "and".
    pub(super) fn and(self, other: Self) -> Self {
        Self { conditions: self.conditions.and(other.conditions), negated: self.negated.and(other.negated) }
    }
}

/// The word and the bit of a rule.
fn place(words: &Range<usize>, index: usize) -> (usize, u64) {
    (words.start + index / WORD, 1 << (index % WORD))
}

fn restrict(bits: &mut [RuleBits], masks: &RuleMasks, truth: Truth) {
    for &(word, mask, negated_mask) in masks {
        bits[word].conditions.restrict(mask, truth);
        bits[word].negated.restrict(negated_mask, truth);
    }
}

/// The condition as [`judge_machine`] needs it: a list of ids may be long, and every machine is searched in it.
fn with_sorted_ids(condition: &MachineCondition) -> MachineCondition {
    let mut condition = condition.clone();
    if let MachineCondition::Ids(ids) = &mut condition {
        ids.sort_unstable();
    }
    condition
}

/// The rules that have `condition`; a condition is kept once.
fn masks_of<'a, C: Clone + PartialEq>(
    known: &'a mut Vec<(C, RuleMasks)>,
    condition: &C,
) -> &'a mut RuleMasks {
    let index = known.iter().position(|(other, _)| other == condition).unwrap_or_else(|| {
        known.push((condition.clone(), RuleMasks::new()));
        known.len() - 1
    });
    &mut known[index].1
}

/// Adds rules to `masks`. Words are added in order.
fn set(masks: &mut RuleMasks, word: usize, bit: u64, negated_bit: u64) {
    match masks.last_mut() {
        Some((last, bits, negated_bits)) if *last == word => {
            *bits |= bit;
            *negated_bits |= negated_bit;
        }
        _ => masks.push((word, bit, negated_bit)),
    }
}
