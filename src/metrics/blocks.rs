//! The machines of a tenant in blocks, each with its rows, so that a change renders one block again
//! and not the tenant.
//!
//! A block starts at a machine whose id hashes to it, so its borders depend on nothing but ids: a
//! machine that comes or goes changes the block that it is in, and the same machines make the same
//! blocks whatever happened before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkEncoder};
use super::exposition::FamilyWriter;
use super::families::{self, Family, MACHINE, MachineRows, MachineScope, UPDATE};
use crate::fleet::Machine;
use crate::model::{DetailLevel, MachineId};

/// The families of the levels below the fleet's.
pub(super) const MACHINE_TABLES: [&[Family<MachineRows>]; 2] = [MACHINE, UPDATE];

/// A machine and all else that its rows depend on.
#[derive(Debug)]
pub(super) struct RenderInput {
    pub(super) machine: Arc<Machine>,
    /// Whether its gaps are served.
    pub(super) is_assessed: bool,
    /// Gaps past the shortest deadline; none when it is not judged or there is no policy.
    pub(super) overdue: Option<u64>,
}

impl PartialEq for RenderInput {
    /// A block keeps its machines, so what is at the same place in memory was not changed.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.machine, &other.machine)
            && self.is_assessed == other.is_assessed
            && self.overdue == other.overdue
    }
}

impl RenderInput {
    /// What row functions see. Labels are only written for a `tenant`.
    fn scope(&self, tenant: Option<&str>) -> MachineScope<'_> {
        let machine = &*self.machine;
        let labels = tenant.map(|tenant| families::labels(tenant, machine)).unwrap_or_default();
        MachineScope {
            labels,
            machine,
            missing_updates: self.is_assessed.then(|| machine.missing_updates()),
            overdue: self.overdue,
        }
    }
}

/// Neighbouring machines of one tenant and their rows.
#[derive(Debug, Default)]
pub(super) struct Block {
    machines: Vec<RenderInput>,
    /// Of each of [`MACHINE_TABLES`].
    series: [u64; 2],
    /// FamilyWriter by family, for each of [`MACHINE_TABLES`]; empty while the level is not served.
    rows: [Vec<Chunk>; 2],
    /// Whether the rows are those of earlier machines.
    is_outdated: bool,
}

impl Block {
    pub(super) fn series(&self) -> [u64; 2] {
        self.series
    }

    /// The rows of a family; none while its level is not served.
    pub(super) fn rows(&self, level: usize, family: usize) -> Option<&Chunk> {
        self.rows[level].get(family).filter(|chunk| !chunk.is_empty())
    }

    /// The block with `machines` in it.
    fn with(mut self, machines: Vec<RenderInput>) -> Self {
        if self.machines != machines {
            self.machines = machines;
            self.is_outdated = true;
            self.series = self.count();
        }
        self
    }

    fn count(&self) -> [u64; 2] {
        let scopes: Vec<_> = self.machines.iter().map(|machine| machine.scope(None)).collect();
        MACHINE_TABLES.map(|table| {
            let of_family = |family: &Family<MachineRows>| {
                let mut rows = FamilyWriter::counting(&family.header);
                for scope in &scopes {
                    (family.rows)(scope, &mut rows);
                }
                rows.series()
            };
            table.iter().map(of_family).sum()
        })
    }

    /// Renders what `deepest` needs and is not there, and drops what it does not need. FamilyWriter that come
    /// out as they were share their memory with the earlier ones.
    pub(super) fn render(
        &mut self,
        tenant: &str,
        deepest: DetailLevel,
        press: &mut ChunkEncoder,
        text: &mut Vec<u8>,
    ) {
        let mut scopes = Vec::new();
        for (level, table) in MACHINE_TABLES.iter().enumerate() {
            if level >= deepest as usize {
                self.rows[level] = Vec::new();
            } else if self.is_outdated || self.rows[level].is_empty() {
                if scopes.is_empty() {
                    scopes = self.machines.iter().map(|machine| machine.scope(Some(tenant))).collect();
                }
                let rendered = table.iter().enumerate().map(|(index, family)| {
                    text.clear();
                    let mut rows = FamilyWriter::writing(&family.header, text);
                    for scope in &scopes {
                        (family.rows)(scope, &mut rows);
                    }
                    press.chunk(text, self.rows[level].get(index))
                });
                self.rows[level] = rendered.collect();
            }
        }
        self.is_outdated = false;
    }
}

/// The blocks of a tenant by the machine at which they start; the first one by none.
pub(super) type Blocks = BTreeMap<Option<MachineId>, Block>;

/// Machines in a block on average: short enough that a change costs little, long enough that chunks
/// compress well and are few.
pub(super) const MACHINES_PER_BLOCK: u32 = 256;

/// Puts `machines`, in the order of their ids, into blocks; what stays as it was is taken from
/// `known`.
pub(super) fn cut(mut known: Blocks, machines: impl Iterator<Item = RenderInput>, per_block: u32) -> Blocks {
    let mut blocks = Blocks::new();
    let mut end = |start: Option<MachineId>, machines| {
        let block = known.remove(&start).unwrap_or_default().with(machines);
        blocks.insert(start, block);
    };
    let (mut start, mut gathered) = (None, Vec::new());
    for member in machines {
        let id = &member.machine.facts.id;
        if crc32fast::hash(id.as_str().as_bytes()).is_multiple_of(per_block) {
            end(start.replace(id.clone()), std::mem::take(&mut gathered));
        }
        gathered.push(member);
    }
    end(start, gathered);
    blocks
}
