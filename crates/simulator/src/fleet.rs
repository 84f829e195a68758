//! The machines of the simulated tenant and the updates that they miss.
//!
//! Generated machines follow from the seed. Machines and updates that a test adds, removes or sets take
//! precedence. The number of machines in scope is exactly the requested one: a realistic fleet contains in
//! addition a merged, an excluded and some unusable records, and its last machine is an inactive twin of the
//! first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::calendar::Day;
use super::machine::{MachineKind, Pace, SimulatedMachine};
use super::oddities::{add_entry_oddities, add_oddities};
use super::options::{Options, Realism};
use super::record::MachineRecord;
use super::rollout::Rollout;
use super::updates::Update;

/// Number of records after which an earlier record is listed again.
const REPEAT_EVERY: usize = 37;

/// An update that a test sets as missing on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKb {
    /// The id as sent. The API writes digits.
    pub id: String,
    /// The title of the batch, such as `March 2020 Security Updates`.
    pub title: String,
    /// Short product names.
    pub products: Vec<String>,
    /// The value of `cveAddressed`.
    pub cves: u32,
}

impl MissingKb {
    /// An update of Windows 10 that fixes ten CVEs.
    #[must_use]
    pub fn new(id: &str, title: &str) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), products: vec!["windows_10".to_owned()], cves: 10 }
    }
}

/// The answer to getmissingkbs for a machine.
pub(super) enum MissingKbsReply {
    Entries(Vec<Value>),
    /// These bytes, unchanged.
    Verbatim(Bytes),
    NotFound,
}

/// The day, and the machines that a rollout had reached, when updates were counted.
type ReportedAt = (Day, u64);

/// All machines.
pub(super) struct SimulatedFleet {
    records: Vec<MachineRecord>,
    by_id: HashMap<String, usize>,
    realism: Realism,
    pace: Pace,
    rollout: Option<Rollout>,
    /// The machines of which the API has no data any more.
    silent: HashSet<String>,
    set: BTreeMap<String, Vec<MissingKb>>,
    verbatim: HashMap<String, Bytes>,
    calls: HashMap<String, u64>,
    reported: Option<(ReportedAt, HashMap<String, u64>)>,
}

impl SimulatedFleet {
    pub(super) fn generate(options: &Options) -> Self {
        let Options { seed, machines, realism, patching, missing_per_machine, .. } = *options;
        let mut records: Vec<MachineRecord> = (0..machines)
            .map(|index| SimulatedMachine::generate(seed, index, realism, patching).into())
            .collect();
        if realism == Realism::Realistic {
            add_oddities(&mut records, seed, machines);
        }
        let mut fleet = Self {
            records,
            by_id: HashMap::new(),
            realism,
            pace: Pace { missing_per_machine, last_patched: None },
            rollout: None,
            silent: HashSet::new(),
            set: BTreeMap::new(),
            verbatim: HashMap::new(),
            calls: HashMap::new(),
            reported: None,
        };
        fleet.index();
        fleet
    }

    fn index(&mut self) {
        self.reported = None;
        self.by_id = self
            .records
            .iter()
            .enumerate()
            .filter_map(|(position, record)| Some((record.id()?.to_owned(), position)))
            .collect();
    }

    pub(super) fn add(&mut self, record: Value) {
        let record = MachineRecord::Raw(record);
        self.reported = None;
        let Some(id) = record.id() else {
            return self.records.push(record);
        };
        if let Some(&position) = self.by_id.get(id) {
            self.records[position] = record;
        } else {
            self.by_id.insert(id.to_owned(), self.records.len());
            self.records.push(record);
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.records.retain(|record| record.id() != Some(id));
        self.set.remove(id);
        self.verbatim.remove(id);
        self.index();
    }

    pub(super) fn set_missing(&mut self, id: &str, missing: Vec<MissingKb>) {
        self.verbatim.remove(id);
        self.set.insert(id.to_owned(), missing);
        self.reported = None;
    }

    pub(super) fn set_reply(&mut self, id: &str, body: Bytes) {
        self.verbatim.insert(id.to_owned(), body);
    }

    pub(super) fn record(&self, id: &str) -> Option<&MachineRecord> {
        self.by_id.get(id).map(|&position| &self.records[position])
    }

    /// The position of a machine: in the list, or after it if only its missing updates were set.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        let unlisted = || self.unlisted().position(|(unlisted, _)| unlisted == id);
        self.by_id.get(id).copied().or_else(|| unlisted().map(|position| self.records.len() + position))
    }

    /// The number of positions.
    pub(super) fn position_count(&self) -> usize {
        self.records.len() + self.unlisted().count()
    }

