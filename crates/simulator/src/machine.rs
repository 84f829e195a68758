//! A simulated machine: its properties, how fast it is patched, and its record as the API writes it.
//!
//! The updates that a machine misses are a function of the simulated day. Updates are cumulative: installing
//! a newer update of a line also installs the older ones. JSON is written by hand here, so that a field
//! misspelt by a client cannot be misspelt on both sides.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::calendar::{Batch, Day};
use super::default_record::{default_record, fraction};
use super::options::{Patching, Realism};
use super::random::{guid, machine_id, mix};
use super::releases::{CLIENTS, SERVERS, WindowsRelease};
use super::updates::{Update, UpdateLine};

const DAY_SECS: i64 = 24 * 3600;

/// Days since an inactive machine was last seen.
const INACTIVE_DAYS: i32 = 45;

/// Days from a release after which every machine that is patched at all is patched.
const LONGEST_DELAY: i32 = 100;

const RISKS: [&str; 4] = ["None", "Low", "Informational", "Medium"];
const EXPOSURES: [&str; 3] = ["Low", "Medium", "High"];

/// Index of a realistic machine that is listed and active, but absent from the bulk export.
const NEVER_ASSESSED: usize = 15;

/// A device group, and how fast its machines are patched.
#[derive(Debug)]
struct SimulatedGroup {
    id: u32,
    name: &'static str,
    systems: &'static [WindowsRelease],
    site: &'static str,
    /// The tag with the team that owns a machine, one for each second machine; none for machines without a team.
    teams: [Option<&'static str>; 2],
    /// Days from Update Tuesday until the first machines are patched, and until the last.
    patched_after_days: (u64, u64),
    /// Machines out of a hundred that are never patched.
    neglected: u64,
}

const GROUPS: [SimulatedGroup; 6] = [
    group(12, "Clients HQ", &CLIENTS, "hq", (2, 12), 1).owned_by(["team:workplace"; 2]),
    group(140, "Servers Production", &SERVERS, "prod", (9, 28), 2)
        .owned_by(["team:payments", "team:web shop"]),
    group(17, "Clients Branch Offices", &CLIENTS, "branch", (5, 35), 5).owned_by(["team:workplace"; 2]),
    group(141, "Servers Test", &SERVERS, "test", (1, 7), 0).owned_by(["team:web shop", "team:payments"]),
    // The tag was typed by hand, in another case.
    group(23, "Shop Floor", &CLIENTS, "floor", (20, 75), 15).owned_by(["team:plant", "Team:plant"]),
    group(5678, "Kiosks", &CLIENTS, "kiosk", (4, 20), 4),
];

const fn group(
    id: u32,
    name: &'static str,
    systems: &'static [WindowsRelease],
    site: &'static str,
    patched_after_days: (u64, u64),
    neglected: u64,
) -> SimulatedGroup {
    SimulatedGroup { id, name, systems, site, teams: [None; 2], patched_after_days, neglected }
}

impl SimulatedGroup {
    const fn owned_by(self, [first, second]: [&'static str; 2]) -> Self {
        Self { teams: [Some(first), Some(second)], ..self }
    }
}

/// The circumstances of all machines that decide which updates they miss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The number of updates that every ordinary machine misses, if it is fixed.
    pub(super) missing_per_machine: Option<usize>,
    /// The last day on which machines install updates, if patching has stopped.
    pub(super) last_patched: Option<Day>,
}

/// The kind of a machine, as Defender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MachineKind {
    Ordinary,
    /// Runs Ubuntu: listed, and never misses a KB.
    Linux,
    /// Not seen for 45 days: Defender has dropped its missing updates.
    Inactive,
    /// The same computer as another record, which replaces this one.
    MergedInto(String),
    Excluded,
}

/// A generated machine.
#[derive(Debug)]
pub(super) struct SimulatedMachine {
    pub(super) id: String,
    /// Position in the fleet. Oddities depend on it.
    pub(super) index: usize,
    pub(super) name: Option<String>,
    pub(super) system: &'static WindowsRelease,
    pub(super) kind: MachineKind,
    pub(super) tags: Vec<&'static str>,
    group: Option<&'static SimulatedGroup>,
    realism: Realism,
    patching: Patching,
    seed: u64,
}

