//! Counts over a [`TenantFleet`] for the metrics of level `fleet` and for the status page.
//!
//! One pass over the machines. Only assessed machines (state `fresh` or `stale`) contribute missing
//! updates; the others are only counted by state. The result depends on no order but that of the machine ids.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::release::release_time;
use super::{MachineState, MissingUpdate, TenantFleet, UpdateFacts};
use crate::model::{Freshness, KbId, Severity, bounded_label};

/// The counts over the fleet of a tenant at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The machines by platform and device group; only groups with a machine appear.
    pub groups: BTreeMap<MachineGroup, GroupSummary>,
    /// The missing updates by severity; the last element counts those of unknown severity.
    by_severity: [u64; Severity::ALL.len() + 1],
    /// The sum of the CVEs that the missing updates address. None if no machine is assessed, or if no missing
    /// update reports it.
    pub addressed_cves: Option<u64>,
    /// The earliest first-seen time.
    pub oldest_first_seen: Option<Timestamp>,
    /// Every update that an assessed machine misses.
    pub updates: BTreeMap<KbId, UpdateSummary>,
}

/// The key of a group of machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineGroup {
    /// As in [`MachineFacts`](super::MachineFacts).
    pub os_platform: String,
    /// As in [`MachineFacts`](super::MachineFacts).
    pub device_group: String,
}

/// Counts of the machines of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    by_state: [u64; MachineState::ALL.len()],
    /// Assessed machines without a missing update.
    pub compliant: u64,
}

impl GroupSummary {
    /// The number of machines in `state`.
    #[must_use]
    pub fn machines(&self, state: MachineState) -> u64 {
        self.by_state[state as usize]
    }
}

/// One update over all machines that miss it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSummary {
    /// The title and the products. If machines report different ones: the greatest title in text order, so
    /// that it does not flap, and the union of the products.
    pub facts: UpdateFacts,
    /// The number of assessed machines that miss it.
    pub missing_machines: u64,
    /// The highest `machineMissedOn`, when reported.
    pub reported_machines: Option<u32>,
    /// The highest `cveAddressed`, when reported.
    pub addressed_cves: Option<u32>,
    /// The earliest first-seen time.
    pub first_seen: Timestamp,
    /// The release time, if the title names a monthly batch.
    pub released: Option<Timestamp>,
}

impl Summary {
    /// The counts over `fleet` at `now`.
    #[must_use]
    pub fn of(fleet: &TenantFleet, now: Timestamp, freshness: &Freshness) -> Self {
        // Names that the exposition cuts to the same label value are one group.
        let mut groups: BTreeMap<(Cow<'_, str>, Cow<'_, str>), GroupSummary> = BTreeMap::new();
        let mut updates: BTreeMap<KbId, MissingByUpdate<'_>> = BTreeMap::new();
        let mut summary = Self::default();
        let mut has_assessed = false;
        for machine in fleet.machines.values() {
            let facts = &machine.facts;
            let names = (bounded_label(&facts.os_platform), bounded_label(&facts.device_group));
            let group = groups.entry(names).or_default();
            group.by_state[machine.state(now, freshness) as usize] += 1;
            let Some(missing_updates) = machine.assessed_updates(now, freshness) else {
                continue;
            };
            has_assessed = true;
            if missing_updates.is_empty() {
                group.compliant += 1;
                continue;
            }
            if let Some(cves) = addressed_cves(missing_updates) {
                *summary.addressed_cves.get_or_insert(0) += cves;
            }
            for missing in missing_updates {
                summary.by_severity[severity_index(missing.update.severity)] += 1;
                let by_update = updates
                    .entry(missing.update.kb)
                    .or_insert_with(|| MissingByUpdate::starting_with(missing));
                by_update.add(missing);
            }
        }
        if has_assessed && updates.is_empty() {
            summary.addressed_cves = Some(0);
        }
        let names =
            |(platform, group): &(Cow<'_, str>, Cow<'_, str>)| MachineGroup::from((&**platform, &**group));
        summary.groups = groups.into_iter().map(|(key, group)| (names(&key), group)).collect();
        summary.updates = updates.into_iter().map(|(kb, by_update)| (kb, by_update.finish())).collect();
        summary.oldest_first_seen = summary.updates.values().map(|update| update.first_seen).min();
        summary
    }

