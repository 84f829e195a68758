//! Daily counts through the publication, and overviews that are ready before a reader asks.

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fleet::{Assessment, BurnDown, Machine, MachineFacts, MissingUpdate, ReportedUpdate, UpdateFacts};
use crate::model::{KbId, MachineId};
use crate::store::Store;

const START: &str = "2026-06-09T23:59:00Z";

fn start() -> Timestamp {
    START.parse().unwrap()
}

/// A fleet of which `machines` miss KB 1, and one machine misses nothing.
fn fleet(tenant: &str, machines: u32) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    for number in 0..=machines {
        let kb = KbId::new(1).unwrap();
        let facts = Arc::new(UpdateFacts::default());
        let update =
            ReportedUpdate { kb, facts, cves: None, reported_machines: None, severity: None, cvss: None };
        let missing = (number < machines).then(|| MissingUpdate { update, first_seen: start(), chain: None });
        let id = MachineId::parse(&format!("machine-{number}")).unwrap();
        let assessment = Some(Assessment::of_now(start(), missing.into_iter().collect()));
        let machine = Machine { facts: MachineFacts::unlisted(id.clone()), assessment, attempt: None };
        fleet.machines.insert(id, Arc::new(machine));
    }
    fleet
}

/// The publication of `fleets` with a clock that begins at [`START`] and follows tokio's.
fn publication_of(
    fleets: Vec<TenantFleet>,
    store: Option<SharedStore>,
) -> (FleetSender, SnapshotTask, SnapshotReader) {
    let self_metrics = Arc::new(SelfMetrics::new("1"));
    let options = RenderOptions { series_limit: 1, ..RenderOptions::default() };
    let clock = Clock::following_tokio(start());
    publication(fleets, options, clock, self_metrics, store, facts::fixed(Facts::default()))
}

fn store_in(folder: &TempDir) -> SharedStore {
    let store = Store::open(folder.path(), Clock::new(start)).unwrap().0;
    SharedStore::new(store, Arc::new(SelfMetrics::new("1")))
}

/// The days and numbers of KB 1, as text.
fn days(burn_down: &BurnDown) -> Vec<String> {
    let update = burn_down.update(KbId::new(1).unwrap()).into_iter();
    let days = update.flat_map(|update| update.days_until(Timestamp::MAX));
    days.map(|(day, machines)| format!("{day} {machines}")).collect()
}

fn published(reader: &SnapshotReader) -> Vec<String> {
    days(&reader.borrow().burn_downs[0])
}

#[tokio::test(start_paused = true)]
async fn day_keeps_the_count_before_midnight() {
    let folder = TempDir::new().unwrap();
    let (sender, task, reader) = publication_of(vec![fleet("t", 4)], Some(store_in(&folder)));
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(task.run(stop.clone()));
    assert_eq!(published(&reader), ["2026-06-09 4"]);
    sender.submit(&fleet("t", 3));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(published(&reader), ["2026-06-09 3"]);
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert_eq!(published(&reader), ["2026-06-09 3", "2026-06-10 3"]);
    sender.submit(&fleet("t", 0));
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(published(&reader), ["2026-06-09 3", "2026-06-10 0"]);
    stop.cancel();
    running.join_all().await;

    let (_, _, reader) = publication_of(vec![fleet("t", 0)], Some(store_in(&folder)));
    assert_eq!(published(&reader), ["2026-06-09 0", "2026-06-10 0"], "the clock starts a minute earlier");
}

#[tokio::test(start_paused = true)]
async fn tenants_that_are_not_judged_or_unchanged_keep_their_counts() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder);
    let fleets = || vec![fleet("changed", 4), fleet("same", 2), TenantFleet::new("new".into())];
    let (_, mut task, reader) = publication_of(fleets(), Some(store.clone()));
    let before = reader.borrow().burn_downs.clone();
    assert_eq!(before.iter().map(|burn_down| days(burn_down).len()).collect::<Vec<_>>(), [1, 1, 0]);
    task.sender.submit(&fleet("changed", 3));
    task.publish().await;
    let after = reader.borrow().burn_downs.clone();
    let are_same: Vec<_> = before.iter().zip(&after).map(|(old, new)| Arc::ptr_eq(old, new)).collect();
    assert_eq!(are_same, [false, true, true]);
    // Long after the data has expired.
    tokio::time::sleep(Duration::from_hours(100)).await;
    task.publish().await;
    assert!(reader.borrow().burn_downs.iter().zip(&after).all(|(old, new)| Arc::ptr_eq(old, new)));

    // A tenant that is removed and added again continues with its counts.
    let options = || RenderOptions::default();
    drop(task.sender.reconfigure(vec![("same".into(), None)], options()));
    task.publish().await;
    assert_eq!(reader.borrow().burn_downs.len(), 1);
    drop(task.sender.reconfigure(vec![("changed".into(), None), ("same".into(), None)], options()));
    task.publish().await;
    assert_eq!(published(&reader), ["2026-06-09 3"]);
    assert_eq!(store.burn_down("changed").as_ref(), Some(&after[0]));
}

fn has_overview(reader: &SnapshotReader) -> bool {
    reader.borrow().overview.get().is_some()
}

#[tokio::test(start_paused = true)]
async fn viewed_pages_find_the_overview_ready() {
    let (_, mut task, reader) = publication_of(vec![fleet("t", 4)], None);
    task.publish().await;
    assert!(!has_overview(&reader), "nobody looks");
    reader.borrow().overview();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        task.publish().await;
        assert!(has_overview(&reader));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    task.publish().await;
    assert!(!has_overview(&reader), "five minutes without a view");
    reader.borrow().overview();
    task.publish().await;
    assert!(has_overview(&reader));
}
