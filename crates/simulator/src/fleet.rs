//! The machines of the simulated tenant and what they miss.
//!
//! Generated machines follow from the seed; what a test adds, removes or sets by hand lies on top. The number
//! of machines in scope is exactly what was asked for: a merged, an excluded and an unusable record come
//! besides it, and the last machine of an awkward fleet is an inactive twin of the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::body::Bytes;
use serde_json::{Value, json};

use super::calendar::Day;
use super::machine::{Machine, Standing};
use super::record::Record;
use super::updates::Update;
use super::{Awkwardness, Options};

/// A fleet smaller than this gets no twin.
const SMALLEST_WITH_TWIN: usize = 24;

/// Every so many records, one from further up is listed again.
const REPEAT_EVERY: usize = 37;

/// An update that a test gives to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKb {
    /// As it goes over the wire; the API writes digits.
    pub id: String,
    /// The batch, as in `March 2020 Security Updates`.
    pub title: String,
    /// Short product names.
    pub products: Vec<String>,
    /// `cveAddressed`.
    pub cves: u32,
}

impl MissingKb {
    /// A Windows 10 update that fixes ten CVEs.
    #[must_use]
    pub fn new(id: &str, title: &str) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), products: vec!["windows_10".to_owned()], cves: 10 }
    }
}

/// What a machine's getmissingkbs says.
pub(super) enum Missing {
    Entries(Vec<Value>),
    /// These bytes, whatever they are.
    Verbatim(Bytes),
    NotFound,
}

/// All machines.
pub(super) struct Fleet {
    records: Vec<Record>,
    by_id: HashMap<String, usize>,
    awkwardness: Awkwardness,
    /// Updates that every ordinary machine misses, whatever its habit.
    backlog: Option<usize>,
    set: BTreeMap<String, Vec<MissingKb>>,
    verbatim: HashMap<String, Bytes>,
    asked: HashMap<String, u64>,
    reported: Option<(Day, HashMap<String, u64>)>,
}

