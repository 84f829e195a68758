//! Restarts and crashes of the real binary with a real state file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mde_simulator::{Endpoint, Fault, Times};
use reqwest::StatusCode;

use crate::support::binary::{
    LOOPBACK, RunningExporter, command, configure, configure_contoso, entry, run, test_tenant,
};
use crate::support::exposition::Exposition;
use crate::support::tenant::TestTenant;

const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";
const LAST_SUCCESS: &str = "mde_machine_last_success_timestamp_seconds";

async fn start(test_tenant: &TestTenant) -> RunningExporter {
    RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await
}

/// First seen times by machine and KB.
fn first_seen(scrape: &Exposition) -> BTreeMap<(String, String), String> {
    let missing_update = |sample: &crate::support::exposition::Sample| {
        let label = |name| sample.label(name).to_owned();
        ((label("machine_id"), label("kb")), format!("{:.3}", sample.value))
    };
    scrape.samples(FIRST_SEEN).map(missing_update).collect()
}

/// The machines whose data is served.
fn machines_with_data(scrape: &Exposition) -> BTreeSet<String> {
    scrape.samples(LAST_SUCCESS).map(|sample| sample.label("machine_id").to_owned()).collect()
}

/// The number of calls for each machine.
fn calls_by_machine(test_tenant: &TestTenant) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for call in test_tenant.sim.control().calls() {
        if let Some(id) = call.machine_id {
            *calls.entry(id).or_default() += 1;
        }
    }
    calls
}

#[tokio::test]
async fn served_data_survives_a_kill_at_any_time() {
    let test_tenant = test_tenant(60).await;
    configure_contoso(&test_tenant);
    let control = test_tenant.sim.control();
    control.inject(Endpoint::MissingKbs, Fault::Delay(Duration::from_millis(10)), Times::Always);
    let mut first_seen_times = BTreeMap::new();
    let mut fresh = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..12 {
        let calls_before = control.requests(Endpoint::MissingKbs);
        let running = start(&test_tenant).await;
        let restored = running.scrape().await;
        for (missing_update, at) in &first_seen_times {
            assert_eq!(
                first_seen(&restored).get(missing_update),
                Some(at),
                "{missing_update:?} in round {round}"
            );
        }
        assert!(
            fresh.keys().all(|id| machines_with_data(&restored).contains(id)),
            "data is gone in round {round}"
        );

        // Killed at a random point while the remaining machines are polled.
        let left = 60 - machines_with_data(&restored).len() as u64;
        let more = random.u64(0..=left.min(24));
        control.wait_for_requests(Endpoint::MissingKbs, calls_before + more).await;
        // Every second round ends as soon as new data is served, so that there is progress.
        let must_gain = round % 2 == 1 && left > 0;
        let served = loop {
            let scrape = running.scrape().await;
            if !must_gain || machines_with_data(&scrape).len() > machines_with_data(&restored).len() {
                break scrape;
            }
        };
        let calls = calls_by_machine(&test_tenant);
        running.kill().await;

        for (id, count) in &fresh {
            assert_eq!(calls.get(id), Some(count), "{id} was current and is fetched again in round {round}");
        }
        first_seen_times.extend(first_seen(&served));
        fresh.extend(machines_with_data(&served).into_iter().map(|id| (id.clone(), calls[&id])));
    }
    assert!(
        !first_seen_times.is_empty() && fresh.len() >= 6,
        "too few machines were polled: {}",
        fresh.len()
    );
}

/// The lines of fleet metrics.
fn fleet(text: &str) -> Vec<&str> {
    let is_self_metric = |line: &&str| line.contains("mde_exporter_") || line.contains("process_");
    text.lines().filter(|line| !is_self_metric(line)).collect()
}

#[tokio::test]
async fn restart_serves_the_saved_data_without_api_calls() {
    let test_tenant = test_tenant(20).await;
    configure_contoso(&test_tenant);
    let mut running = start(&test_tenant).await;
    running.line_with("poll finished").await;
    let before = running.scrape_of(20.0).await;
    let before_text = running.get("/metrics").await.1;
    assert_eq!(before.value("mde_exporter_state_restored", &[]), Some(0.0));
    assert_eq!(running.stop("TERM").await.code, Some(0));

    let calls = test_tenant.sim.control().calls().len();
    let running = start(&test_tenant).await;
    assert_eq!(running.get("/-/ready").await.0, StatusCode::OK);
    let (after_text, after) = (running.get("/metrics").await.1, running.scrape().await);
    assert_eq!(after.value("mde_exporter_state_restored", &[]), Some(1.0));
    assert_eq!(fleet(&after_text), fleet(&before_text));
    let used = |scrape: &Exposition| {
        scrape.value("mde_exporter_api_quota_used_requests", &[("tenant", "contoso"), ("window", "1h")])
    };
    assert_eq!(used(&after), Some(21.0));
    assert_eq!(used(&after), used(&before));
    assert_eq!(test_tenant.sim.control().calls().len(), calls);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn second_exporter_on_a_folder_is_rejected() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let running = start(&test_tenant).await;
    let second = run(&test_tenant.folder, &["run", LOOPBACK]).await;
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("data"), "the folder is named: {}", second.stderr);
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
}

#[tokio::test]
async fn damaged_state_file_is_set_aside_and_replaced() {
    let test_tenant = test_tenant(5).await;
    configure_contoso(&test_tenant);
    std::fs::create_dir(test_tenant.folder.path().join("data")).unwrap();
    test_tenant.write(
        "data/state.db",
        "this is no database, and it is long enough not to be taken for an empty one",
    );
    let mut running = start(&test_tenant).await;
    running.line_with("poll finished").await;
    assert!(running.log.iter().any(|line| line.contains("set aside")), "{:#?}", running.log);
    assert_eq!(running.stop("TERM").await.code, Some(0));
    let files = std::fs::read_dir(test_tenant.folder.path().join("data")).unwrap();
    let names: Vec<_> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("state.db.")), "{names:?}");
}

#[tokio::test]
async fn unwritable_folder_is_counted_and_polling_continues() {
    let test_tenant = test_tenant(5).await;
    configure_contoso(&test_tenant);
    let file = test_tenant.write("file", "in the way");
    let storage = format!("--storage.path={}/below", file.display());
    let mut running =
        RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK, &storage])).await;
    running.line_with("poll finished").await;
    let scrape = running.scrape_of(5.0).await;
    assert!(scrape.value("mde_exporter_state_write_failures_total", &[]) > Some(0.0));
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn once_saves_its_state_and_fetches_every_machine() {
    let test_tenant = test_tenant(5).await;
    configure(&test_tenant, &[entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "")]);
    let once = || async {
        let output = run(&test_tenant.folder, &["once"]).await;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        crate::support::exposition::parse(&output.stdout).unwrap()
    };
    let (first, second) = (once().await, once().await);
    assert_eq!(first_seen(&first), first_seen(&second));
    assert!(calls_by_machine(&test_tenant).values().all(|count| *count == 2));
}
