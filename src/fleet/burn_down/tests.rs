//! Daily counts under any clock.

use jiff::SignedDuration;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::fleet::UpdateFacts;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

fn missed(machines: u64, first_seen: Timestamp) -> UpdateSummary {
    UpdateSummary {
        facts: UpdateFacts::default(),
        missing_machines: machines,
        reported_machines: None,
        addressed_cves: None,
        first_seen,
        oldest_first_seen: first_seen,
        released: None,
    }
}

fn summary(updates: impl IntoIterator<Item = (u32, UpdateSummary)>) -> Summary {
    let mut summary = Summary::default();
    summary.has_assessed = true;
    summary.updates.extend(updates.into_iter().map(|(number, update)| (kb(number), update)));
    summary
}

/// The days and numbers of KB 1, as text.
fn days(burn_down: &BurnDown, now: &str) -> Vec<String> {
    let update = burn_down.update(kb(1)).into_iter();
    update
        .flat_map(|update| update.days_until(at(now)))
        .map(|(day, machines)| format!("{day} {machines}"))
        .collect()
}

#[test]
fn last_count_of_each_day_stays() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    for (now, machines) in [
        ("2026-06-09T18:00:00Z", 7),
        ("2026-06-09T23:59:59.999Z", 9),
        ("2026-06-10T00:00:00Z", 8),
        ("2026-06-10T12:00:00Z", 5),
        ("2026-06-12T12:00:00Z", 3),
    ] {
        BurnDown::record(&mut burn_down, &summary([(1, missed(machines, first_seen))]), at(now));
    }
    assert_eq!(days(&burn_down, "2026-06-12T12:00:00Z"), ["2026-06-09 9", "2026-06-10 5", "2026-06-12 3"]);
}

#[test]
fn counts_end_after_42_days_and_go_with_the_last_machine() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    let record = |burn_down: &mut Arc<BurnDown>, day: i64, machines: u64| {
        let now = first_seen + SignedDuration::from_hours(24 * day);
        let updates = (machines > 0).then(|| (1, missed(machines, first_seen)));
        BurnDown::record(burn_down, &summary(updates), now);
    };
    for day in 0..60 {
        record(&mut burn_down, day, 100 - u64::try_from(day).unwrap());
    }
    let numbers = burn_down.update(kb(1)).unwrap().machines();
    assert_eq!((numbers.len(), numbers[0], numbers[42]), (43, Some(100), Some(58)));
    record(&mut burn_down, 60, 0);
    assert_eq!(*burn_down, BurnDown::default());
}

#[test]
fn installed_update_goes_on_with_zero_until_its_days_are_over() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    BurnDown::record(&mut burn_down, &summary([(1, missed(4, first_seen))]), first_seen);
    for day in 1..=42 {
        BurnDown::record(&mut burn_down, &summary([]), first_seen + SignedDuration::from_hours(24 * day));
        assert_eq!(burn_down.update(kb(1)).unwrap().machines().last(), Some(&Some(0)), "{day}");
    }
    assert_eq!(burn_down.update(kb(1)).unwrap().machines().len(), 43);
    BurnDown::record(&mut burn_down, &summary([]), first_seen + SignedDuration::from_hours(24 * 43));
    assert_eq!(*burn_down, BurnDown::default());
}

#[test]
fn nothing_is_recorded_while_no_machine_is_assessed() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    BurnDown::record(&mut burn_down, &summary([(1, missed(4, first_seen))]), first_seen);
    let before = Arc::clone(&burn_down);
    for days in [1, 100] {
        let now = first_seen + SignedDuration::from_hours(24 * days);
        BurnDown::record(&mut burn_down, &Summary::default(), now);
    }
    assert!(Arc::ptr_eq(&burn_down, &before));
}

#[test]
fn update_that_is_older_than_its_days_is_not_recorded() {
    let mut burn_down = Arc::default();
    let updates = summary([(1, missed(4, at("2026-06-09T18:00:00Z")))]);
    BurnDown::record(&mut burn_down, &updates, at("2026-07-22T00:00:00Z"));
    assert_eq!(*burn_down, BurnDown::default());
    BurnDown::record(&mut burn_down, &updates, at("2026-07-21T23:59:59Z"));
    assert_eq!(days(&burn_down, "2026-07-21T23:59:59Z"), ["2026-07-21 4"]);
}

#[test]
fn unchanged_counts_keep_the_value_that_readers_share() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    let updates = summary([(1, missed(4, first_seen)), (2, missed(1, at("2020-01-01T00:00:00Z")))]);
    BurnDown::record(&mut burn_down, &updates, first_seen);
    let before = Arc::clone(&burn_down);
    for now in ["2026-06-09T20:00:00Z", "2026-09-01T00:00:00Z"] {
        BurnDown::record(&mut burn_down, &updates, at(now));
        assert!(Arc::ptr_eq(&burn_down, &before), "{now}");
    }
    BurnDown::record(&mut burn_down, &updates, at("2026-06-10T00:00:00Z"));
    assert!(!Arc::ptr_eq(&burn_down, &before));
}

