//! One complete export version: the missing updates of each machine, until they are taken out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::cves::CveSet;
use super::packed_timestamp::PackedTimestamp;
use crate::fleet::{DatedUpdate, MachineAnswer, ReportedUpdate, UpdateFacts};
use crate::model::{CvssScore, FixedBuild, KbId, MachineId, Severity};

/// The missing updates of a whole fleet at one time. Compact, because it is held beside the fleet while it is
/// applied.
pub struct Export {
    generated_at: Timestamp,
    rows: u64,
    known: usize,
    of_machines: Box<MachineRows>,
    updates: Vec<(KbId, Arc<UpdateFacts>)>,
    unreadable: UnreadableLines,
}

/// The rows of the machines in scope.
#[derive(Debug)]
pub(super) struct MachineRows {
    /// The machines and their indices in `machines`.
    pub index: HashMap<MachineId, u32>,
    /// The missing updates of each machine. None without a row.
    pub machines: Vec<Option<Vec<PackedUpdate>>>,
    /// The builds that the rows name, by the index of the machine.
    pub builds: HashMap<usize, FixedBuild>,
}

/// The content of an export that cannot be read and may be about a KB.
#[derive(Debug, Default)]
pub(super) struct UnreadableLines {
    /// The ids that are no KBs, by the index of the machine.
    pub ids: HashMap<usize, Vec<Arc<str>>>,
    /// True if the machine of a line could not be read.
    pub of_unknown_machines: bool,
}

/// One KB that one machine misses.
#[derive(Debug)]
pub(super) struct PackedUpdate {
    /// The CVEs, by their numbers within the KB.
    pub cves: CveSet,
    /// The earliest time of all rows.
    pub first_seen: Option<PackedTimestamp>,
    /// The index of the KB.
    pub kb: u32,
    /// The worst severity of all rows.
    pub severity: Option<Severity>,
    /// The highest CVSS score of all rows.
    pub cvss: Option<CvssScore>,
}

const _: () = assert!(size_of::<PackedUpdate>() == 40, "a million of them must fit beside the fleet");

impl Export {
    /// Creates an export. The packed updates hold indices of `updates`.
    pub(super) fn new(
        generated_at: Timestamp,
        rows: u64,
        of_machines: MachineRows,
        updates: Vec<(KbId, Arc<UpdateFacts>)>,
        unreadable: UnreadableLines,
    ) -> Self {
        let known = of_machines.machines.iter().flatten().count();
        Self { generated_at, rows, known, of_machines: Box::new(of_machines), updates, unreadable }
    }

    /// The time at which Defender built the version; the time of the download if the list has no time.
    #[must_use]
    pub fn generated_at(&self) -> Timestamp {
        self.generated_at
    }

    /// The number of usable rows, including those of machines out of scope.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The number of machines in scope with at least one row, taken out or not.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.known
    }

    /// Returns whether the machine is in scope, has a row and has not been taken out yet.
    #[must_use]
    pub fn contains(&self, id: &MachineId) -> bool {
        self.of_machines
            .index
            .get(id)
            .is_some_and(|place| self.of_machines.machines[*place as usize].is_some())
    }

    /// Returns whether the export has lines of which not even the machine can be read.
    #[must_use]
    pub fn has_unreadable_lines(&self) -> bool {
        self.unreadable.of_unknown_machines
    }

    /// Takes out the rows of a machine: its missing updates, sorted by KB, and its unreadable ids. Both may be
    /// empty. Frees their memory, so that little is held twice while the version is applied.
    pub fn take(&mut self, id: &MachineId) -> Option<MachineAnswer> {
        let place = *self.of_machines.index.get(id)? as usize;
        let packed = self.of_machines.machines[place].take()?;
        let mut updates: Vec<_> = packed.into_iter().map(|packed| self.unpack(&packed)).collect();
        updates.sort_unstable_by_key(|dated| dated.update.kb);
        let unreadable = self.unreadable.ids.remove(&place).unwrap_or_default();
        Some(MachineAnswer { updates, unreadable, build: self.of_machines.builds.remove(&place) })
    }

    fn unpack(&self, packed: &PackedUpdate) -> DatedUpdate {
        let (kb, facts) = &self.updates[packed.kb as usize];
        let update = ReportedUpdate {
            kb: *kb,
            facts: Arc::clone(facts),
            cves: Some(packed.cves.len()),
            reported_machines: None,
            severity: packed.severity,
            cvss: packed.cvss,
        };
        DatedUpdate { update, first_seen: packed.first_seen.map(Timestamp::from) }
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