impl Pace {
    /// The newest day of which installations count on `today`.
    fn installing_day(self, today: Day) -> Day {
        self.last_patched.map_or(today, |last| last.min(today))
    }
}

impl SimulatedMachine {
    pub(super) fn generate(seed: u64, index: usize, realism: Realism, patching: Patching) -> Self {
        let group = &GROUPS[index % GROUPS.len()];
        let draw = mix(seed, index as u64, 1);
        // The first system of each group is the most common one.
        let system = &group.systems[(draw % 5) as usize % group.systems.len()];
        let mut tags = vec![group.site];
        if index.is_multiple_of(3) {
            tags.push("production");
        }
        tags.extend(group.teams[index / GROUPS.len() % 2]);
        let mut machine = Self {
            id: machine_id(seed, index as u64),
            index,
            name: Some(format!("{}-{:04}.corp.example", group.site, index + 1)),
            system,
            kind: MachineKind::Ordinary,
            tags,
            group: Some(group),
            realism,
            patching,
            seed,
        };
        if realism == Realism::Realistic {
            machine.system = WindowsRelease::of_realistic(index, group.site, system);
            machine.add_oddity();
        }
        if machine.system.has_extended_updates() {
            machine.tags.push("esu");
        }
        machine
    }

    fn add_oddity(&mut self) {
        let number = self.index + 1;
        let site = self.group.map_or("", |group| group.site);
        match self.index {
            7 => self.name = None,
            11 => self.name = Some("Anna's \"iPad\" (new) [2]\n<script>alert(1)</script> \\".to_owned()),
            13 => self.kind = MachineKind::Linux,
            19 => self.kind = MachineKind::Inactive,
            // Reverses the direction of writing, and is longer than the usual `label_value_length_limit`.
            31 => self.name = Some(format!("photo\u{202e}gpj.exe{}", "-and-so-on".repeat(60))),
            index if index % 9 == 2 => self.name = Some(format!("{}-{number:04}", site.to_uppercase())),
            index if index % 9 == 5 => self.name = Some(format!("Lab-{site}-{number:04}.Corp.Example")),
            index if index % 23 == 22 => self.group = None,
            _ => {}
        }
    }

    /// Returns whether the bulk export has rows about the machine.
    pub(super) fn is_assessed(&self) -> bool {
        let is_never_assessed = self.realism == Realism::Realistic && self.index == NEVER_ASSESSED;
        matches!(self.kind, MachineKind::Ordinary | MachineKind::Linux) && !is_never_assessed
    }

    /// The updates that the machine misses on `today`, newest first in each line. With `missing_per_machine`,
    /// that many updates, no matter how fast the machine is patched.
    pub(super) fn missing(&self, today: Day, pace: Pace) -> Vec<Update> {
        if self.kind == MachineKind::Ordinary {
            self.offered_and_not_installed(today, pace)
        } else {
            Vec::new()
        }
    }

    /// The updates that the machine missed from `first` on: on that day, and on each later day of a change. Empty for
    /// a machine that was never assessed. An inactive one has a past until it was last seen.
    pub(super) fn past(&self, first: Day, today: Day, pace: Pace) -> Vec<(Day, Vec<Update>)> {
        let last = match self.kind {
            MachineKind::Ordinary => today,
            MachineKind::Inactive => today.plus(-INACTIVE_DAYS),
            MachineKind::Linux | MachineKind::MergedInto(_) | MachineKind::Excluded => return Vec::new(),
        };
        let mut past: Vec<(Day, Vec<Update>)> = Vec::new();
        for day in self.days_of_change(first, last) {
            let missing = self.offered_and_not_installed(day, pace);
            if past.last().is_none_or(|(_, before)| *before != missing) {
                past.push((day, missing));
            }
        }
        past
    }

