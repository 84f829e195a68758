//! The own labels of the machines of a tenant.
//!
//! The values of all own labels of a machine are its owner. A label has at most 50 values in a tenant; the
//! machines of the others are counted together, so that sums stay right whatever the tags are.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::TenantFleet;
use crate::model::{OwnLabel, bounded_label};

/// The highest number of values of an own label in a tenant, with the empty one and [`OTHER`].
pub(super) const MAX_VALUES: usize = 50;

/// The value that stands for those that are not kept.
pub(super) const OTHER: &str = "other";

/// The values of the own labels of a machine, in the order of the labels.
pub type Owner = Box<[Box<str>]>;

/// The owners of the machines of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Every owner, sorted; at least one.
    list: Vec<Owner>,
    /// The place in `list` for each machine, in the order of the fleet; empty if there is one owner.
    of_machines: Vec<usize>,
}

impl Default for Owners {
    /// Without own labels, all machines have one owner.
    fn default() -> Self {
        Self { list: vec![Owner::default()], of_machines: Vec::new() }
    }
}

impl Owners {
    /// The owners of the machines of `fleet`. A tenant without machines has the owner with empty values.
    #[must_use]
    pub fn of(fleet: &TenantFleet, labels: &[OwnLabel]) -> Self {
        if labels.is_empty() || fleet.machines.is_empty() {
            let unowned = labels.iter().map(|_| Box::default()).collect();
            return Self { list: vec![unowned], of_machines: Vec::new() };
        }
        let mut written = WrittenOwners::default();
        let mut by_tags: HashMap<Option<&[String]>, usize> = HashMap::new();
        let mut of_machines = Vec::with_capacity(fleet.machines.len());
        for machine in fleet.machines.values() {
            let tags = machine.facts.tags.as_deref();
            let owner = *by_tags.entry(tags).or_insert_with(|| written.add(labels, tags));
            written.machines[owner] += 1;
            of_machines.push(owner);
        }
        let folded = written.folded(labels.len());
        let list: Vec<_> = folded.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let place = |owner| list.binary_search(owner).expect("Safe: the list has every folded owner");
        let places: Vec<_> = folded.iter().map(place).collect();
        for owner in &mut of_machines {
            *owner = places[*owner];
        }
        Self { list, of_machines }
    }

    /// Every owner, sorted.
    #[must_use]
    pub fn list(&self) -> &[Owner] {
        &self.list
    }

    /// The place in the list of the owner of the machine with this place in the fleet.
    #[must_use]
    pub fn of_machine(&self, place: usize) -> usize {
        self.of_machines.get(place).copied().unwrap_or(0)
    }

    /// Makes one owner of all, each of whose values is `other`.
    pub(super) fn fold(&mut self) {
        let labels = self.list[0].len();
        *self = Self { list: vec![vec![OTHER.into(); labels].into()], of_machines: Vec::new() };
    }
}

/// The owners as the tags name them, before values are folded.
#[derive(Default)]
struct WrittenOwners<'a> {
    places: HashMap<Vec<Cow<'a, str>>, usize>,
    /// The machines of each owner.
    machines: Vec<u64>,
}

impl<'a> WrittenOwners<'a> {
    /// The place of the owner that tags name.
    fn add(&mut self, labels: &[OwnLabel], tags: Option<&'a [String]>) -> usize {
        let values = labels.iter().map(|label| bounded_label(label.value(tags))).collect();
        let place = *self.places.entry(values).or_insert(self.machines.len());
        if place == self.machines.len() {
            self.machines.push(0);
        }
        place
    }

    /// The owners in their order, with `other` for every value that is not kept.
    fn folded(self, labels: usize) -> Vec<Owner> {
        let kept: Vec<_> = (0..labels).map(|label| self.kept_values(label)).collect();
        let mut owners = vec![Owner::default(); self.machines.len()];
        for (values, place) in &self.places {
            let value = |(value, kept): (&Cow<'a, str>, &Option<BTreeSet<&str>>)| -> Box<str> {
                let is_kept = kept.as_ref().is_none_or(|kept| kept.contains(&**value));
                if is_kept { (**value).into() } else { OTHER.into() }
            };
            owners[*place] = values.iter().zip(&kept).map(value).collect();
        }
        owners
    }