    /// The number of machines in `state`, over all groups.
    #[must_use]
    pub fn machines(&self, state: MachineState) -> u64 {
        self.groups.values().map(|group| group.machines(state)).sum()
    }

    /// The number of missing updates of this severity; none stands for an unknown severity.
    #[must_use]
    pub fn missing_updates(&self, severity: Option<Severity>) -> u64 {
        self.by_severity[severity_index(severity)]
    }

    /// Reduces the groups to at most `bound`, but at least 1. The groups with the fewest machines become one
    /// with platform and device group `other`, which includes a real group of that name.
    pub fn fold_groups(&mut self, bound: usize) {
        if self.groups.len() <= bound {
            return;
        }
        let mut groups: Vec<_> = std::mem::take(&mut self.groups).into_iter().collect();
        // Stable: of groups of equal size, the first ones in text order stay.
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.by_state.iter().sum::<u64>()));
        let folded = groups.split_off(bound.saturating_sub(1));
        self.groups.extend(groups);
        let other = self.groups.entry(MachineGroup::from(("other", "other"))).or_default();
        for (_, group) in folded {
            other.compliant += group.compliant;
            for (sum, count) in other.by_state.iter_mut().zip(group.by_state) {
                *sum += count;
            }
        }
    }
}

fn severity_index(severity: Option<Severity>) -> usize {
    severity.map_or(Severity::ALL.len(), |severity| severity as usize)
}

impl From<(&str, &str)> for MachineGroup {
    fn from((os_platform, device_group): (&str, &str)) -> Self {
        Self { os_platform: os_platform.to_owned(), device_group: device_group.to_owned() }
    }
}

/// The sum of the CVEs that `missing_updates` address, over those that report it. None if there are missing
/// updates but none reports it. The same CVE can count more than once.
#[must_use]
pub fn addressed_cves(missing_updates: &[MissingUpdate]) -> Option<u64> {
    if missing_updates.is_empty() {
        return Some(0);
    }
    missing_updates
        .iter()
        .filter_map(|missing| missing.update.cves)
        .map(u64::from)
        .reduce(|sum, cves| sum + cves)
}

/// Collects the machines that miss one update.
struct MissingByUpdate<'a> {
    /// The facts of the newest missing update. Most machines share them, so they are compared once.
    facts: &'a Arc<UpdateFacts>,
    title: &'a str,
    products: BTreeSet<&'a str>,
    missing_machines: u64,
    reported_machines: Option<u32>,
    addressed_cves: Option<u32>,
    first_seen: Timestamp,
}

impl<'a> MissingByUpdate<'a> {
    /// An empty collection; `missing` is the first one to [`add`](Self::add).
    fn starting_with(missing: &'a MissingUpdate) -> Self {
        let facts = &missing.update.facts;
        Self {
            facts,
            title: &facts.title,
            products: facts.products.iter().map(String::as_str).collect(),
            missing_machines: 0,
            reported_machines: None,
            addressed_cves: None,
            first_seen: missing.first_seen,
        }
    }

    fn add(&mut self, missing: &'a MissingUpdate) {
        let update = &missing.update;
        if !Arc::ptr_eq(self.facts, &update.facts) {
            self.facts = &update.facts;
            // The empty title is the least one, so any other title replaces it.
            self.title = self.title.max(&update.facts.title);
            self.products.extend(update.facts.products.iter().map(String::as_str));
        }
        self.missing_machines += 1;
        self.reported_machines = self.reported_machines.max(update.reported_machines);
        self.addressed_cves = self.addressed_cves.max(update.cves);
        self.first_seen = self.first_seen.min(missing.first_seen);
    }

