//! The CVEs of each update in the export, and the expected result of reading it, for tests.
//!
//! The export has a row per machine, CVE and product, so an update appears through its CVEs. Only a few of
//! them are listed per update: the export has the shape of a real one and not its size. The systems of one
//! batch share their CVEs, as in reality. All texts of this module are escaped for a JSON string.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::exported_machine::{ExportedMachine, MachineUpdates};
use crate::calendar::{Batch, Day};
use crate::fleet::MissingKb;
use crate::random::mix;
use crate::releases::WindowsRelease;
use crate::updates::{Update, UpdateLine};

/// A missing KB of a machine, as the export shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedKb {
    /// The number, digits only.
    pub kb: String,
    /// The number of distinct CVE ids among its rows.
    pub cves: u32,
    /// The highest severity among its rows, in lower case. None if no row has one.
    pub severity: Option<&'static str>,
    /// The earliest time among its rows.
    pub first_seen: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CveSeverity {
    Low,
    Medium,
    High,
    Critical,
}

impl CveSeverity {
    /// The name in the export.
    pub(crate) fn name(self) -> &'static str {
        ["Low", "Medium", "High", "Critical"][self as usize]
    }

    fn label(self) -> &'static str {
        ["low", "medium", "high", "critical"][self as usize]
    }

    /// A CVSS score of this severity.
    pub(crate) fn score(self) -> &'static str {
        ["3.3", "6.5", "7.8", "9.8"][self as usize]
    }
}

/// A vulnerability that an update fixes.
pub(crate) struct Cve {
    pub(crate) id: String,
    pub(crate) severity: Option<CveSeverity>,
    pub(super) exploitability: &'static str,
}

/// An update with the CVEs that the export lists for it.
pub(super) struct ExportedUpdate {
    /// The value of `RecommendedSecurityUpdateId`, without oddities.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) released: Day,
    pub(super) products: Vec<String>,
    pub(super) cves: Vec<Cve>,
}

impl ExportedUpdate {
    fn of(update: Update, system: &WindowsRelease, max_cves: usize) -> Self {
        let cves = usize::try_from(update.cves()).unwrap_or(usize::MAX).max(1).min(max_cves.max(1));
        Self {
            id: update.kb(),
            title: update.batch.title(),
            released: update.batch.released(),
            products: vec![system.product_of(update).to_owned()],
            cves: (0..cves).map(|index| cve(update.batch, index, update.is_dot_net())).collect(),
        }
    }

    /// A KB without CVEs has no rows, as in the real export.
    fn of_set(kb: &MissingKb, max_cves: usize) -> Self {
        let batch = Batch::of_title(&kb.title).unwrap_or(Batch::JANUARY_2024);
        let cves = usize::try_from(kb.cves).unwrap_or(usize::MAX).min(max_cves.max(1));
        let products: Vec<String> = kb.products.iter().map(|product| escaped(product)).collect();
        Self {
            id: escaped(&kb.id),
            title: escaped(&kb.title),
            released: batch.released(),
            products: if products.is_empty() { vec!["windows_10".to_owned()] } else { products },
            cves: (0..cves).map(|index| cve(batch, index, false)).collect(),
        }
    }

    /// The KB number, if the id is one.
    fn kb(&self) -> Option<&str> {
        let digits = self.id.strip_prefix("KB").or(self.id.strip_prefix("kb")).unwrap_or(&self.id);
        let is_kb = matches!(digits.len(), 6 | 7) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_kb.then_some(digits)
    }
}