    /// The first day, and the later ones on which an update is released for the machine or installed on it.
    fn days_of_change(&self, first: Day, last: Day) -> BTreeSet<Day> {
        let mut days = BTreeSet::from([first]);
        let batches =
            Batch::released_by(last).take_while(|batch| batch.released() > first.plus(-LONGEST_DELAY));
        for batch in batches {
            days.insert(batch.released());
            let updates =
                self.system.lines().filter_map(|line| Some((line.number(), line.update_in(batch)?)));
            days.extend(updates.filter_map(|(line, update)| self.installed_on(update, line)));
        }
        days.retain(|day| (first..=last).contains(day));
        days
    }

    /// Returns whether the machine is never patched.
    pub(super) fn is_neglected(&self) -> bool {
        mix(self.seed, self.index as u64, 2) % 100 < self.patched_after().2
    }

    /// A number that orders the machines of a fleet in no visible way.
    pub(super) fn place(&self) -> u64 {
        mix(self.seed, self.index as u64, 7)
    }

    fn offered_and_not_installed(&self, today: Day, pace: Pace) -> Vec<Update> {
        let lines = self.system.lines();
        if let Some(missing_per_machine) = pace.missing_per_machine {
            let of_batch = |batch| lines.clone().filter_map(move |line| line.update_in(batch));
            return Batch::released_by(today).flat_map(of_batch).take(missing_per_machine).collect();
        }
        let mut missing = Vec::new();
        for line in lines {
            missing
                .extend(self.offered(line, today).take_while(|update| {
                    !self.installed(*update, line.number(), pace.installing_day(today))
                }));
        }
        missing
    }

    /// The newest installed update, unless it is too old to be listed.
    pub(super) fn newest_installed(&self, today: Day, pace: Pace) -> Option<Update> {
        let line = self.system.lines().next()?;
        let mut updates = self.offered(line, today);
        updates.find(|update| self.installed(*update, line.number(), pace.installing_day(today)))
    }

    /// The updates of a line that the machine can miss on `today`, newest first.
    fn offered(&self, line: UpdateLine, today: Day) -> impl Iterator<Item = Update> {
        let system = self.system;
        let batches = Batch::listed_on(today).filter(|batch| system.is_serviced_in(*batch));
        batches.filter_map(move |batch| line.update_in(batch))
    }

    /// Days from Update Tuesday until machines like this one are patched at the earliest and at the latest, and
    /// how many out of a hundred are never patched.
    fn patched_after(&self) -> (u64, u64, u64) {
        match (self.patching, self.group) {
            (Patching::Ordinary, _) if mix(self.seed, self.index as u64, 6) % 100 < 4 => (20, 40, 0),
            (Patching::Ordinary, _) => (1, 8, 3),
            (Patching::ByGroup, None) => (10, 30, 0),
            (Patching::ByGroup, Some(group)) => {
                let (first, last) = group.patched_after_days;
                (first, last, group.neglected)
            }
        }
    }

    fn installed(&self, update: Update, line: u64, today: Day) -> bool {
        self.installed_on(update, line).is_some_and(|day| day <= today)
    }

    /// The day on which the machine installs an update; none if it is never patched.
    fn installed_on(&self, update: Update, line: u64) -> Option<Day> {
        if self.is_neglected() {
            return None;
        }
        let (first, last, _) = self.patched_after();
        let index = self.index as u64;
        let base_delay = first + mix(self.seed, index, 3) % (last - first + 1);
        let month = u64::from(update.batch.months_since(Batch::JANUARY_2024).unsigned_abs());
        let delay = base_delay + mix(self.seed ^ index, month, line) % 5;
        Some(update.batch.released().plus(i32::try_from(delay).unwrap_or(i32::MAX)))
    }

    /// The id and the name of the device group.
    pub(super) fn group(&self) -> Option<(u64, &'static str)> {
        self.group.map(|group| (u64::from(group.id), group.name))
    }