    fn finish(self) -> UpdateSummary {
        UpdateSummary {
            facts: UpdateFacts {
                title: self.title.to_owned(),
                products: self.products.into_iter().map(str::to_owned).collect(),
            },
            missing_machines: self.missing_machines,
            reported_machines: self.reported_machines,
            addressed_cves: self.addressed_cves,
            first_seen: self.first_seen,
            released: release_time(self.title),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::fleet::{Assessment, MachineFacts, Onboarding, ReportedUpdate};
    use crate::model::MachineId;

    const FRESHNESS: Freshness = Freshness::DEFAULT;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    fn id(name: &str) -> MachineId {
        MachineId::parse(name).unwrap()
    }

    fn machine(name: &str, group: &str, last_seen: Option<Timestamp>) -> MachineFacts {
        MachineFacts {
            os_platform: "Windows11".to_owned(),
            device_group: group.to_owned(),
            last_seen,
            ..MachineFacts::unlisted(id(name))
        }
    }

    fn update(kb: &str, title: &str, products: &[&str], cves: Option<u32>) -> ReportedUpdate {
        ReportedUpdate {
            kb: KbId::parse(kb).unwrap(),
            facts: Arc::new(UpdateFacts {
                title: title.to_owned(),
                products: products.iter().map(|&product| product.to_owned()).collect(),
            }),
            cves,
            reported_machines: cves,
            severity: None,
        }
    }

    fn fleet(machines: Vec<MachineFacts>) -> TenantFleet {
        let mut fleet = TenantFleet::new("t".into());
        fleet.apply_list(machines, hour(0), &FRESHNESS);
        fleet
    }

    #[test]
    fn only_assessed_machines_contribute_missing_updates() {
        let mut fleet = fleet(vec![
            machine("fresh", "a", None),
            machine("stale", "a", None),
            machine("expired", "a", None),
            machine("inactive", "b", Some(hour(-1000))),
            machine("never-read", "b", None),
            machine("clean", "a", Some(hour(0))),
            MachineFacts { onboarding: Onboarding::NotOnboarded, ..machine("discovered", "a", None) },
        ]);
        let discovered = Arc::make_mut(fleet.machines.get_mut(&id("discovered")).unwrap());
        discovered.assessment = Some(Assessment::of_now(hour(0), vec![]));
        let missing = || vec![update("1", "x", &["edge"], Some(7))];
        fleet.apply_answer(&id("fresh"), hour(0), missing(), &FRESHNESS);
        fleet.apply_answer(&id("stale"), hour(-20), missing(), &FRESHNESS);
        fleet.apply_answer(&id("expired"), hour(-60), missing(), &FRESHNESS);
        fleet.apply_answer(&id("inactive"), hour(0), vec![], &FRESHNESS);
        fleet.apply_answer(&id("clean"), hour(0), vec![], &FRESHNESS);

        let summary = Summary::of(&fleet, hour(1), &FRESHNESS);
        let states = |group: &str| {
            let key = MachineGroup::from(("Windows11", group));
            MachineState::ALL.map(|state| summary.groups[&key].machines(state))
        };
        assert_eq!(states("a"), [2, 1, 0, 1, 1]);
        assert_eq!(states("b"), [0, 0, 1, 1, 0]);
        let compliant: Vec<u64> = summary.groups.values().map(|group| group.compliant).collect();
        assert_eq!(compliant, [1, 0], "the zero of an inactive machine is not trusted");
        assert_eq!(summary.missing_updates(None), 2);
        assert_eq!(summary.addressed_cves, Some(14));
        assert_eq!(summary.oldest_first_seen, Some(hour(-20)));
        assert_eq!(summary.machines(MachineState::Unknown), 2);
    }

    #[test]
    fn facts_of_an_update_do_not_depend_on_the_machine_order() {
        let reports = [
            update("5", "", &["windows_10"], None),
            update("5", "March 2020 Security Updates", &["edge"], Some(3)),
            update("5", "April 2020 Security Updates", &["edge", "windows_10"], Some(9)),
        ];
        for turn in 0..3 {
            let mut fleet = fleet(["a", "b", "c"].map(|name| machine(name, "", None)).to_vec());
            for (index, name) in ["a", "b", "c"].iter().enumerate() {
                let at = hour(i64::try_from(index).unwrap());
                fleet.apply_answer(&id(name), at, vec![reports[(index + turn) % 3].clone()], &FRESHNESS);
            }
            let summary = Summary::of(&fleet, hour(3), &FRESHNESS);
            let update = &summary.updates[&KbId::parse("5").unwrap()];
            assert_eq!(update.facts.title, "March 2020 Security Updates");
            assert_eq!(update.facts.products, ["edge", "windows_10"]);
            assert_eq!(update.missing_machines, 3);
            assert_eq!(update.reported_machines, Some(9));
            assert_eq!(update.addressed_cves, Some(9));
            assert_eq!(update.first_seen, hour(0));
            assert_eq!(update.released, Some("2020-03-10T17:00:00Z".parse().unwrap()));
        }
    }

    #[test]
    fn missing_updates_are_counted_by_severity() {
        let mut fleet = fleet(vec![machine("a", "", None), machine("b", "", None)]);
        let with = |kb, severity| ReportedUpdate { severity, ..update(kb, "", &[], None) };
        let (critical, low) = (Some(Severity::Critical), Some(Severity::Low));
        fleet.apply_answer(&id("a"), hour(0), vec![with("1", critical), with("2", None)], &FRESHNESS);
        fleet.apply_answer(&id("b"), hour(0), vec![with("1", critical), with("3", low)], &FRESHNESS);
        let summary = Summary::of(&fleet, hour(0), &FRESHNESS);
        assert_eq!(
            Severity::WORST_FIRST.map(|severity| summary.missing_updates(Some(severity))),
            [2, 0, 0, 1]
        );
        assert_eq!(summary.missing_updates(None), 1);
    }

    #[test]
    fn small_groups_are_folded_without_losing_a_machine() {
        let sizes = [("other", 1), ("a", 2), ("b", 5), ("c", 2), ("d", 3)];
        let machines = sizes.iter().flat_map(|(group, size)| {
            let named = move |number| MachineFacts {
                os_platform: if *group == "other" { "other" } else { "Windows11" }.to_owned(),
                ..machine(&format!("{group}{number}"), group, None)
            };
            (0..*size).map(named)
        });
        let mut fleet = fleet(machines.collect());
        fleet.apply_answer(&id("c0"), hour(0), vec![], &FRESHNESS);
        let folded = |bound| {
            let mut summary = Summary::of(&fleet, hour(0), &FRESHNESS);
            summary.fold_groups(bound);
            assert_eq!(summary.machines(MachineState::Unknown), 12);
            assert_eq!(summary.machines(MachineState::Fresh), 1);
            assert_eq!(summary.groups.values().map(|group| group.compliant).sum::<u64>(), 1);
            let names = summary.groups.keys().map(|key| key.device_group.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(folded(5), ["a", "b", "c", "d", "other"]);
        assert_eq!(folded(4), ["a", "b", "d", "other"], "the real group of that name is the same");
        assert_eq!(folded(2), ["b", "other"]);
        assert_eq!(folded(1), ["other"]);
        assert_eq!(folded(0), ["other"]);
    }

    #[test]
    fn unreported_cves_are_unknown_not_zero() {
        let mut fleet = fleet(vec![machine("a", "", None), machine("b", "", None)]);
        let cves = |fleet: &TenantFleet| Summary::of(fleet, hour(0), &FRESHNESS).addressed_cves;
        assert_eq!(cves(&fleet), None, "nothing was read yet");
        fleet.apply_answer(&id("a"), hour(0), vec![], &FRESHNESS);
        assert_eq!(cves(&fleet), Some(0), "nothing is missing");
        fleet.apply_answer(&id("b"), hour(0), vec![update("1", "", &[], None)], &FRESHNESS);
        assert_eq!(cves(&fleet), None, "the only missing update does not report it");
        fleet.apply_answer(&id("a"), hour(0), vec![update("1", "", &[], Some(4))], &FRESHNESS);
        assert_eq!(cves(&fleet), Some(4), "reported counts are summed");
    }
}
