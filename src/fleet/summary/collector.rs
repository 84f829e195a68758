//! Collects missing updates, machine by machine, into one summary for each KB.
//!
//! A collector keeps nothing of the machines, so that a report can read a large state file one machine at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::UpdateSummary;
use crate::facts::Facts;
use crate::fleet::release::release_time;
use crate::fleet::{EffectiveFacts, MissingUpdate, UpdateFacts};
use crate::model::KbId;

/// Collects the missing updates of the assessed machines of a tenant.
#[derive(Debug)]
pub struct UpdateCollector<'f> {
    facts: &'f Facts,
    by_kb: BTreeMap<KbId, MissingByUpdate>,
}

impl<'f> UpdateCollector<'f> {
    /// An empty collector.
    #[must_use]
    pub fn new(facts: &'f Facts) -> Self {
        Self { facts, by_kb: BTreeMap::new() }
    }

    /// Adds a missing update of one machine. Returns the facts about its KB.
    pub fn add(&mut self, missing: &MissingUpdate) -> EffectiveFacts {
        let Self { facts, by_kb } = self;
        let kb = missing.update.kb;
        let by_update = by_kb.entry(kb).or_insert_with(|| MissingByUpdate::starting_with(missing, facts));
        by_update.add(missing);
        by_update.of_kb
    }

    /// Returns whether no missing update was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kb.is_empty()
    }

    /// The summary of each KB.
    #[must_use]
    pub fn finish(self) -> BTreeMap<KbId, UpdateSummary> {
        let Self { facts, by_kb } = self;
        by_kb.into_iter().map(|(kb, by_update)| (kb, by_update.finish(kb, facts))).collect()
    }
}

/// The missing updates of one KB.
#[derive(Debug)]
struct MissingByUpdate {
    /// The facts of the newest missing update. Most machines share them, so they are compared once.
    newest: Arc<UpdateFacts>,
    title: String,
    products: BTreeSet<String>,
    missing_machines: u64,
    reported_machines: Option<u32>,
    addressed_cves: Option<u32>,
    first_seen: Timestamp,
    oldest_first_seen: Timestamp,
    of_kb: EffectiveFacts,
}

impl MissingByUpdate {
    /// An empty collection; `missing` is the first one to [`add`](Self::add).
    fn starting_with(missing: &MissingUpdate, facts: &Facts) -> Self {
        let of_defender = &missing.update.facts;
        Self {
            newest: Arc::clone(of_defender),
            title: of_defender.title.clone(),
            products: of_defender.products.iter().cloned().collect(),
            missing_machines: 0,
            reported_machines: None,
            addressed_cves: None,
            first_seen: missing.first_seen,
            oldest_first_seen: missing.oldest_first_seen(),
            of_kb: EffectiveFacts::of(facts, [missing.update.kb]),
        }
    }

    fn add(&mut self, missing: &MissingUpdate) {
        let update = &missing.update;
        if !Arc::ptr_eq(&self.newest, &update.facts) {
            self.add_names(&update.facts);
        }
        self.missing_machines += 1;
        self.reported_machines = self.reported_machines.max(update.reported_machines);
        self.addressed_cves = self.addressed_cves.max(update.cves);
        self.first_seen = self.first_seen.min(missing.first_seen);
        self.oldest_first_seen = self.oldest_first_seen.min(missing.oldest_first_seen());
    }

    fn add_names(&mut self, facts: &Arc<UpdateFacts>) {
        self.newest = Arc::clone(facts);
        // The empty title is the least one, so any other title replaces it.
        if facts.title > self.title {
            self.title.clone_from(&facts.title);
        }
        for product in &facts.products {
            if !self.products.contains(product) {
                self.products.insert(product.clone());
            }
        }
    }

    fn finish(self, kb: KbId, facts: &Facts) -> UpdateSummary {
        let released = facts.released(kb, &self.title).or_else(|| release_time(&self.title));
        UpdateSummary {
            facts: UpdateFacts { title: self.title, products: self.products.into_iter().collect() },
            missing_machines: self.missing_machines,
            reported_machines: self.reported_machines,
            addressed_cves: self.addressed_cves,
            first_seen: self.first_seen,
            oldest_first_seen: self.oldest_first_seen,
            released: released.map(|released| released.min(self.first_seen)),
        }
    }
}