    /// The record at a position in the list.
    pub(super) fn record_at(&self, position: usize) -> Option<&MachineRecord> {
        self.records.get(position)
    }

    /// The id of a machine after the list, with the updates set for it.
    pub(super) fn unlisted_at(&self, position: usize) -> Option<(&str, &[MissingKb])> {
        self.unlisted().nth(position.checked_sub(self.records.len())?)
    }

    fn unlisted(&self) -> impl Iterator<Item = (&str, &[MissingKb])> {
        let unlisted = self.set.iter().filter(|(id, _)| !self.by_id.contains_key(*id));
        unlisted.map(|(id, missing)| (id.as_str(), missing.as_slice()))
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    /// Stops patching after `today`.
    pub(super) fn stop_patching(&mut self, today: Day) {
        self.pace.last_patched = Some(today);
        self.reported = None;
    }

    /// Starts a rollout: from `now` on, one more of the machines that miss updates installs all of them after each
    /// `every`.
    pub(super) fn start_rollout(&mut self, today: Day, now: Timestamp, every: Duration) {
        let generated = self.records.iter().filter_map(MachineRecord::generated);
        let behind = generated.filter(|machine| !machine.missing(today, self.pace).is_empty());
        self.rollout = Some(Rollout::new(behind, today, now, every));
    }

    /// Drops the data about a machine: its missing updates cannot be read any more.
    pub(super) fn silence(&mut self, id: &str) {
        self.silent.insert(id.to_owned());
    }

    /// Returns whether the missing updates of a machine cannot be read.
    pub(super) fn is_silent(&self, id: &str) -> bool {
        self.silent.contains(id)
    }

    /// The updates that a generated machine misses.
    pub(super) fn updates(&self, machine: &SimulatedMachine, today: Day, now: Timestamp) -> Vec<Update> {
        let mut updates = machine.missing(today, self.pace);
        if let Some(rollout) = &self.rollout {
            updates.retain(|update| !rollout.has_installed(machine, *update, now));
        }
        updates
    }

    /// The updates that a machine missed from `first` on, see [`SimulatedMachine::past`].
    pub(super) fn past(&self, id: &str, first: Day, today: Day) -> Vec<(Day, Vec<MissingKb>)> {
        let Some(machine) = self.record(id).and_then(MachineRecord::generated) else { return Vec::new() };
        let missing = |update: Update| MissingKb {
            id: update.kb(),
            title: update.batch.title(),
            products: vec![machine.system.product_of(update).to_owned()],
            cves: u32::try_from(update.cves()).unwrap_or(u32::MAX),
        };
        let past = machine.past(first, today, self.pace).into_iter();
        past.map(|(day, updates)| (day, updates.into_iter().map(missing).collect())).collect()
    }

    /// The missing updates that a test set, of all machines.
    pub(super) fn all_set(&self) -> impl Iterator<Item = &MissingKb> {
        self.set.values().flatten()
    }

    /// The missing updates that a test set for a machine.
    pub(super) fn set_for(&self, id: &str) -> Option<&[MissingKb]> {
        self.set.get(id).map(Vec::as_slice)
    }

    pub(super) fn record_by_name(&self, name: &str) -> Option<&MachineRecord> {
        self.records.iter().find(|record| match record {
            MachineRecord::Generated(machine) => machine.name.as_deref() == Some(name),
            MachineRecord::Raw(value) => value.get("computerDnsName").and_then(Value::as_str) == Some(name),
        })
    }

    /// The matching records in the order of the list. A realistic list repeats some of them.
    pub(super) fn listing(&self, matches: impl Fn(&MachineRecord) -> bool) -> Vec<&MachineRecord> {
        let chosen: Vec<&MachineRecord> = self.records.iter().filter(|record| matches(record)).collect();
        if self.realism == Realism::Plain {
            return chosen;
        }
        let mut listing = Vec::with_capacity(chosen.len() + chosen.len() / REPEAT_EVERY);
        for (position, &record) in chosen.iter().enumerate() {
            listing.push(record);
            if position % REPEAT_EVERY == REPEAT_EVERY - 1 {
                listing.push(chosen[position - REPEAT_EVERY / 2]);
            }
        }
        listing
    }

    /// The machines in an exporter's scope: not merged, not excluded, with an id.
    pub(super) fn in_scope(&self) -> impl Iterator<Item = &MachineRecord> {
        self.records.iter().filter(|record| match record {
            MachineRecord::Generated(machine) => {
                !matches!(machine.kind, MachineKind::MergedInto(_) | MachineKind::Excluded)
            }
            MachineRecord::Raw(value) => {
                record.id().is_some_and(|id| !id.is_empty())
                    && value["mergedIntoMachineId"].is_null()
                    && value["isExcluded"] != json!(true)
            }
        })
    }

    /// The KB numbers (digits only) that the machine misses, independent of oddities in the reply.
    pub(super) fn missing(&self, id: &str, today: Day, now: Timestamp) -> BTreeSet<String> {
        if let Some(set) = self.set.get(id) {
            return set.iter().map(|kb| kb.id.trim_start_matches(['K', 'B', 'k', 'b']).to_owned()).collect();
        }
        match self.record(id) {
            Some(MachineRecord::Generated(machine)) => {
                self.updates(machine, today, now).into_iter().map(Update::kb).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Answers a getmissingkbs call and counts it.
    pub(super) fn answer(&mut self, id: &str, today: Day, now: Timestamp) -> MissingKbsReply {
        if self.is_silent(id) {
            return MissingKbsReply::NotFound;
        }
        if let Some(body) = self.verbatim.get(id) {
            return MissingKbsReply::Verbatim(body.clone());
        }
        if let Some(set) = self.set.get(id).cloned() {
            self.count_reported(today, now);
            return MissingKbsReply::Entries(set.iter().map(|kb| self.set_entry(kb)).collect());
        }
        let calls = self.calls.entry(id.to_owned()).or_default();
        *calls += 1;
        let first_of_three = *calls % 3 == 1;
        let Some(&position) = self.by_id.get(id) else {
            return MissingKbsReply::NotFound;
        };
        self.count_reported(today, now);
        let MachineRecord::Generated(machine) = &self.records[position] else {
            return MissingKbsReply::Entries(Vec::new());
        };
        if matches!(machine.kind, MachineKind::MergedInto(_)) {
            return MissingKbsReply::NotFound;
        }
        let realistic = self.realism == Realism::Realistic;
        if realistic && machine.index % 29 == 8 && first_of_three {
            return MissingKbsReply::NotFound;
        }
        let mut entries: Vec<Value> =
            self.updates(machine, today, now).into_iter().map(|update| self.entry(machine, update)).collect();
        if realistic {
            add_entry_oddities(&mut entries, machine.index);
        }
        MissingKbsReply::Entries(entries)
    }

    fn entry(&self, machine: &SimulatedMachine, update: Update) -> Value {
        let kb = update.kb();
        json!({
            "id": kb,
            "name": update.batch.title(),
            "osBuild": machine.system.build,
            "productsNames": [machine.system.product_of(update)],
            "url": catalog_url(&kb),
            "machineMissedOn": self.reported(&kb),
            "cveAddressed": update.cves(),
        })
    }

    fn set_entry(&self, kb: &MissingKb) -> Value {
        json!({
            "id": kb.id,
            "name": kb.title,
            "osBuild": 19045,
            "productsNames": kb.products,
            "url": catalog_url(&kb.id),
            "machineMissedOn": self.reported(&kb.id),
            "cveAddressed": kb.cves,
        })
    }

    /// The number of machines that miss a KB today.
    pub(super) fn reported_today(&mut self, kb: &str, today: Day, now: Timestamp) -> u64 {
        self.count_reported(today, now);
        self.reported(kb)
    }

    fn reported(&self, kb: &str) -> u64 {
        self.reported.as_ref().and_then(|(_, counts)| counts.get(kb)).copied().unwrap_or(1)
    }

    /// Counts the machines that miss each KB, once per day and change, and from time to time during a rollout.
    fn count_reported(&mut self, today: Day, now: Timestamp) {
        let rolled_out = self.rollout.as_ref().map_or(0, |rollout| rollout.reached(now));
        let at = (today, rolled_out / (self.records.len() as u64 / 200).max(1));
        if self.reported.as_ref().is_some_and(|(counted_at, _)| *counted_at == at) {
            return;
        }
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut generated: HashMap<Update, u64> = HashMap::new();
        for record in &self.records {
            if let MachineRecord::Generated(machine) = record
                && !self.set.contains_key(&machine.id)
            {
                for update in self.updates(machine, today, now) {
                    *generated.entry(update).or_default() += 1;
                }
            }
        }
        for (update, count) in generated {
            *counts.entry(update.kb()).or_default() += count;
        }
        for kb in self.set.values().flatten() {
            *counts.entry(kb.id.clone()).or_default() += 1;
        }
        self.reported = Some((at, counts));
    }
}

fn catalog_url(kb: &str) -> String {
    let digits = kb.trim_start_matches(['K', 'B', 'k', 'b']);
    format!("https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{digits}")
}
