//! Servicing of the Windows versions of machines.
//!
//! A Windows version past end of servicing misses no updates, because none are released for it. The servicing of a
//! machine follows from its platform and build, from the settings about its edition and Extended Security Updates, and
//! from the time. [`CompiledServicing`] prepares the settings for one rendering, and [`TenantServicing`] decides for
//! each machine of a tenant. Only [`ServicingState::Ended`] changes a state: see [`policy`](super::policy).

mod counts;
mod rule_warnings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

use jiff::Timestamp;

use super::rules::machines::MachineOutcomes;
use super::rules::{RuleMask, RuleSet};
use super::{MachineFacts, MachineState};
use crate::facts::servicing::ServicingEnd;
use crate::facts::{ServicingTable, VersionServicing, is_server};
use crate::model::{ServicingEdition, ServicingRule, ServicingSettings, ServicingState, end_of_day};

pub use counts::{ServicingCounts, version_name};
pub use rule_warnings::{ServicingRuleReason, ServicingRuleUses, ServicingRuleWarning};

/// The settings and the table of one rendering.
#[derive(Clone, Debug)]
pub struct CompiledServicing<'a> {
    settings: &'a ServicingSettings,
    table: &'a ServicingTable,
    now: Timestamp,
    rules: RuleSet,
    editions: Range<usize>,
    extended: Range<usize>,
}

/// The servicing of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineServicing {
    /// The state.
    pub state: ServicingState,
    /// The end of servicing, if the state is `ended` and the day is known: 00:00 UTC after the last day.
    pub ended_at: Option<Timestamp>,
    /// True if the state is `uncertain` and the edition decides.
    pub needs_edition: bool,
    /// True if the state is `uncertain` and Extended Security Updates decide.
    pub needs_extended: bool,
    /// The index of the rule that gives the machine an edition.
    pub edition_rule: Option<usize>,
    /// The index of the rule about Extended Security Updates of the machine.
    pub extended_rule: Option<usize>,
    /// The editions that the machine may have, by the settings and the table.
    pub editions: EditionSet,
}

/// A set of editions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EditionSet(u8);

impl EditionSet {
    /// Returns whether it has this edition.
    #[must_use]
    pub fn has(self, edition: ServicingEdition) -> bool {
        self.0 & 1 << edition as u8 != 0
    }
}

impl FromIterator<ServicingEdition> for EditionSet {
    fn from_iter<I: IntoIterator<Item = ServicingEdition>>(editions: I) -> Self {
        Self(editions.into_iter().fold(0, |bits, edition| bits | 1 << edition as u8))
    }
}

impl MachineServicing {
    /// The servicing of a machine whose version is not in the table.
    const UNKNOWN: Self = Self {
        state: ServicingState::Unknown,
        ended_at: None,
        needs_edition: false,
        needs_extended: false,
        edition_rule: None,
        extended_rule: None,
        editions: EditionSet(0),
    };

    /// Returns whether it decides the state of a machine under the policies: its servicing has ended, and the machine
    /// is neither unsupported nor inactive.
    #[must_use]
    pub fn decides(&self, state: MachineState) -> bool {
        self.state == ServicingState::Ended && state.is_asked()
    }
}

impl<'a> CompiledServicing<'a> {
    /// The form of `settings` for an evaluation at `now`.
    #[must_use]
    pub fn new(settings: &'a ServicingSettings, table: &'a ServicingTable, now: Timestamp) -> Self {
        let mut rules = RuleSet::default();
        let editions = add_rules(&mut rules, &settings.editions);
        let extended = add_rules(&mut rules, &settings.extended);
        Self { settings, table, now, rules, editions, extended }
    }

    /// The time of the evaluation.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

fn add_rules<T>(rules: &mut RuleSet, added: &[ServicingRule<T>]) -> Range<usize> {
    let words = rules.add_words(added.len());
    for (index, rule) in added.iter().enumerate() {
        rules.add(&words, index, &rule.conditions, &[]);
    }
    words
}

/// Decides the servicing of the machines of one tenant.
#[derive(Debug)]
pub struct TenantServicing<'a> {
    compiled: &'a CompiledServicing<'a>,
    editions: RuleMask,
    extended: RuleMask,
    outcomes: MachineOutcomes,
    /// What was decided, by what it depends on: whether it is a server, the build, and the rules that apply.
    decided: HashMap<(bool, u32, Option<usize>, Option<usize>), MachineServicing>,
}