impl Fleet {
    pub(super) fn generate(options: &Options) -> Self {
        let Options { seed, machines, awkwardness, backlog, .. } = *options;
        let mut records: Vec<Record> = (0..machines)
            .map(|index| Record::Generated(Box::new(Machine::generate(seed, index, awkwardness))))
            .collect();
        if awkwardness == Awkwardness::Real {
            add_oddities(&mut records, seed, machines);
        }
        let mut fleet = Self {
            records,
            by_id: HashMap::new(),
            awkwardness,
            backlog,
            set: BTreeMap::new(),
            verbatim: HashMap::new(),
            asked: HashMap::new(),
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
            .filter_map(|(place, record)| Some((record.id()?.to_owned(), place)))
            .collect();
    }

    pub(super) fn add(&mut self, record: Value) {
        let record = Record::Raw(record);
        self.reported = None;
        let Some(id) = record.id() else {
            return self.records.push(record);
        };
        if let Some(&place) = self.by_id.get(id) {
            self.records[place] = record;
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

    pub(super) fn record(&self, id: &str) -> Option<&Record> {
        self.by_id.get(id).map(|&place| &self.records[place])
    }

    /// Where a machine stands: in the list, or after it when it is known only by what it misses.
    pub(super) fn place(&self, id: &str) -> Option<usize> {
        let unlisted = || self.unlisted().position(|(unlisted, _)| unlisted == id);
        self.by_id.get(id).copied().or_else(|| unlisted().map(|place| self.records.len() + place))
    }

    /// One more than the last place.
    pub(super) fn places(&self) -> usize {
        self.records.len() + self.unlisted().count()
    }

    /// The record at a place; none after the list.
    pub(super) fn record_at(&self, place: usize) -> Option<&Record> {
        self.records.get(place)
    }

    /// A machine after the list, and what it misses.
    pub(super) fn unlisted_at(&self, place: usize) -> Option<(&str, &[MissingKb])> {
        self.unlisted().nth(place.checked_sub(self.records.len())?)
    }

    fn unlisted(&self) -> impl Iterator<Item = (&str, &[MissingKb])> {
        let unlisted = self.set.iter().filter(|(id, _)| !self.by_id.contains_key(*id));
        unlisted.map(|(id, missing)| (id.as_str(), missing.as_slice()))
    }

    pub(super) fn backlog(&self) -> Option<usize> {
        self.backlog
    }

    /// What a machine was told to miss.
    pub(super) fn set_for(&self, id: &str) -> Option<&[MissingKb]> {
        self.set.get(id).map(Vec::as_slice)
    }

    pub(super) fn record_by_name(&self, name: &str) -> Option<&Record> {
        self.records.iter().find(|record| match record {
            Record::Generated(machine) => machine.name.as_deref() == Some(name),
            Record::Raw(value) => value.get("computerDnsName").and_then(Value::as_str) == Some(name),
        })
    }

    /// The records that match, in the order of the listing; an awkward one repeats some.
    pub(super) fn listing(&self, matches: impl Fn(&Record) -> bool) -> Vec<&Record> {
        let chosen: Vec<&Record> = self.records.iter().filter(|record| matches(record)).collect();
        if self.awkwardness == Awkwardness::None {
            return chosen;
        }
        let mut listing = Vec::with_capacity(chosen.len() + chosen.len() / REPEAT_EVERY);
        for (place, &record) in chosen.iter().enumerate() {
            listing.push(record);
            if place % REPEAT_EVERY == REPEAT_EVERY - 1 {
                listing.push(chosen[place - REPEAT_EVERY / 2]);
            }
        }
        listing
    }

    /// The machines an exporter would judge: not merged, not excluded, with an id.
    pub(super) fn in_scope(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| match record {
            Record::Generated(machine) => {
                !matches!(machine.standing, Standing::MergedInto(_) | Standing::Excluded)
            }
            Record::Raw(value) => {
                record.id().is_some_and(|id| !id.is_empty())
                    && value["mergedIntoMachineId"].is_null()
                    && value["isExcluded"] != json!(true)
            }
        })
    }

    /// The KB numbers, digits only, that the machine really misses.
    pub(super) fn missing(&self, id: &str, today: Day) -> BTreeSet<String> {
        if let Some(set) = self.set.get(id) {
            return set.iter().map(|kb| kb.id.trim_start_matches(['K', 'B', 'k', 'b']).to_owned()).collect();
        }
        match self.record(id) {
            Some(Record::Generated(machine)) => {
                machine.missing(today, self.backlog).into_iter().map(Update::kb).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Answers a getmissingkbs call, and remembers that it was made.
    pub(super) fn answer(&mut self, id: &str, today: Day) -> Missing {
        if let Some(body) = self.verbatim.get(id) {
            return Missing::Verbatim(body.clone());
        }
        if let Some(set) = self.set.get(id).cloned() {
            self.count_reported(today);
            return Missing::Entries(set.iter().map(|kb| self.set_entry(kb)).collect());
        }
        let asked = self.asked.entry(id.to_owned()).or_default();
        *asked += 1;
        let first_of_three = *asked % 3 == 1;
        let Some(&place) = self.by_id.get(id) else {
            return Missing::NotFound;
        };
        self.count_reported(today);
        let Record::Generated(machine) = &self.records[place] else {
            return Missing::Entries(Vec::new());
        };
        if matches!(machine.standing, Standing::MergedInto(_)) {
            return Missing::NotFound;
        }
        let awkward = self.awkwardness == Awkwardness::Real;
        if awkward && machine.index % 29 == 8 && first_of_three {
            return Missing::NotFound;
        }
        let mut entries: Vec<Value> = machine
            .missing(today, self.backlog)
            .into_iter()
            .map(|update| self.entry(machine, update))
            .collect();
        if awkward {
            spoil(&mut entries, machine.index);
        }
        Missing::Entries(entries)
    }

    fn entry(&self, machine: &Machine, update: Update) -> Value {
        let kb = update.kb();
        json!({
            "id": kb,
            "name": update.batch.title(),
            "osBuild": machine.system.build,
            "productsNames": [update.product(machine.system)],
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

    fn reported(&self, kb: &str) -> u64 {
        self.reported.as_ref().and_then(|(_, counts)| counts.get(kb)).copied().unwrap_or(1)
    }

    /// Counts the machines that miss each KB, once per day and change.
    fn count_reported(&mut self, today: Day) {
        if self.reported.as_ref().is_some_and(|(day, _)| *day == today) {
            return;
        }
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut generated: HashMap<Update, u64> = HashMap::new();
        for record in &self.records {
            if let Record::Generated(machine) = record
                && !self.set.contains_key(&machine.id)
            {
                for update in machine.missing(today, self.backlog) {
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
        self.reported = Some((today, counts));
    }
}

/// Records besides the fleet that was asked for, and a twin within it.
fn add_oddities(records: &mut Vec<Record>, seed: u64, machines: usize) {
    let named_like_first = |place: usize, standing: Standing| -> Option<Box<Machine>> {
        let first = match records.first() {
            Some(Record::Generated(first)) => first.name.clone(),
            _ => return None,
        };
        let mut machine = Machine::generate(seed, place, Awkwardness::Real);
        machine.name = first;
        machine.standing = standing;
        Some(Box::new(machine))
    };
    let first_id = machine_id_of_first(seed);
    let merged = named_like_first(machines, Standing::MergedInto(first_id));
    let twin = named_like_first(machines.saturating_sub(1), Standing::Inactive);
    if machines >= SMALLEST_WITH_TWIN
        && let (Some(twin), Some(last)) = (twin, records.last_mut())
    {
        *last = Record::Generated(twin);
    }
    records.extend(merged.map(Record::Generated));
    let mut excluded = Machine::generate(seed, machines + 1, Awkwardness::Real);
    excluded.standing = Standing::Excluded;
    records.push(Record::Generated(Box::new(excluded)));
    for id in [Value::Null, json!(""), json!(7)] {
        records.push(Record::Raw(json!({
            "id": id, "computerDnsName": "no-id.corp.example", "osPlatform": "Windows10", "healthStatus": "Active",
        })));
    }
}

fn machine_id_of_first(seed: u64) -> String {
    super::random::machine_id(seed, 0)
}

fn catalog_url(kb: &str) -> String {
    let digits = kb.trim_start_matches(['K', 'B', 'k', 'b']);
    format!("https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{digits}")
}

/// Gives the entries of some machines the oddities seen in real replies.
fn spoil(entries: &mut Vec<Value>, index: usize) {
    for entry in entries.iter_mut() {
        match index % 5 {
            1 => entry["osBuild"] = json!(entry["osBuild"].to_string()),
            2 => entry["osBuild"] = Value::Null,
            _ => {}
        }
        if index % 7 == 3 {
            entry["productsNames"] = Value::Null;
        }
        if index % 17 == 5 {
            entry["id"] = json!(format!("KB{}", entry["id"].as_str().unwrap_or_default()));
        }
    }
    if index % 11 == 4
        && let Some(first) = entries.first().cloned()
    {
        entries.push(first);
    }
    if index % 13 == 6
        && let Some(mut first) = entries.first().cloned()
    {
        first["id"] = Value::Null;
        entries.push(first);
    }
}
