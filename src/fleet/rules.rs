//! Rules in a form in which a missing update or a machine is compared with many of them at once.
//!
//! Each rule has a bit in a word. A condition that several rules share is decided once, and clears the bits of the
//! rules that it excludes. The conditions on updates are decided once for each update, those on machines once for each
//! machine; for a missing update, the bits of both are combined.

pub(super) mod condition;
pub(super) mod machines;
mod truth;

use std::ops::Range;

use self::condition::{MachineProperty, UpdateTraits, judge_machine};
use self::truth::{Truth, TruthBits};
use super::MachineFacts;
use crate::model::{Condition, MachineCondition, UpdateCondition};

/// Rules per word.
const WORD: usize = u64::BITS as usize;

/// The conditions of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleSet {
    /// For each word, the rules with `or_unknown`.
    or_unknown: Vec<u64>,
    /// For each word, the rules that exist, and those that have a `not`.
    initial: Vec<RuleBits>,
    /// The rules that match only updates with a due date in the catalogue of known exploited vulnerabilities.
    by_due_date: RuleMasks,
    update_conditions: Vec<(UpdateCondition, RuleMasks)>,
    /// By [`MachineProperty`].
    machine_conditions: [Vec<(MachineCondition, RuleMasks)>; MachineProperty::ALL.len()],
}

/// The outcomes of the rules of a word: of their conditions, and of those in `not`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleBits {
    conditions: TruthBits,
    negated: TruthBits,
}

/// The rules that have a condition: the word, the rules, and those that have it in `not`.
type RuleMasks = Vec<(usize, u64, u64)>;

impl RuleSet {
    /// Adds words for this many rules, none of which exists yet.
    pub(super) fn add_words(&mut self, rules: usize) -> Range<usize> {
        let first = self.initial.len();
        let words = first..first + rules.div_ceil(WORD);
        self.initial.resize(words.end, RuleBits::default());
        self.or_unknown.resize(words.end, 0);
        words
    }

    /// Adds the conditions of the rule with this index in `words`: all of `conditions` have to hold, and those of `not`
    /// must not all hold.
    pub(super) fn add(
        &mut self,
        words: &Range<usize>,
        index: usize,
        conditions: &[Condition],
        not: &[Condition],
    ) {
        let (word, bit) = place(words, index);
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

    /// Makes a rule match where its outcome is unknown, too.
    pub(super) fn match_unknown(&mut self, words: &Range<usize>, index: usize) {
        let (word, bit) = place(words, index);
        self.or_unknown[word] |= bit;
    }

    /// Makes a rule match only updates with a due date.
    pub(super) fn need_due_date(&mut self, words: &Range<usize>, index: usize) {
        let (word, bit) = place(words, index);
        set(&mut self.by_due_date, word, bit, 0);
    }

    /// The outcomes of the conditions on updates before any is decided.
    pub(super) fn initial(&self) -> &[RuleBits] {
        &self.initial
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

    /// The outcomes of the conditions on machines before any is decided.
    fn undecided(&self) -> Vec<RuleBits> {
        vec![RuleBits::UNDECIDED; self.initial.len()]
    }

    /// Returns whether a condition depends on `property`.
    fn depends_on(&self, property: MachineProperty) -> bool {
        !self.machine_conditions[property as usize].is_empty()
    }

    /// Decides the conditions on one property of a machine, into `bits`.
    fn decide(&self, property: MachineProperty, facts: &MachineFacts, bits: &mut [RuleBits]) {
        let texts = property.texts(facts);
        for (condition, masks) in &self.machine_conditions[property as usize] {
            restrict(bits, masks, judge_machine(condition, texts.as_deref()));
        }
    }

    /// The index of the first rule in `words` that matches a missing update with these outcomes.
    pub(super) fn first_match(
        &self,
        words: &Range<usize>,
        update: &[RuleBits],
        machine: &[RuleBits],
    ) -> Option<usize> {
        words.clone().enumerate().find_map(|(number, word)| {
            let outcome = update[word].and(machine[word]).outcome();
            let matching = outcome.certain | outcome.possible & self.or_unknown[word];
            (matching != 0).then(|| number * WORD + matching.trailing_zeros() as usize)
        })
    }
}

impl RuleBits {
    const UNDECIDED: Self = Self { conditions: TruthBits::all(u64::MAX), negated: TruthBits::all(u64::MAX) };

    /// The rules of which no condition is false, whatever is decided later.
    pub(super) fn possible(self) -> u64 {
        self.conditions.possible
    }

    /// The rules that match for certain with these outcomes of the conditions on the machine.
    pub(super) fn certain(self, machine: Self) -> u64 {
        self.and(machine).outcome().certain
    }

    /// The outcomes of whole rules.
    fn outcome(self) -> TruthBits {
        self.conditions.and(self.negated.not())
    }

    /// Combines the outcomes with others, as by "and".
    fn and(self, other: Self) -> Self {
        Self { conditions: self.conditions.and(other.conditions), negated: self.negated.and(other.negated) }
    }
}

/// The rules of a list that can be selected, one bit each.
#[derive(Debug)]
pub(super) struct RuleMask {
    /// The words of the list.
    words: Range<usize>,
    bits: Box<[u64]>,
}

impl RuleMask {
    /// The rules in `words` whose index fulfils `is_selectable`.
    pub(super) fn new(words: &Range<usize>, rules: usize, is_selectable: impl Fn(usize) -> bool) -> Self {
        let mut bits = vec![0; words.len()];
        for index in (0..rules).filter(|index| is_selectable(*index)) {
            bits[index / WORD] |= 1 << (index % WORD);
        }
        Self { words: words.clone(), bits: bits.into() }
    }

    /// Returns whether one of the rules may match something on a machine with these outcomes.
    pub(super) fn may_match(&self, machine: &[RuleBits]) -> bool {
        machine[self.words.clone()].iter().zip(&self.bits).any(|(bits, mask)| bits.possible() & mask != 0)
    }

    /// The rules that match for certain, one word after another.
    fn matching(&self, update: &[RuleBits], machine: &[RuleBits]) -> impl Iterator<Item = u64> {
        let words = update[self.words.clone()].iter().zip(&machine[self.words.clone()]);
        words.zip(&self.bits).map(|((update, machine), mask)| update.certain(*machine) & mask)
    }

    /// The index of the first rule that matches for certain.
    pub(super) fn first(&self, update: &[RuleBits], machine: &[RuleBits]) -> Option<usize> {
        let (word, bits) = self.matching(update, machine).enumerate().find(|(_, bits)| *bits != 0)?;
        Some(word * WORD + bits.trailing_zeros() as usize)
    }

    /// Counts one in `counts` for each rule that matches for certain. Returns whether one does.
    pub(super) fn count(&self, update: &[RuleBits], machine: &[RuleBits], counts: &mut [u64]) -> bool {
        let mut is_matched = false;
        for (word, mut bits) in self.matching(update, machine).enumerate() {
            is_matched |= bits != 0;
            while bits != 0 {
                counts[word * WORD + bits.trailing_zeros() as usize] += 1;
                bits &= bits - 1;
            }
        }
        is_matched
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
