//! `mde_up` follows the calls as they are answered.

use std::time::Duration;

use mde_exporter::config::Selectors;
use mde_simulator::{Control, Endpoint, Fault, QuotaPeriod, Times};

use tokio::time::Instant;

use crate::support::api::count;
use crate::support::log::CapturedLog;
use crate::support::running_poller::{PollerSetup, RunningPoller};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The number of calls to the API, without those for tokens.
fn api_calls(control: &Control) -> usize {
    control.calls().iter().filter(|call| call.endpoint != Endpoint::Token).count()
}

fn due_machines(running: &RunningPoller) -> f64 {
    count(&running.self_metrics, "contoso", "due_machines", &[])
}

#[tokio::test]
async fn first_answer_of_a_long_reading_sets_up() {
    let setup = PollerSetup::new(7_000).await.with_quota(50, 1_500);
    // Small steps: many pass while such a fleet is rendered on a busy machine.
    let (setup, ()) = setup
        .run(SECOND / 10, async |running| {
            assert!(!running.status().up, "before the first answer");
            running.until(|status| status.up && status.waiting > 6_800).await;
            assert!(running.control.requests(Endpoint::MissingKbs) < 100);
            assert_eq!(running.ups(2 * MINUTE).await, [true]);
            let status = running.status();
            assert!(status.waiting > 6_800 && due_machines(running) > 6_800.0, "{status:?}");
            assert!(status.time_left.unwrap() > 4 * HOUR);
        })
        .await;
    let read = setup.fleet.machines.values().filter(|machine| machine.assessment.is_some()).count();
    assert!((40..300).contains(&read), "{read}");
}

#[tokio::test]
async fn first_reading_is_logged_at_every_tenth() {
    let setup = PollerSetup::new(600).await.with_quota(50, 500);
    let log = CapturedLog::default();
    let guard = log.capture();
    setup
        .run(10 * SECOND, async |running| {
            running.until(|status| status.up && status.waiting > 0).await;
            running.until(|status| status.waiting == 0).await;
        })
        .await;
    drop(guard);
    let lines = log.lines().join("\n");
    assert_eq!(log.count("first reading of the machines begins"), 1, "{lines}");
    assert!(lines.contains("machines=600 time_left=\"1h 12m\""), "{lines}");
    assert_eq!(log.count("first reading of the machines continues"), 9, "{lines}");
    assert_eq!(log.count("first reading of the machines is complete"), 1, "{lines}");
}

#[tokio::test]
async fn outage_ends_with_the_first_answer_and_not_with_the_poll() {
    let setup = PollerSetup::new(400).await.with_quota(50, 100).every(HOUR);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            tokio::time::sleep(10 * SECOND).await;
            running.control.inject(Endpoint::MissingKbs, Fault::Status(503), Times::Always);
            running.control.inject(Endpoint::Machines, Fault::Reset, Times::Always);
            let down_after = running.until(|status| !status.up).await;
            assert!(down_after < HOUR, "{down_after:?}");
            let calls = api_calls(&running.control);
            tokio::time::sleep(4 * HOUR).await;
            assert!(!running.status().up);
            let probes = api_calls(&running.control) - calls;
            assert!((240..=4 * 260).contains(&probes), "{probes} calls: one attempt per minute");
            running.control.clear();
            // One attempt per minute; a publication takes longer on a busy machine.
            assert!(running.until(|status| status.up).await <= 2 * MINUTE);
            assert_eq!(running.ups(HOUR).await, [true], "the rest of the fleet is read meanwhile");
        })
        .await;
}

#[tokio::test]
async fn single_failures_leave_the_tenant_up() {
    let setup = PollerSetup::new(40).await.every(MINUTE);
    let ids = setup.test_tenant.sim.control().machine_ids();
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            let control = running.control.clone();
            // Alternating replies.
            control.inject(Endpoint::MissingKbs, Fault::Status(503), Times::EverySecond);
            control.inject(Endpoint::Machines, Fault::Status(503), Times::EverySecond);
            assert_eq!(running.ups(10 * MINUTE).await, [true]);
            // One machine that always fails, and some that are not found.
            control.clear();
            control.inject_for_machine(&ids[0], Fault::Status(500), Times::Always);
            for id in &ids[1..9] {
                control.inject_for_machine(id, Fault::NotFound, Times::Always);
            }
            assert_eq!(running.ups(30 * MINUTE).await, [true]);
            // A list that fails once.
            control.clear();
            control.inject(Endpoint::Machines, Fault::Status(503), Times::Next(4));
            assert_eq!(running.ups(10 * MINUTE).await, [true]);
        })
        .await;
}

#[tokio::test]
async fn failure_of_the_only_machine_leaves_the_tenant_up() {
    let setup = PollerSetup::new(3).await;
    let id = setup.test_tenant.sim.control().machine_ids()[0].clone();
    let only = Selectors { ids: vec![id.clone()], ..Selectors::default() };
    setup
        .selecting(only)
        .run(10 * SECOND, async |running| {
            running.control.inject_for_machine(&id, Fault::Status(500), Times::Always);
            running.until(|status| status.up).await;
            assert_eq!(running.ups(24 * HOUR).await, [true]);
            let calls = running.control.requests(Endpoint::MissingKbs);
            assert!(calls <= 4 * 12, "{calls} calls of one machine in a day");
            running.control.clear();
            running.until(|status| status.waiting == 0).await;
        })
        .await;
}