    /// The value of a field that `$filter` may name, spelt as the API spells it.
    pub(super) fn field(&self, name: &str, now: Timestamp) -> Option<Value> {
        Some(match name {
            "id" => json!(self.id),
            "computerDnsName" => json!(self.name),
            "osPlatform" => json!(self.platform()),
            "version" => json!(self.version()),
            "healthStatus" => json!(self.health()),
            _ => self.record(now).remove(name)?,
        })
    }

    pub(super) fn platform(&self) -> &'static str {
        if self.kind == MachineKind::Linux { "Ubuntu" } else { self.system.platform }
    }

    fn version(&self) -> &'static str {
        if self.kind == MachineKind::Linux { "22.4" } else { self.system.version }
    }

    fn health(&self) -> &'static str {
        match self.kind {
            MachineKind::Inactive | MachineKind::MergedInto(_) => "Inactive",
            _ => "Active",
        }
    }

    /// The time of the last full report: within the last day, or long ago.
    pub(super) fn last_seen(&self, now: Timestamp) -> Timestamp {
        let phase = (mix(self.seed, self.index as u64, 4) % 86_400).cast_signed();
        let since = (now.as_second() + phase).rem_euclid(DAY_SECS) + 1;
        match self.kind {
            MachineKind::Inactive | MachineKind::MergedInto(_) => {
                now - SignedDuration::from_secs(since + i64::from(INACTIVE_DAYS) * DAY_SECS)
            }
            _ => now - SignedDuration::from_secs(since),
        }
    }

    /// The record of the machine in `/api/machines`.
    pub(super) fn record(&self, now: Timestamp) -> Map<String, Value> {
        let index = self.index as u64;
        let draw = mix(self.seed, index, 5);
        let merged_into = match &self.kind {
            MachineKind::MergedInto(other) => json!(other),
            _ => Value::Null,
        };
        let excluded = self.kind == MachineKind::Excluded;
        let first_seen = Timestamp::UNIX_EPOCH
            + SignedDuration::from_secs(1_680_000_000 + (draw % 50_000_000).cast_signed());
        let mut record = default_record(&self.id, self.name.as_deref());
        let properties = json!({
            "firstSeen": fraction(first_seen, 7),
            "lastSeen": fraction(self.last_seen(now), if self.index % 4 == 3 { 6 } else { 7 }),
            "osPlatform": self.platform(),
            "version": self.version(),
            "osBuild": if self.kind == MachineKind::Linux { Value::Null } else { json!(self.system.build) },
            "lastIpAddress": format!("10.{}.{}.{}", self.index % 6, draw % 256, 1 + (draw >> 8) % 254),
            "lastExternalIpAddress": format!("203.0.113.{}", 1 + draw % 254),
            "healthStatus": self.health(),
            "rbacGroupId": self.group.map_or(0, |group| group.id),
            "rbacGroupName": self.group.map(|group| group.name),
            "riskScore": RISKS[(draw % 4) as usize],
            "exposureLevel": EXPOSURES[(draw >> 4) as usize % 3],
            "machineTags": self.tags,
            "aadDeviceId": guid(self.seed, index),
        });
        let duplication = json!({
            "mergedIntoMachineId": merged_into,
            "isPotentialDuplication": matches!(self.kind, MachineKind::MergedInto(_)),
            "isExcluded": excluded,
            "exclusionReason": if excluded { json!("InactiveMachine") } else { Value::Null },
        });
        for part in [properties, duplication] {
            if let Value::Object(part) = part {
                record.extend(part);
            }
        }
        if self.realism == Realism::Realistic {
            self.add_record_oddities(&mut record);
        }
        record
    }

    /// Changes types and fields as they differ between the records of one real reply.
    fn add_record_oddities(&self, record: &mut Map<String, Value>) {
        let (field, value) = match self.index % 10 {
            1 => ("previewInsights", json!({"scores": [1, null], "source": {}})),
            3 => ("osBuild", json!(self.system.build.map(|build| build.to_string()))),
            6 => ("rbacGroupId", json!(record["rbacGroupId"].to_string())),
            8 => ("riskScore", Value::Null),
            9 => ("onboardingStatus", json!("onboarded")),
            _ => return,
        };
        record.insert(field.to_owned(), value);
    }
}