impl<'a> TenantServicing<'a> {
    /// Prepares the rules for machines of `tenant`.
    #[must_use]
    pub fn new(compiled: &'a CompiledServicing<'a>, tenant: &str) -> Self {
        let ServicingSettings { editions, extended, .. } = compiled.settings;
        let edition = |index: usize| editions[index].names_tenant(tenant);
        let has_extended = |index: usize| extended[index].names_tenant(tenant);
        Self {
            compiled,
            editions: RuleMask::new(&compiled.editions, editions.len(), edition),
            extended: RuleMask::new(&compiled.extended, extended.len(), has_extended),
            outcomes: MachineOutcomes::default(),
            decided: HashMap::new(),
        }
    }

    /// The servicing of a machine.
    #[must_use]
    pub fn of_machine(&mut self, facts: &MachineFacts) -> MachineServicing {
        let compiled = self.compiled;
        self.outcomes.read(&compiled.rules, facts);
        let first = |rules: &RuleMask| rules.first(compiled.rules.initial(), &self.outcomes.bits);
        let (edition_rule, extended_rule) = (first(&self.editions), first(&self.extended));
        let unknown = MachineServicing { edition_rule, extended_rule, ..MachineServicing::UNKNOWN };
        let Some(build) = facts.os_build.filter(|_| !facts.os_platform.trim().is_empty()) else {
            return unknown;
        };
        let decide = || {
            let Some(version) = compiled.table.version(&facts.os_platform, build) else { return unknown };
            let edition = edition_rule.map(|index| compiled.settings.editions[index].value);
            let has_extended = extended_rule.map(|index| compiled.settings.extended[index].value);
            let decided = decide(version, edition, has_extended, compiled.now);
            MachineServicing { edition_rule, extended_rule, ..decided }
        };
        let key = (is_server(&facts.os_platform), build, edition_rule, extended_rule);
        *self.decided.entry(key).or_insert_with(decide)
    }
}

/// The servicing of a machine with this version at `now`. `edition` and `has_extended` are what the settings say.
fn decide(
    version: &VersionServicing,
    edition: Option<ServicingEdition>,
    has_extended: Option<bool>,
    now: Timestamp,
) -> MachineServicing {
    // An edition that the version does not have says nothing about the machine.
    let edition = edition.filter(|edition| version.editions.contains_key(edition));
    let is_possible = |other: &ServicingEdition| edition.is_none_or(|edition| edition == *other);
    let possible = || version.editions.iter().filter(|(edition, _)| is_possible(edition));
    let has_passed = |end: Option<ServicingEnd>| match end {
        Some(ServicingEnd::On(last_day)) => end_of_day(last_day) <= now,
        Some(ServicingEnd::Passed(has_passed)) => has_passed,
        None => false,
    };
    let extended = version.extended.filter(|_| has_extended != Some(false));
    let is_extended = extended.is_some() && !has_passed(extended);
    let (passed, open): (Vec<_>, Vec<_>) = possible().partition(|(_, end)| has_passed(**end));
    let state = match (passed.is_empty(), open.is_empty()) {
        (true, true) => ServicingState::Unknown,
        (true, false) => ServicingState::InService,
        (false, _) if is_extended && has_extended == Some(true) => ServicingState::InService,
        (false, true) if !is_extended => ServicingState::Ended,
        (false, _) => ServicingState::Uncertain,
    };
    let is_uncertain = state == ServicingState::Uncertain;
    let last_day = |end: Option<ServicingEnd>| match end {
        Some(ServicingEnd::On(last_day)) => Some(last_day),
        Some(ServicingEnd::Passed(_)) | None => None,
    };
    let extended_end = extended.map(|end| last_day(Some(end)));
    let last_days = passed.iter().map(|(_, end)| last_day(**end)).chain(extended_end);
    // Without one of the days, the latest is not known.
    let last_day = last_days.collect::<Option<Vec<_>>>().and_then(|days| days.into_iter().max());
    MachineServicing {
        state,
        ended_at: last_day.filter(|_| state == ServicingState::Ended).map(end_of_day),
        needs_edition: is_uncertain && !open.is_empty(),
        needs_extended: is_uncertain && is_extended,
        editions: possible()
            .map(|(edition, _)| *edition)
            .chain(extended.map(|_| ServicingEdition::Extended))
            .collect(),
        ..MachineServicing::UNKNOWN
    }
}
