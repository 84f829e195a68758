//! Machines that are equal in everything that they are counted by, so that each is looked up once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::versions::VersionCell;
use super::{GroupSummary, MachineGroup, MachineVersion, VersionSummary};
use crate::fleet::MachineFacts;
use crate::model::bounded_label;

/// The platform, version and device group of a machine, and the place of its owner. Names that the exposition cuts to the
/// same label value are equal.
type CellKey<'a> = (Cow<'a, str>, Cow<'a, str>, Cow<'a, str>, usize);

/// The cells while machines are counted.
#[derive(Debug, Default)]
pub(super) struct Cells<'a> {
    numbers: HashMap<CellKey<'a>, usize>,
    counts: Vec<CellCounts>,
    /// The number of the cell of each machine.
    of_machines: Vec<usize>,
}

/// Counts of the machines of one cell.
#[derive(Debug, Default)]
pub(super) struct CellCounts {
    pub(super) group: GroupSummary,
    pub(super) version: VersionCell,
}

/// The sums over the cells.
pub(super) struct CellSums {
    pub(super) groups: BTreeMap<MachineGroup, GroupSummary>,
    /// The place among the groups for each machine.
    pub(super) group_of_machine: Vec<usize>,
    pub(super) versions: BTreeMap<MachineVersion, VersionSummary>,
}

impl<'a> Cells<'a> {
    /// The cell of the next machine.
    pub(super) fn of(&mut self, facts: &'a MachineFacts, owner: usize) -> &mut CellCounts {
        let [platform, version, group] =
            [&facts.os_platform, &facts.os_version, &facts.device_group].map(|text| bounded_label(text));
        let number = *self.numbers.entry((platform, version, group, owner)).or_insert(self.counts.len());
        if number == self.counts.len() {
            self.counts.push(CellCounts::default());
        }
        self.of_machines.push(number);
        &mut self.counts[number]
    }

    pub(super) fn finish(self) -> CellSums {
        let Self { numbers, counts, of_machines } = self;
        let mut groups: BTreeMap<MachineGroup, GroupSummary> = BTreeMap::new();
        let mut versions: BTreeMap<MachineVersion, VersionSummary> = BTreeMap::new();
        let mut keys = vec![MachineGroup::default(); counts.len()];
        for ((os_platform, os_version, device_group, owner), number) in numbers {
            let CellCounts { group, version } = &counts[number];
            let key = MachineGroup { owner, ..MachineGroup::from((&*os_platform, &*device_group)) };
            groups.entry(key.clone()).or_default().merge(group);
            keys[number] = key;
            if version.summary.total() > 0 {
                let [os_platform, os_version] = [os_platform, os_version].map(Cow::into_owned);
                let key = MachineVersion { os_platform, os_version };
                versions.entry(key).or_default().merge(&version.summary);
            }
        }
        let places: BTreeMap<_, _> = groups.keys().zip(0_usize..).collect();
        let place_of_cell: Vec<_> = keys.iter().map(|key| places[key]).collect();
        let group_of_machine = of_machines.into_iter().map(|number| place_of_cell[number]).collect();
        CellSums { groups, group_of_machine, versions }
    }
}
