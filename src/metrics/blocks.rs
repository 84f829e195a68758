//! The machines of a tenant in blocks, each with its rendered samples, so that a change of one machine
//! renders one block again and not the whole tenant.
//!
//! A block starts at each machine whose id hashes to a multiple of the block size. The borders depend only on
//! ids: a machine that comes or goes changes only its own block, and the same machines give the same
//! blocks whatever happened before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkEncoder};
use super::families::{self, Family, MACHINE, MachineSamples, MachineScope, UPDATE};
use crate::exposition::FamilyWriter;
use crate::fleet::Machine;
use crate::model::{DetailLevel, MachineId, OwnLabel};

/// The families of the levels below the fleet level.
pub(super) const MACHINE_TABLES: [&[Family<MachineSamples>]; 2] = [MACHINE, UPDATE];

/// A machine and everything else that its samples depend on.
#[derive(Debug)]
pub(super) struct RenderInput {
    pub(super) machine: Arc<Machine>,
    /// True if its missing updates are exposed.
    pub(super) is_assessed: bool,
    /// As in [`MachineScope`].
    pub(super) overdue: Option<u64>,
    /// Missing updates that fix an exploited CVE; none if not known.
    pub(super) exploited: Option<u64>,
}

impl PartialEq for RenderInput {
    /// A block keeps its machines alive, so a machine at the same address has not changed.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.machine, &other.machine)
            && self.is_assessed == other.is_assessed
            && self.overdue == other.overdue
            && self.exploited == other.exploited
    }
}

impl RenderInput {
    /// The input of the family functions. Without a tenant the labels are empty, which is enough to count.
    fn scope(&self, labels: Option<(&str, &[OwnLabel])>) -> MachineScope<'_> {
        let machine = &*self.machine;
        let of_tenant = labels.map(|(tenant, _)| families::labels(tenant, machine));
        let own_labels = labels.map(|(_, labels)| families::own_labels(labels, machine));
        MachineScope {
            labels: of_tenant.unwrap_or_default(),
            own_labels: own_labels.unwrap_or_default(),
            machine,
            missing_updates: self.is_assessed.then(|| machine.missing_updates()),
            overdue: self.overdue,
            exploited: self.exploited,
        }
    }
}

/// Neighbouring machines of one tenant and their rendered samples.
#[derive(Debug, Default)]
pub(super) struct Block {
    machines: Vec<RenderInput>,
    /// Number of series for each of [`MACHINE_TABLES`].
    series: [u64; 2],
    /// Samples by family, for each of [`MACHINE_TABLES`]; empty while the level is not served.
    samples: [Vec<Chunk>; 2],
    /// True if the samples are those of earlier machines.
    is_outdated: bool,
}

impl Block {
    pub(super) fn series(&self) -> [u64; 2] {
        self.series
    }

    /// The samples of a family; none while its level is not served.
    pub(super) fn samples(&self, level: usize, family: usize) -> Option<&Chunk> {
        self.samples[level].get(family).filter(|chunk| !chunk.is_empty())
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
            let of_family = |family: &Family<MachineSamples>| {
                let mut writer = FamilyWriter::counting(&family.descriptor);
                for scope in &scopes {
                    (family.write)(scope, &mut writer);
                }
                writer.series()
            };
            table.iter().map(of_family).sum()
        })
    }

    /// Renders the levels down to `deepest` where needed, with the tenant and the own labels, and drops deeper ones.
    /// Samples that do not change
    /// share their memory with the previous ones.
    pub(super) fn render(
        &mut self,
        labels: (&str, &[OwnLabel]),
        deepest: DetailLevel,
        encoder: &mut ChunkEncoder,
        text: &mut Vec<u8>,
    ) {
        let mut scopes = Vec::new();
        for (level, table) in MACHINE_TABLES.iter().enumerate() {
            if level >= deepest as usize {
                self.samples[level] = Vec::new();
            } else if self.is_outdated || self.samples[level].is_empty() {
                if scopes.is_empty() {
                    scopes = self.machines.iter().map(|machine| machine.scope(Some(labels))).collect();
                }
                let rendered = table.iter().enumerate().map(|(index, family)| {
                    text.clear();
                    let mut writer = FamilyWriter::writing(&family.descriptor, text);
                    for scope in &scopes {
                        (family.write)(scope, &mut writer);
                    }
                    encoder.chunk(text, self.samples[level].get(index))
                });
                self.samples[level] = rendered.collect();
            }
        }
        self.is_outdated = false;
    }
}

/// The blocks of a tenant by the machine at which they start; the first one by none.
pub(super) type Blocks = BTreeMap<Option<MachineId>, Block>;

/// Average number of machines in a block: few enough that a change costs little, enough that chunks compress
/// well and are few.
pub(super) const MACHINES_PER_BLOCK: u32 = 256;

/// Partitions `machines`, which are in the order of their ids, into blocks. Unchanged blocks are taken from
/// `previous`.
pub(super) fn partition(
    mut previous: Blocks,
    machines: impl Iterator<Item = RenderInput>,
    per_block: u32,
) -> Blocks {
    let mut blocks = Blocks::new();
    let mut end = |start: Option<MachineId>, machines| {
        let block = previous.remove(&start).unwrap_or_default().with(machines);
        blocks.insert(start, block);
    };
    let mut start = None;
    let mut collected = Vec::new();
    for input in machines {
        let id = &input.machine.facts.id;
        if crc32fast::hash(id.as_str().as_bytes()).is_multiple_of(per_block) {
            end(start.replace(id.clone()), std::mem::take(&mut collected));
        }
        collected.push(input);
    }
    end(start, collected);
    blocks
}
