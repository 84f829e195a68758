//! One whole export: what it knows of each machine, until that is taken out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::cves::CveSet;
use super::packed_timestamp::PackedTimestamp;
use crate::fleet::{Finding, KbId, MachineId, ReportedUpdate, Severity, UpdateFacts};

/// The findings of a whole fleet at one time. Small: it stands beside the fleet while it is applied.
pub struct Export {
    generated_at: Timestamp,
    rows: u64,
    known: usize,
    index: HashMap<MachineId, u32>,
    machines: Vec<Option<Vec<Pair>>>,
    updates: Vec<(KbId, Arc<UpdateFacts>)>,
}

/// One machine that misses one KB.
#[derive(Debug)]
pub(super) struct Pair {
    /// By the numbers that the KB gave them.
    pub cves: CveSet,
    /// The earliest time of any row.
    pub first_seen: Option<PackedTimestamp>,
    /// Place of the KB.
    pub kb: u32,
    /// The worst of any row.
    pub severity: Option<Severity>,
}

const _: () = assert!(size_of::<Pair>() == 40, "a million pairs have to fit beside the fleet");

impl Export {
    /// `index` leads to `machines`, and the pairs of these to `updates`.
    pub(super) fn new(
        generated_at: Timestamp,
        rows: u64,
        index: HashMap<MachineId, u32>,
        machines: Vec<Option<Vec<Pair>>>,
        updates: Vec<(KbId, Arc<UpdateFacts>)>,
    ) -> Self {
        let known = machines.iter().flatten().count();
        Self { generated_at, rows, known, index, machines, updates }
    }

    /// When Defender built the snapshot; the time of the download when the list did not tell.
    #[must_use]
    pub fn generated_at(&self) -> Timestamp {
        self.generated_at
    }

    /// Usable rows, of machines out of scope too.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many machines in scope had a row, taken out or not.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.known
    }

    /// Whether the machine is in scope, has a row and was not taken out yet.
    #[must_use]
    pub fn contains(&self, id: &MachineId) -> bool {
        self.index.get(id).is_some_and(|place| self.machines[*place as usize].is_some())
    }

    /// Takes out the findings of a machine that has rows, by KB; possibly there are none. Frees their
    /// memory, so that little is held twice while a snapshot is applied.
    pub fn take(&mut self, id: &MachineId) -> Option<Vec<Finding>> {
        let place = *self.index.get(id)?;
        let pairs = self.machines[place as usize].take()?;
        let mut findings: Vec<_> = pairs.into_iter().map(|pair| self.finding(&pair)).collect();
        findings.sort_unstable_by_key(|finding| finding.update.kb);
        Some(findings)
    }

    fn finding(&self, pair: &Pair) -> Finding {
        let (kb, facts) = &self.updates[pair.kb as usize];
        let update = ReportedUpdate {
            kb: *kb,
            facts: Arc::clone(facts),
            cves: Some(pair.cves.len()),
            reported_machines: None,
            severity: pair.severity,
        };
        Finding { update, first_seen: pair.first_seen.map(Timestamp::from) }
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("generated_at", &self.generated_at)
            .field("rows", &self.rows)
            .field("machines", &self.known)
            .finish_non_exhaustive()
    }
}
