//! A wall clock that is wrong for some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_exporter::clock::Clock;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::publish::Snapshot;
use mde_simulator::Endpoint;
use tokio::time::Instant;

use crate::support::log::CapturedLog;
use crate::support::running_poller::PollerSetup;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Hours by which the clock is ahead.
const AHEAD: [i64; 3] = [2, 9, 20 * 24];

/// The clock of a setup, which is ahead by the returned number of seconds.
fn shifted(setup: &mut PollerSetup, hours: i64) -> Arc<AtomicI64> {
    let (ahead, right) = (Arc::new(AtomicI64::new(hours * 3600)), setup.clock.clone());
    let shift = Arc::clone(&ahead);
    setup.clock = Clock::new(move || right.now() + SignedDuration::from_secs(shift.load(Ordering::SeqCst)));
    ahead
}

/// The latest of all times that the exporter records.
fn latest(fleet: &TenantFleet) -> Timestamp {
    let machines = fleet.machines.values().flat_map(|machine| {
        let first_seen = machine.missing_updates().iter().map(|missing| missing.first_seen);
        let attempt = machine.attempt.map(|attempt| attempt.at);
        let read = machine.assessment.as_ref().map(|assessment| assessment.fetched_at.max(assessment.as_of));
        first_seen.chain(attempt).chain(read)
    });
    let status = [fleet.listed_at, fleet.status.last_poll, fleet.status.last_success];
    machines.chain(status.into_iter().flatten()).max().unwrap()
}

#[tokio::test]
async fn polling_continues_when_the_clock_is_right_again() {
    for hours in AHEAD {
        let mut setup = PollerSetup::new(6).await.every(10 * MINUTE);
        let ahead = shifted(&mut setup, hours);
        let clock = setup.clock.clone();
        let log = CapturedLog::default();
        let guard = log.capture();
        setup
            .run(SECOND, async |running| {
                running.until(|status| status.up).await;
                tokio::time::sleep(12 * MINUTE).await;
                ahead.store(0, Ordering::SeqCst);
                tokio::time::sleep(MINUTE).await;
                let fleet = running.reader.borrow().fleets[0].clone();
                assert!(latest(&fleet) <= clock.now(), "{hours} h");
                assert!(fleet.status.next_poll.unwrap() <= clock.now() + 10 * MINUTE);
                let calls = running.control.requests(Endpoint::MissingKbs);
                // An interval, and time for slow answers.
                tokio::time::sleep(15 * MINUTE).await;
                assert!(running.control.requests(Endpoint::MissingKbs) >= calls + 6, "{hours} h");
                assert!(running.status().up);
            })
            .await;
        drop(guard);
        let lines = log.lines().join("\n");
        assert_eq!(log.count("times in the future"), 1, "{hours} h: {lines}");
    }
}

#[tokio::test]
async fn state_of_a_clock_that_was_ahead_is_set_back() {
    for hours in AHEAD {
        let mut setup = PollerSetup::new(6).await;
        let ahead = shifted(&mut setup, hours);
        let (setup, ()) = setup
            .run(SECOND, async |running| {
                running
                    .until(|status| status.up && status.waiting == 0 && status.last_success.is_some())
                    .await;
                tokio::time::sleep(10 * SECOND).await;
            })
            .await;
        ahead.store(0, Ordering::SeqCst);
        let clock = setup.clock.clone();
        assert!(latest(&setup.fleet) > clock.now() + HOUR);
        let log = CapturedLog::default();
        let guard = log.capture();
        setup
            .run(10 * SECOND, async |running| {
                let start = Instant::now();
                let is_set_back = |seen: &Arc<Snapshot>| latest(&seen.fleets[0]) <= clock.now();
                drop(running.reader.wait_for(is_set_back).await.unwrap());
                assert!(start.elapsed() < HOUR, "{hours} h");
                tokio::time::sleep(MINUTE).await;
                let calls = running.control.requests(Endpoint::MissingKbs);
                tokio::time::sleep(6 * HOUR).await;
                assert!(running.control.requests(Endpoint::MissingKbs) >= calls + 6, "{hours} h");
            })
            .await;
        drop(guard);
        assert_eq!(log.count("times in the future"), 1);
    }
}

#[tokio::test]
async fn clock_that_steps_forward_reads_everything_once() {
    let mut setup = PollerSetup::new(6).await;
    let ahead = shifted(&mut setup, 0);
    setup
        .run(SECOND, async |running| {
            running.until(|status| status.up).await;
            tokio::time::sleep(10 * SECOND).await;
            let calls = running.control.requests(Endpoint::MissingKbs);
            ahead.store(9 * 3600, Ordering::SeqCst);
            tokio::time::sleep(MINUTE).await;
            assert_eq!(running.control.requests(Endpoint::MissingKbs), calls + 6);
            tokio::time::sleep(HOUR).await;
            assert_eq!(running.control.requests(Endpoint::MissingKbs), calls + 6);
        })
        .await;
}

#[tokio::test]
async fn difference_from_the_clock_of_the_api_is_logged() {
    for (seconds, warnings) in [(200, 0), (400, 1), (-400, 1)] {
        let mut setup = PollerSetup::new(3).await.every(MINUTE);
        shifted(&mut setup, 0).store(seconds, Ordering::SeqCst);
        let log = CapturedLog::default();
        let guard = log.capture();
        setup
            .run(SECOND, async |running| {
                running.until(|status| status.up).await;
                tokio::time::sleep(5 * MINUTE).await;
            })
            .await;
        drop(guard);
        let lines = log.lines().join("\n");
        assert_eq!(log.count("clock of this machine is"), warnings, "{seconds} s: {lines}");
    }
}