/// The clock is ahead for an hour, behind for an hour, and right again.
#[test]
fn wrong_clock_leaves_no_day_that_pages_show() {
    let mut burn_down = Arc::default();
    let first_seen = at("2026-06-09T18:00:00Z");
    BurnDown::record(&mut burn_down, &summary([(1, missed(4, first_seen))]), first_seen);
    for (now, first_seen_of_new) in [
        ("2026-06-13T12:00:00Z", "2026-06-13T12:00:00Z"),
        ("1970-01-02T00:00:00Z", "2026-06-13T12:00:00Z"),
        ("2026-06-10T12:00:00Z", "2026-06-10T12:00:00Z"),
    ] {
        let new = missed(2, at(first_seen_of_new));
        BurnDown::record(&mut burn_down, &summary([(1, missed(3, first_seen)), (2, new)]), at(now));
    }
    assert_eq!(days(&burn_down, "2026-06-10T12:00:00Z"), ["2026-06-09 4", "2026-06-10 3"]);
    let new = burn_down.update(kb(2)).unwrap();
    assert_eq!(new.first_seen(), at("2026-06-10T12:00:00Z"));
    assert_eq!(new.days_until(at("2026-06-10T12:00:00Z")).count(), 1);
    // The day that came too early has its own number when it comes.
    BurnDown::record(&mut burn_down, &summary([(1, missed(1, first_seen))]), at("2026-06-13T09:00:00Z"));
    assert_eq!(days(&burn_down, "2026-06-13T09:00:00Z"), ["2026-06-09 4", "2026-06-10 3", "2026-06-13 1"]);
}

#[test]
fn only_numbers_within_the_days_are_a_burn_down() {
    let first_seen = at("2026-06-09T18:00:00Z");
    let new = |first_day: &str, machines: &[Option<u32>]| {
        UpdateBurnDown::new(first_seen, None, first_day.parse().unwrap(), machines.to_vec())
    };
    assert!(new("2026-06-09", &[Some(1); 43]).is_some());
    assert!(new("2026-06-10", &[Some(1), None, Some(0)]).is_some());
    for (first_day, machines) in [
        ("2026-06-09", &[][..]),
        ("2026-06-09", &[None, Some(1)]),
        ("2026-06-09", &[Some(1), None]),
        ("2026-06-08", &[Some(1)]),
        ("2026-06-10", &[Some(1); 43]),
        ("2026-07-22", &[Some(1)]),
        ("9999-12-31", &[Some(1)]),
        ("-009999-01-01", &[Some(1)]),
    ] {
        assert_eq!(new(first_day, machines), None, "{first_day} {machines:?}");
    }
}

/// A step of the clock in seconds, and the machines and the age of each update.
type Step = (i64, BTreeMap<u32, (u64, i64)>);

/// Steps of the clock, mostly small.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => 0_i64..100_000,
        2 => -300_000_i64..300_000,
        1 => -8_000_000_i64..8_000_000,
    ];
    let updates = btree_map(1_u32..4, (1_u64..50, prop_oneof![Just(0), 0_i64..6_000_000]), 0..4);
    vec((step, updates), 1..80)
}

/// One update in the simplest form: every count by day, without the ones that are not within the days.
#[derive(Debug)]
struct Model {
    first_seen: Timestamp,
    counts: BTreeMap<Date, u32>,
}

impl Model {
    fn window(&self) -> std::ops::RangeInclusive<Date> {
        let first = day_of(self.first_seen);
        first..=first.saturating_add(42.days())
    }

    fn record(&mut self, day: Date, machines: u64) {
        self.counts.insert(day, u32::try_from(machines).unwrap());
        let window = self.window();
        self.counts.retain(|day, _| window.contains(day));
    }
}

proptest! {
    #[test]
    fn counts_are_the_last_of_each_day(steps in steps()) {
        let mut now = at("2026-06-09T18:00:00Z");
        let mut burn_down = Arc::default();
        let mut models: BTreeMap<KbId, Model> = BTreeMap::new();
        for (step, updates) in steps {
            now += SignedDuration::from_secs(step);
            let today = day_of(now);
            let updates = updates.into_iter().map(|(number, (machines, age))| {
                (number, missed(machines, now - SignedDuration::from_secs(age)))
            });
            let summary = summary(updates);
            BurnDown::record(&mut burn_down, &summary, now);
            for (kb, update) in &summary.updates {
                let model = models
                    .entry(*kb)
                    .or_insert_with(|| Model { first_seen: update.first_seen, counts: BTreeMap::new() });
                model.first_seen = model.first_seen.min(update.first_seen);
                model.record(today, update.missing_machines);
            }
            for (kb, model) in &mut models {
                if !summary.updates.contains_key(kb) {
                    model.record(today, 0);
                }
            }
            models.retain(|kb, model| {
                !model.counts.is_empty() && (summary.updates.contains_key(kb) || today <= *model.window().end())
            });
            let expected: BTreeMap<_, Vec<_>> =
                models.iter().map(|(kb, model)| (*kb, model.counts.clone().into_iter().collect())).collect();
            let found: BTreeMap<_, Vec<_>> = burn_down
                .updates()
                .map(|(kb, update)| (kb, update.days_until(Timestamp::MAX).collect()))
                .collect();
            prop_assert_eq!(found, expected, "{}", now);
            for (kb, update) in burn_down.updates() {
                let UpdateBurnDown { first_seen, released, first_day, machines } = update.clone();
                let same = UpdateBurnDown::new(first_seen, released, first_day, machines);
                prop_assert_eq!(same.as_ref(), Some(update), "{}", kb.number());
            }
        }
    }
}
