//! Arbitrary fleets, for the state file.

use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::fleet::unreadable::{HeldUpdate, UnreadableId, UnreadableIds};
use mde_exporter::fleet::{
    Assessment, Attempt, Chain, ExportVersion, Link, Machine, MachineFacts, MissingUpdate, Onboarding,
    OutOfScope, ReportedUpdate, ResolutionHistogram, TenantFleet, Totals, UpdateFacts,
};
use mde_exporter::model::{CvssScore, KbId, MachineId, Severity, Source};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![(1_600_000_000_000..1_800_000_000_000i64), (-377_705_023_201_000..=253_402_207_200_999i64),]
        .prop_map(|millis| Timestamp::from_millisecond(millis).unwrap())
}

fn missing_updates() -> impl Strategy<Value = Vec<MissingUpdate>> {
    let facts = (0..4usize, vec("[a-z',\"]{0,4}", 0..3));
    let severity = proptest::option::of(prop::sample::select(&Severity::ALL[..]));
    let cvss = proptest::option::of((1..=100u8).prop_map(|tenths| CvssScore::from_tenths(tenths).unwrap()));
    let missing = (times(), facts, any::<[Option<u32>; 2]>(), (severity, cvss), links());
    btree_map(prop_oneof![1..40u32, 999_999_990..=999_999_999u32], missing, 0..8)
        .prop_map(|missing_updates| missing_updates.into_iter().map(missing_update).collect())
}

type AnyUpdate =
    (Timestamp, (usize, Vec<String>), [Option<u32>; 2], (Option<Severity>, Option<CvssScore>), Vec<Link>);

fn missing_update(
    (kb, (first_seen, (title, products), counts, worst, links)): (u32, AnyUpdate),
) -> MissingUpdate {
    let title = ["", "March 2020 Security Updates", "Ü\u{0}\n", "x"][title].to_owned();
    let facts = Arc::new(UpdateFacts { title, products });
    let (kb, [cves, reported_machines], (severity, score)) = (KbId::new(kb).unwrap(), counts, worst);
    let update = ReportedUpdate { kb, facts, cves, reported_machines, severity, cvss: score };
    MissingUpdate { update, first_seen, chain: Chain::of(links) }
}

/// Links of updates that are not missing themselves.
fn links() -> impl Strategy<Value = Vec<Link>> {
    let link =
        (100..140u32, times()).prop_map(|(kb, first_seen)| Link { kb: KbId::new(kb).unwrap(), first_seen });
    vec(link, 0..3)
}

fn assessments() -> impl Strategy<Value = Assessment> {
    let source = prop::sample::select(&[Source::Machines, Source::Export][..]);
    (times(), proptest::option::of(times()), source, missing_updates(), unreadable()).prop_map(
        |(fetched_at, as_of, source, missing_updates, (ids, held))| {
            let held = missing_updates.iter().zip(held).map(|(missing, (since, source))| HeldUpdate {
                kb: missing.update.kb,
                since,
                source,
            });
            let unreadable = UnreadableIds { ids: ids.into(), held: held.collect() };
            Assessment {
                fetched_at,
                as_of: as_of.unwrap_or(fetched_at),
                source,
                missing_updates,
                unreadable: (unreadable != UnreadableIds::default()).then(|| Box::new(unreadable)),
            }
        },
    )
}

type Unreadable = (Vec<UnreadableId>, Vec<(Timestamp, Source)>);

fn unreadable() -> impl Strategy<Value = Unreadable> {
    let sources = prop::sample::select(&[Source::Machines, Source::Export][..]);
    let apart_from = prop::collection::btree_set(1..40u32, 0..4);
    let ids = btree_map("\\PC{1,6}", (any::<bool>(), apart_from), 0..3).prop_map(|ids| {
        let id = |(text, (is_newest, apart_from)): (String, (bool, std::collections::BTreeSet<u32>))| {
            let apart_from = apart_from.into_iter().map(|kb| KbId::new(kb).unwrap()).collect();
            UnreadableId { text: text.into(), is_newest, apart_from }
        };
        ids.into_iter().map(id).collect()
    });
    (ids, vec((times(), sources), 0..3))
}

fn machines() -> impl Strategy<Value = Machine> {
    let assessment = proptest::option::of(assessments());
    let attempt = proptest::option::of((times(), 0..3u8));
    let attempt = attempt.prop_map(|some| {
        some.map(|(at, outcome)| Attempt { at, succeeded: outcome == 1, not_found: outcome == 2 })
    });
    let statuses = [Onboarding::Onboarded, Onboarding::NotOnboarded, Onboarding::Unreported];
    let onboarding = prop::sample::select(statuses.to_vec());
    let tags = prop::collection::btree_set("\\PC{1,6}", 0..3).prop_map(|tags| tags.into_iter().collect());
    let listed = (proptest::option::of(tags), any::<Option<u32>>(), onboarding);
    (vec("\\PC{0,6}", 4), proptest::option::of(times()), listed, assessment, attempt).prop_map(
        |(texts, last_seen, (tags, os_build, onboarding), assessment, attempt)| {
            let [name, os_platform, os_version, device_group] = texts.try_into().unwrap();
            let id = MachineId::parse("unset").unwrap();
            let facts = MachineFacts {
                id,
                name,
                os_platform,
                os_version,
                device_group,
                last_seen,
                onboarding,
                tags,
                os_build,
            };
            Machine { facts, assessment, attempt }
        },
    )
}

fn totals() -> impl Strategy<Value = Totals> {
    (any::<[u32; 4]>(), any::<[u32; 9]>(), 0..=i64::MAX as u64).prop_map(|(counts, slots, sum_millis)| {
        let [detected, resolved, superseded, dropped] = counts.map(u64::from);
        let resolution = ResolutionHistogram { buckets: slots.map(u64::from), sum_millis };
        Totals { detected, resolved, superseded, dropped, resolution }
    })
}

pub(crate) fn fleets(tenant: &'static str) -> impl Strategy<Value = TenantFleet> {
    let machine = (proptest::option::weighted(0.2, times()), machines());
    let machines = btree_map("machine-[0-9]", machine, 0..8);
    let snapshot = proptest::option::of((times(), times(), any::<[bool; 2]>()));
    (machines, totals(), vec(proptest::option::of(times()), 3), "\\PC{0,6}", snapshot).prop_map(
        move |(machines, totals, times, selectors, snapshot)| {
            let mut fleet = TenantFleet::new(tenant.into());
            for (id, (out_of_scope, mut machine)) in machines {
                let id = MachineId::parse(&id).unwrap();
                machine.facts.id = id.clone();
                let machine = Arc::new(machine);
                match out_of_scope {
                    None => drop(fleet.machines.insert(id, machine)),
                    Some(since) => drop(fleet.out_of_scope.insert(id, OutOfScope { machine, since })),
                }
            }
            fleet.totals = totals;
            fleet.selectors = selectors.into();
            fleet.export_version = snapshot.map(
                |(generated_at, checked_at, [has_unreadable_lines, follows_unreadable_lines])| {
                    ExportVersion { generated_at, checked_at, has_unreadable_lines, follows_unreadable_lines }
                },
            );
            fleet.listed_at = times[0];
            fleet.status.last_poll = times[1];
            fleet.status.last_success = times[2];
            fleet.status.up = times[1].is_some();
            fleet
        },
    )
}