/// A CVE of the batch, by its place among those of the systems or of .NET.
pub(crate) fn cve(batch: Batch, index: usize, dot_net: bool) -> Cve {
    let months = u64::from(batch.months_since(Batch::JANUARY_2024).unsigned_abs());
    let part = u64::from(dot_net);
    let draw = mix(29, months * 2 + part, index as u64);
    let number = 20_000 + (months % 12) * 2_500 + part * 1_200 + index as u64 * 7 + draw % 7;
    let year = 2024 + batch.months_since(Batch::JANUARY_2024).div_euclid(12);
    let percentile = (draw >> 8) % 100;
    // The cumulative shares of critical, high, medium and low, in percent. The rest has no severity.
    let bounds = match (dot_net, index) {
        // Every fourth .NET update has CVEs without a severity.
        (true, _) if months % 8 == 4 => [0, 0, 0, 0],
        (true, _) => [0, 15, 70, 100],
        (false, 0) => [50, 92, 98, 99],
        (false, _) => [8, 58, 90, 95],
    };
    let severities = [CveSeverity::Critical, CveSeverity::High, CveSeverity::Medium, CveSeverity::Low];
    let index = bounds.iter().position(|&bound| percentile < bound);
    Cve {
        id: format!("CVE-{year}-{number}"),
        severity: index.map(|index| severities[index]),
        exploitability: match (draw >> 20) % 40 {
            0 => "ExploitIsInKit",
            1 => "ExploitIsVerified",
            2 | 3 => "ExploitIsPublic",
            _ => "NoExploit",
        },
    }
}

/// Escapes a text for a JSON string, without the quotes.
pub(super) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The updates with their CVEs, each created once; there are some dozens of them.
pub(super) struct UpdateCatalog {
    max_cves: usize,
    updates: HashMap<(Update, &'static str), Arc<ExportedUpdate>>,
}

impl UpdateCatalog {
    /// Creates an empty catalog with at most `max_cves` CVEs per update.
    pub(super) fn new(max_cves: usize) -> Self {
        Self { max_cves, updates: HashMap::new() }
    }

    pub(super) fn of_update(
        &mut self,
        update: Update,
        system: &'static WindowsRelease,
    ) -> Arc<ExportedUpdate> {
        match self.updates.entry((update, system.product)) {
            Entry::Occupied(updates) => updates.get().clone(),
            Entry::Vacant(index) => {
                index.insert(Arc::new(ExportedUpdate::of(update, system, self.max_cves))).clone()
            }
        }
    }

    /// An old update, for rows that need one.
    pub(super) fn of_old_update(&mut self, system: &'static WindowsRelease) -> Arc<ExportedUpdate> {
        let line = system.lines().next().unwrap_or(UpdateLine::of_system(0));
        let update = line.update_in(Batch::JANUARY_2024).expect("Safe: this line has an update each month");
        self.of_update(update, system)
    }

    /// The updates that a machine misses, in the order of its rows.
    pub(super) fn of(&mut self, machine: &ExportedMachine<'_>) -> Vec<Arc<ExportedUpdate>> {
        match &machine.missing {
            MachineUpdates::Generated(updates) => {
                updates.iter().map(|&update| self.of_update(update, machine.system)).collect()
            }
            MachineUpdates::Set(set) => {
                // A KB that was set twice counts once, even if it is spelt differently.
                let mut seen = HashSet::new();
                let updates = set.iter().map(|kb| ExportedUpdate::of_set(kb, self.max_cves));
                let distinct =
                    updates.filter(|update| update.kb().is_none_or(|kb| seen.insert(kb.to_owned())));
                distinct.map(Arc::new).collect()
            }
        }
    }

    /// The KBs that a machine misses according to its rows, by number.
    pub(super) fn expected(
        &mut self,
        machine: &ExportedMachine<'_>,
        generated: Timestamp,
    ) -> Vec<ExportedKb> {
        let listed = self.of(machine).into_iter().filter(|update| !update.cves.is_empty());
        let exported = listed.filter_map(|update| {
            Some(ExportedKb {
                kb: update.kb()?.to_owned(),
                cves: u32::try_from(update.cves.len()).unwrap_or(u32::MAX),
                severity: update.cves.iter().filter_map(|cve| cve.severity).max().map(CveSeverity::label),
                first_seen: machine.first_seen(update.released, 0, generated),
            })
        });
        let mut exported: Vec<ExportedKb> = exported.collect();
        exported.sort_by(|one, other| one.kb.cmp(&other.kb));
        exported
    }
}