    /// The values of a label that are kept, those with the most machines; none if all are.
    fn kept_values(&self, label: usize) -> Option<BTreeSet<&str>> {
        let mut machines: BTreeMap<&str, u64> = BTreeMap::new();
        for (values, place) in &self.places {
            *machines.entry(&values[label]).or_default() += self.machines[*place];
        }
        if machines.len() <= MAX_VALUES {
            return None;
        }
        machines.remove(OTHER);
        let mut values: Vec<_> = machines.into_iter().collect();
        // Stable: of values with equally many machines, the first ones in text order stay.
        values.sort_by_key(|(_, machines)| Reverse(*machines));
        values.truncate(MAX_VALUES - 1);
        Some(values.into_iter().map(|(value, _)| value).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::MachineFacts;
    use crate::model::{Freshness, MachineId};

    /// A fleet with these tags on its machines.
    fn fleet(tags: &[Option<&[&str]>]) -> TenantFleet {
        let mut fleet = TenantFleet::new("t".into());
        let machine = |(number, tags): (usize, Option<&[&str]>)| {
            let facts = MachineFacts::unlisted(MachineId::parse(&format!("{number:06}")).unwrap());
            let tags = tags.map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect());
            MachineFacts { tags, ..facts }
        };
        let now = jiff::Timestamp::UNIX_EPOCH;
        fleet.apply_list(tags.iter().copied().enumerate().map(machine).collect(), now, &Freshness::DEFAULT);
        fleet
    }

    fn labels() -> [OwnLabel; 2] {
        [("team", "team:"), ("site", "Site=")].map(|(name, prefix)| OwnLabel::new(name.into(), prefix))
    }

    fn owner(owners: &Owners, machine: usize) -> String {
        owners.list()[owners.of_machine(machine)].join("/")
    }

    /// One machine with each of these teams, as often as the number says.
    fn teams(sizes: &[(&str, usize)]) -> TenantFleet {
        let tags: Vec<String> = sizes
            .iter()
            .flat_map(|(team, size)| std::iter::repeat_n(format!("team:{team}"), *size))
            .collect();
        let tags: Vec<[&str; 1]> = tags.iter().map(|tag| [tag.as_str()]).collect();
        fleet(&tags.iter().map(|tags| Some(&tags[..])).collect::<Vec<_>>())
    }

    #[test]
    fn owner_is_the_first_tag_with_each_prefix() {
        let fleet = fleet(&[
            Some(&["TEAM:Platform", "site=b", "zone"]),
            Some(&["Site=A", "site=b", "team:"]),
            Some(&["teams:x"]),
            None,
        ]);
        let owners = Owners::of(&fleet, &labels());
        let found: Vec<_> = (0..4).map(|machine| owner(&owners, machine)).collect();
        assert_eq!(found, ["Platform/b", "/A", "/", "/"]);
        assert!(owners.list().is_sorted());
    }

    #[test]
    fn tenant_without_machines_has_one_empty_owner() {
        let none = fleet(&[]);
        assert_eq!(Owners::of(&none, &labels()).list(), [vec!["".into(); 2].into()]);
        assert_eq!(Owners::of(&none, &[]), Owners::default());
        assert_eq!(Owners::of(&fleet(&[Some(&["team:a"])]), &[]), Owners::default());
    }

    #[test]
    fn values_with_the_most_machines_keep_their_names() {
        let numbered: Vec<String> = (0..49).map(|number| format!("{number:02}")).collect();
        let mut sizes: Vec<(&str, usize)> = numbered.iter().map(|team| (team.as_str(), 2)).collect();
        sizes.push(("other", 1));
        let fifty = Owners::of(&teams(&sizes), &labels());
        assert_eq!(fifty.list().len(), 50, "nothing is folded, `other` is a team");
        sizes.extend([("", 1), ("large", 3), ("also 2", 2)]);
        let owners = Owners::of(&teams(&sizes), &labels());
        let names: BTreeSet<&str> = owners.list().iter().map(|owner| &*owner[0]).collect();
        assert_eq!(names.len(), MAX_VALUES);
        assert!(names.contains("large") && names.contains("47") && names.contains("other"));
        assert!(!names.contains("48") && !names.contains(""), "a tie is decided by the text: {names:?}");
        assert!(!names.contains("also 2"));
    }

    #[test]
    fn long_values_are_cut_before_they_are_counted() {
        let long = "x".repeat(300);
        let tags = [format!("team:{long}a"), format!("team:{long}b")];
        let owners = Owners::of(&fleet(&[Some(&[&tags[0]]), Some(&[&tags[1]])]), &labels());
        assert_eq!(owners.list().len(), 1);
        assert_eq!(owners.list()[0][0].len(), 256);
    }
}
