//! What an update fixes, as far as the export shows it; and the truth about a machine, for tests.
//!
//! The export has a row per machine, CVE and product, so an update appears through its CVEs. At most a few of
//! them are listed per update: the export shows the shape of a real one and not its size. The systems of one
//! batch share their CVEs, as they do in reality. All texts here are ready to stand in a JSON string.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::subject::{Missed, Subject};
use crate::calendar::{Batch, Day};
use crate::fleet::MissingKb;
use crate::random::mix;
use crate::updates::{Update, Windows};

/// A KB that the export shows a machine to miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedKb {
    /// Digits only.
    pub kb: String,
    /// Distinct CVE ids among its rows.
    pub cves: u32,
    /// The highest among them, lower case; none when no row has one.
    pub severity: Option<&'static str>,
    /// The earliest among them.
    pub first_seen: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// As the export writes it.
    pub(super) fn name(self) -> &'static str {
        ["Low", "Medium", "High", "Critical"][self as usize]
    }

    fn label(self) -> &'static str {
        ["low", "medium", "high", "critical"][self as usize]
    }

    /// A score that goes with it.
    pub(super) fn score(self) -> &'static str {
        ["3.3", "6.5", "7.8", "9.8"][self as usize]
    }
}

/// A vulnerability that an update fixes.
pub(super) struct Cve {
    pub(super) id: String,
    pub(super) severity: Option<Severity>,
    pub(super) exploitability: &'static str,
}

/// An update with the CVEs that are shown of it.
pub(super) struct Finding {
    /// As `RecommendedSecurityUpdateId` has it, without oddities.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) released: Day,
    pub(super) products: Vec<String>,
    pub(super) cves: Vec<Cve>,
}

impl Finding {
    fn of(update: Update, system: &Windows, most_cves: usize) -> Self {
        let cves = usize::try_from(update.cves()).unwrap_or(usize::MAX).max(1).min(most_cves.max(1));
        Self {
            id: update.kb(),
            title: update.batch.title(),
            released: update.batch.released(),
            products: vec![update.product(system).to_owned()],
            cves: (0..cves).map(|place| cve(update.batch, place, update.is_dot_net())).collect(),
        }
    }

    /// A KB without CVEs has no rows, here as in the real export.
    fn of_set(kb: &MissingKb, most_cves: usize) -> Self {
        let batch = Batch::of_title(&kb.title).unwrap_or(Batch::JANUARY_2024);
        let cves = usize::try_from(kb.cves).unwrap_or(usize::MAX).min(most_cves.max(1));
        let products: Vec<String> = kb.products.iter().map(|product| escaped(product)).collect();
        Self {
            id: escaped(&kb.id),
            title: escaped(&kb.title),
            released: batch.released(),
            products: if products.is_empty() { vec!["windows_10".to_owned()] } else { products },
            cves: (0..cves).map(|place| cve(batch, place, false)).collect(),
        }
    }

    /// The KB number, when this is one.
    fn kb(&self) -> Option<&str> {
        let digits = self.id.strip_prefix("KB").or(self.id.strip_prefix("kb")).unwrap_or(&self.id);
        let is_kb = matches!(digits.len(), 6 | 7) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_kb.then_some(digits)
    }
}

fn cve(batch: Batch, place: usize, dot_net: bool) -> Cve {
    let months = u64::from(batch.months_since(Batch::JANUARY_2024).unsigned_abs());
    let part = u64::from(dot_net);
    let draw = mix(29, months * 2 + part, place as u64);
    let number = 20_000 + (months % 12) * 2_500 + part * 1_200 + place as u64 * 7 + draw % 7;
    let year = 2024 + batch.months_since(Batch::JANUARY_2024).div_euclid(12);
    let hundredth = (draw >> 8) % 100;
    // The bounds are the shares of critical, high, medium and low in a hundred; the rest has none.
    let bounds = match (dot_net, place) {
        // Every fourth update of .NET has CVEs that nobody rated.
        (true, _) if months % 8 == 4 => [0, 0, 0, 0],
        (true, _) => [0, 15, 70, 100],
        (false, 0) => [50, 92, 98, 99],
        (false, _) => [8, 58, 90, 95],
    };
    let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];
    let place = bounds.iter().position(|&bound| hundredth < bound);
    Cve {
        id: format!("CVE-{year}-{number}"),
        severity: place.map(|place| severities[place]),
        exploitability: match (draw >> 20) % 40 {
            0 => "ExploitIsInKit",
            1 => "ExploitIsVerified",
            2 | 3 => "ExploitIsPublic",
            _ => "NoExploit",
        },
    }
}

/// A text as it stands between the quotes of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Findings by update, made once; there are some dozens of them.
pub(super) struct Findings {
    most_cves: usize,
    known: HashMap<(Update, &'static str), Arc<Finding>>,
}

impl Findings {
    /// At most `most_cves` are listed per update.
    pub(super) fn new(most_cves: usize) -> Self {
        Self { most_cves, known: HashMap::new() }
    }

    pub(super) fn of_update(&mut self, update: Update, system: &'static Windows) -> Arc<Finding> {
        match self.known.entry((update, system.product)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                place.insert(Arc::new(Finding::of(update, system, self.most_cves))).clone()
            }
        }
    }

    /// An update of long ago, for rows that need one.
    pub(super) fn of_update_of_the_past(&mut self, system: &'static Windows) -> Arc<Finding> {
        let [line, _] = system.lines();
        let update = line.update_in(Batch::JANUARY_2024).expect("Safe: this line has an update each month");
        self.of_update(update, system)
    }

    /// What a machine misses, in the order in which it is found.
    pub(super) fn of(&mut self, subject: &Subject<'_>) -> Vec<Arc<Finding>> {
        match &subject.missing {
            Missed::Generated(updates) => {
                updates.iter().map(|&update| self.of_update(update, subject.system)).collect()
            }
            Missed::Set(set) => {
                // One that was set twice counts once, however it is written.
                let mut seen = HashSet::new();
                let findings = set.iter().map(|kb| Finding::of_set(kb, self.most_cves));
                let distinct =
                    findings.filter(|finding| finding.kb().is_none_or(|kb| seen.insert(kb.to_owned())));
                distinct.map(Arc::new).collect()
            }
        }
    }

    /// The KBs that the rows of a machine show it to miss, by number.
    pub(super) fn truth(&mut self, subject: &Subject<'_>, generated: Timestamp) -> Vec<ExportedKb> {
        let shown = self.of(subject).into_iter().filter(|finding| !finding.cves.is_empty());
        let exported = shown.filter_map(|finding| {
            Some(ExportedKb {
                kb: finding.kb()?.to_owned(),
                cves: u32::try_from(finding.cves.len()).unwrap_or(u32::MAX),
                severity: finding.cves.iter().filter_map(|cve| cve.severity).max().map(Severity::label),
                first_seen: subject.first_seen(finding.released, 0, generated),
            })
        });
        let mut exported: Vec<ExportedKb> = exported.collect();
        exported.sort_by(|one, other| one.kb.cmp(&other.kb));
        exported
    }
}
