//! The servicing of machines changes at midnight UTC, without a call to the API.

use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::model::DeadlineStart;
use mde_simulator::machine_record;
use serde_json::json;

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::policy;
use crate::support::running_poller::{PollerSetup, RunningPoller};

const SECOND: Duration = Duration::from_secs(1);

fn scrape(running: &RunningPoller) -> Exposition {
    parse(std::str::from_utf8(&running.reader.borrow().body.plain(b"")).unwrap()).unwrap()
}

/// The numbers of machines that are compliant and overdue, and of those of which servicing is uncertain and has ended.
fn counts(scrape: &Exposition) -> [f64; 4] {
    let state = |state| scrape.sum_by("mde_policy_machines", "state").get(state).copied().unwrap_or_default();
    let servicing = scrape.sum_by("mde_servicing_machines", "servicing");
    let servicing = |state| servicing.get(state).copied().unwrap_or_default();
    [scrape.sum("mde_compliant_machines"), state("overdue"), servicing("uncertain"), servicing("ended")]
}

#[tokio::test]
async fn servicing_ends_at_midnight_without_a_call() {
    // Enterprise is the last edition of Windows 11 23H2 that ends, on this day.
    let start: Timestamp = "2026-11-10T23:50:00Z".parse().unwrap();
    let mut setup = PollerSetup::starting_at(start, 0).await;
    setup.policies = vec![policy("14d", 14 * 24, DeadlineStart::FirstSeen)];
    for (id, build, version) in [("a1", 22_631, "23H2"), ("a2", 26_200, "25H2")] {
        let mut record = machine_record(id, &format!("{id}.example"), start);
        record["osPlatform"] = json!("Windows11");
        record["osBuild"] = json!(build);
        record["version"] = json!(version);
        setup.test_tenant.sim.control().add_machine(record);
        setup.test_tenant.sim.control().set_missing(id, Vec::new());
    }
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.last_success.is_some() && status.waiting == 0).await;
            let calls = running.control.calls().len();
            let midnight: Timestamp = "2026-11-11T00:00:00Z".parse().unwrap();
            let mut seen = Vec::new();
            // Nothing is submitted: the publication itself follows the time.
            while running.reader.borrow_and_update().at < midnight {
                seen.push(counts(&scrape(running)));
                running.reader.changed().await.unwrap();
            }
            assert!(seen.len() > 2, "{seen:?}");
            assert!(seen.iter().all(|counts| *counts == [2.0, 0.0, 1.0, 0.0]), "{seen:?}");
            assert_eq!(counts(&scrape(running)), [1.0, 1.0, 0.0, 1.0]);
            assert_eq!(running.control.calls().len(), calls, "no call");
        })
        .await;
}