#[tokio::test]
async fn outage_is_noticed_though_nothing_is_due() {
    let setup = PollerSetup::new(1).await;
    let (setup, ()) = setup
        .run(10 * SECOND, async |running| {
            running.until(|status| status.up && status.last_success.is_some() && status.waiting == 0).await;
        })
        .await;
    setup
        .run(10 * SECOND, async |running| {
            assert!(running.status().up, "a restart keeps the value");
            running.control.inject(Endpoint::MissingKbs, Fault::Reset, Times::Always);
            running.control.inject(Endpoint::Machines, Fault::Reset, Times::Always);
            let down_after = running.until(|status| !status.up).await;
            // Three attempts a minute apart; the publication takes real time.
            assert!(down_after <= 6 * HOUR + 20 * MINUTE, "{down_after:?}");
        })
        .await;
}

#[tokio::test]
async fn refused_token_and_role_set_down_at_once() {
    let setup = PollerSetup::new(5).await.every(MINUTE);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            let control = running.control.clone();
            control.inject(
                Endpoint::Machines,
                Fault::Forbidden("Machine.Read.All".to_owned()),
                Times::Always,
            );
            let lists = control.requests(Endpoint::Machines);
            running.until(|status| !status.up).await;
            assert_eq!(control.requests(Endpoint::Machines), lists + 1, "one refusal is enough");
            control.clear();
            running.until(|status| status.up).await;

            control.inject(
                Endpoint::MissingKbs,
                Fault::Forbidden("Software.Read.All".to_owned()),
                Times::Always,
            );
            running.until(|status| !status.up).await;
            assert_eq!(running.ups(10 * MINUTE).await, [false], "an answer to the list changes nothing");
            control.clear();
            running.until(|status| status.up).await;

            control.set_client_secret(None);
            control.revoke_tokens();
            running.until(|status| !status.up).await;
        })
        .await;
}

#[tokio::test]
async fn long_retry_after_sets_down_while_it_runs() {
    let setup = PollerSetup::new(5).await.every(MINUTE);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            let control = running.control.clone();
            let throttle = |retry_after: &str| {
                let retry_after = Some(retry_after.to_owned());
                let fault = Fault::Throttle { retry_after, window: QuotaPeriod::Minute };
                control.inject(Endpoint::MissingKbs, fault, Times::Next(1));
            };
            throttle("600");
            running.until(|status| !status.up).await;
            assert_eq!(running.ups(8 * MINUTE).await, [false]);
            running.until(|status| status.up).await;
            let calls = control.calls();
            let throttled = calls.iter().find(|call| call.status == Some(429)).unwrap().at;
            // Calls that were in flight do not count.
            let next =
                calls.iter().map(|call| call.at).filter(|at| *at > throttled + 5 * SECOND).min().unwrap();
            assert!(next >= throttled + 600 * SECOND && next < throttled + 640 * SECOND);
            // A short one does not.
            throttle("30");
            assert_eq!(running.ups(5 * MINUTE).await, [true]);
        })
        .await;
}

#[tokio::test]
async fn failed_tenant_is_tried_at_once_after_a_reload() {
    let setup = PollerSetup::new(3).await;
    setup
        .run(SECOND / 2, async |running| {
            running.control.set_client_secret(None);
            running.until(|status| status.last_error.is_some()).await;
            tokio::time::sleep(10 * MINUTE).await;
            running.control.set_client_secret(Some("SIMULATED~client-secret.canary_9f3Q"));
            let woken = Instant::now();
            running.wake.notify_one();
            running.until(|status| status.up).await;
            let requests = running.control.token_requests();
            let next = requests.iter().map(|request| request.at).filter(|at| *at >= woken).min().unwrap();
            assert!(next < woken + 10 * SECOND, "{:?}", next - woken);
        })
        .await;
}

#[tokio::test]
async fn new_machine_is_read_next() {
    let setup = PollerSetup::new(200).await.with_quota(10, 10_000).every(10 * MINUTE);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            let now = jiff::Timestamp::now();
            running.control.add_machine(mde_simulator::machine_record("abcd", "new.corp.example", now));
            // The list is read again after ten minutes, when most of the fleet still waits.
            tokio::time::sleep(14 * MINUTE).await;
            assert!(running.status().waiting > 40);
            let snapshot = running.reader.borrow().clone();
            let machine =
                snapshot.fleets[0].machines.values().find(|machine| machine.facts.id.as_str() == "abcd");
            assert!(machine.unwrap().assessment.is_some());
        })
        .await;
}

#[tokio::test]
async fn machines_become_due_one_by_one() {
    let setup = PollerSetup::new(20).await.with_quota(2, 10_000).every(HOUR);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.waiting > 0).await;
            running.until(|status| status.waiting == 0).await;
            let first = api_calls(&running.control);
            assert_eq!(first, 21);
            // Half of the machines have been read again while the others are still fresh.
            tokio::time::sleep(HOUR.saturating_sub(running.elapsed()) + 5 * MINUTE).await;
            let calls = api_calls(&running.control) - first;
            assert!((8..=14).contains(&calls), "{calls}");
        })
        .await;
}
