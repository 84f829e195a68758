//! Failures of a poll, or of a part of it: the data does not change.

use std::time::Duration;

use mde_exporter::config::Selectors;
use mde_exporter::fleet::Machine;
use mde_exporter::model::MachineId;
use mde_simulator::{Endpoint, Fault, MissingKb, Options, QuotaPeriod, Realism, Times};

use crate::support::api::options;
use crate::support::log::CapturedLog;
use crate::support::poller::{INTERVAL, PollerHarness, all};

/// A machine of the fleet.
fn machine<'a>(harness: &'a PollerHarness, id: &str) -> &'a Machine {
    &harness.poller.fleet().machines[&MachineId::parse(id).unwrap()]
}

/// The exposition without the two families that depend on the last attempt.
fn data(harness: &PollerHarness) -> String {
    let of_attempts = |line: &&str| line.contains("mde_up") || line.contains("mde_machine_up");
    let text = harness.text();
    text.lines().filter(|line| !of_attempts(line)).collect::<Vec<_>>().join("\n")
}

fn attempt_succeeded(harness: &PollerHarness, id: &str) -> bool {
    machine(harness, id).attempt.unwrap().succeeded
}

/// Failures of a whole tenant: endpoints, fault, and the counted reason.
fn tenant_wide() -> Vec<(&'static [Endpoint], Fault, &'static str)> {
    const BOTH: &[Endpoint] = &[Endpoint::Machines, Endpoint::MissingKbs];
    let long = Fault::Throttle { retry_after: Some("3600".to_owned()), window: QuotaPeriod::Hour };
    vec![
        (&[Endpoint::Token], Fault::Status(401), "token"),
        (&[Endpoint::Token], Fault::Reset, "network"),
        (BOTH, Fault::Forbidden("Machine.Read.All".to_owned()), "forbidden"),
        (BOTH, Fault::Unauthorized, "unauthorized"),
        (BOTH, Fault::Status(503), "server_error"),
        (BOTH, Fault::HtmlError(502), "server_error"),
        (BOTH, Fault::Reset, "network"),
        (BOTH, Fault::Truncated, "network"),
        (BOTH, Fault::NotJson, "decode"),
        (BOTH, Fault::WrongShape, "decode"),
        (BOTH, Fault::Hang, "timeout"),
        (BOTH, Fault::ForeignNextLink("https://evil.example/".to_owned()), "foreign_link"),
        (BOTH, Fault::SlowDrip, "timeout"),
        (BOTH, Fault::EndlessPaging, "page_limit"),
        (BOTH, Fault::EndlessEmptyPages, "page_limit"),
        (BOTH, Fault::Redirect("https://evil.example/".to_owned()), "unexpected_status"),
        // The last one, as it stays in effect.
        (BOTH, long, "throttled"),
    ]
}

#[tokio::test]
async fn failed_poll_changes_no_data_and_reports_the_reason() {
    let mut harness = PollerHarness::changed(options(4, Realism::Plain), |tenant| {
        tenant.machines = all();
        tenant.http.timeout = Duration::from_millis(400);
    })
    .await;
    harness.poller.poll().await;
    let (before, last_success) = (harness.assessments(), harness.status().last_success);
    let text = data(&harness);
    assert!(harness.status().up && before.values().all(Option::is_some));

    for (endpoints, fault, kind) in tenant_wide() {
        // A valid token is not requested again; data must not become stale in between.
        let is_of_token = endpoints.contains(&Endpoint::Token);
        harness.api.clock.advance(if is_of_token { Duration::from_hours(1) } else { Duration::from_mins(5) });
        for endpoint in endpoints {
            harness.inject(*endpoint, fault.clone());
        }
        let failures = harness.failures(kind);
        harness.poller.poll().await;
        harness.api.control().clear();

        assert_eq!(harness.assessments(), before, "{kind}");
        assert_eq!(data(&harness), text, "{kind}");
        let status = harness.status();
        assert!(!status.up && status.last_error.is_some(), "{kind}: {status:?}");
        assert_eq!((status.last_poll, status.last_success), (Some(harness.api.clock.now()), last_success));
        let pause = if kind == "throttled" { Duration::from_hours(1) } else { INTERVAL };
        assert_eq!(status.next_poll, Some(harness.api.clock.now() + pause), "{kind}");
        assert!(harness.failures(kind) > failures, "{kind}");
        let scrape = harness.scrape();
        assert_eq!(scrape.value("mde_up", &[]), Some(0.0));
        assert_eq!(scrape.count("mde_machine_missing_updates"), 4.0, "{kind}: old data is served");
    }
}

#[tokio::test]
async fn data_is_current_again_after_the_failure_ends() {
    let mut harness = PollerHarness::all(4).await;
    harness.poller.poll().await;
    harness.api.clock.advance(INTERVAL);
    harness.inject(Endpoint::Machines, Fault::Status(500));
    harness.inject(Endpoint::MissingKbs, Fault::Status(500));
    harness.poller.poll().await;
    assert!(harness.status().last_error.as_ref().unwrap().contains("`machines` failed (500)"));
    harness.api.control().clear();
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    assert!(harness.status().up && harness.status().last_error.is_none());
    let now = harness.api.clock.now();
    assert!(harness.assessments().values().all(|assessment| assessment.as_ref().unwrap().0 == now));
    assert_eq!(harness.api.count("poll_failures_total", &[("reason", "server_error")]), 1.0);
}

#[tokio::test]
async fn first_poll_that_fails_makes_no_machine_compliant() {
    let mut harness = PollerHarness::all(4).await;
    harness.inject(Endpoint::MissingKbs, Fault::Status(500));
    harness.poller.poll().await;
    assert!(!harness.status().up && harness.assessments().values().all(Option::is_none));
    let scrape = harness.scrape();
    assert_eq!(scrape.count("mde_machine_missing_updates"), 0.0);
    assert_eq!(scrape.sum("mde_compliant_machines"), 0.0);
    assert_eq!(scrape.sum("mde_machine_up"), 0.0);
}

#[tokio::test]
async fn intermittent_404_is_retried_until_it_is_read() {
    let mut harness = PollerHarness::all(3).await;
    let id = harness.api.id().to_string();
    harness.api.control().inject_for_machine(&id, Fault::NotFound, Times::Next(3));
    harness.poller.poll().await;
    assert!(attempt_succeeded(&harness, &id) && harness.assessments()[&id].is_some());
    assert!(harness.status().up && harness.status().last_error.is_none(), "{:?}", harness.status());
    assert_eq!(harness.kb_calls(), 3 + 3);
    assert_eq!(harness.failures("not_found"), 0.0);
    assert_eq!(harness.scrape().sum("mde_machine_up"), 3.0);
}

#[tokio::test]
async fn permanent_404_affects_only_its_machine() {
    let mut harness = PollerHarness::all(3).await;
    let id = harness.api.id().to_string();
    harness.poller.poll().await;
    let old = harness.assessments();
    harness.api.clock.advance(INTERVAL);
    harness.api.control().inject_for_machine(&id, Fault::NotFound, Times::Always);
    harness.poller.poll().await;

    let scrape = harness.scrape();
    assert_eq!(scrape.value("mde_up", &[]), Some(1.0));
    assert_eq!(scrape.value("mde_machine_up", &[("machine_id", &id)]), Some(0.0));
    assert_eq!(scrape.sum("mde_machine_up"), 2.0);
    assert_eq!(scrape.count("mde_machine_missing_updates"), 3.0);
    let assessments = harness.assessments();
    assert_eq!(assessments[&id], old[&id], "its old data stays");
    let fresh =
        assessments.values().filter(|assessment| assessment.as_ref().unwrap().0 == harness.api.clock.now());
    assert_eq!(fresh.count(), 2);
    assert_eq!((harness.kb_calls(), harness.failures("not_found")), (3 + 3 + 3, 1.0));
}

#[tokio::test]
async fn aborted_poll_does_not_count_a_404_as_failure() {
    let mut harness = PollerHarness::all(2).await;
    let ids = harness.api.control().machine_ids();
    harness.poller.poll().await;
    harness.api.clock.advance(INTERVAL);
    harness.api.control().inject_for_machine(&ids[0], Fault::NotFound, Times::Always);
    harness.api.control().inject_for_machine(&ids[1], Fault::Forbidden(String::new()), Times::Always);
    harness.poller.poll().await;
    assert!(!harness.status().up);
    assert!(attempt_succeeded(&harness, &ids[0]) && attempt_succeeded(&harness, &ids[1]));
    assert_eq!((harness.failures("not_found"), harness.failures("forbidden")), (0.0, 1.0));
}

#[tokio::test]
async fn scope_of_ids_works_without_the_list_role() {
    let roles = vec!["Software.Read.All".to_owned()];
    let id = PollerHarness::all(3).await.api.id().to_string();
    let plain = Options { roles, ..options(3, Realism::Plain) };
    let mut harness =
        PollerHarness::new(plain, Selectors { ids: vec![id.clone()], ..Selectors::default() }).await;
    let log = CapturedLog::default();
    let guard = log.capture();
    for _ in 0..3 {
        harness.poller.poll().await;
        harness.api.clock.advance(INTERVAL);
    }
    drop(guard);
    assert_eq!(log.count("continuing without the machine list"), 1);
    assert_eq!(log.count("Machine.Read.All"), 1);
    assert!(harness.status().up && harness.assessments()[&id].is_some());
    let facts = &machine(&harness, &id).facts;
    assert!(facts.name.is_empty() && facts.os_platform.is_empty());
    assert_eq!((harness.kb_calls(), harness.scrape().value("mde_up", &[])), (3, Some(1.0)));
}

#[tokio::test]
async fn scope_of_all_needs_the_list_role() {
    let roles = vec!["Software.Read.All".to_owned()];
    let mut harness = PollerHarness::new(Options { roles, ..options(3, Realism::Plain) }, all()).await;
    harness.poller.poll().await;
    let status = harness.status();
    assert!(!status.up && status.last_error.as_ref().unwrap().contains("Machine.Read.All"), "{status:?}");
}

#[tokio::test]
async fn failed_list_does_not_stop_the_machine_polls() {
    let mut harness = PollerHarness::all(3).await;
    harness.poller.poll().await;
    harness.api.clock.advance(INTERVAL);
    harness.inject(Endpoint::Machines, Fault::Status(503));
    harness.poller.poll().await;
    assert_eq!(harness.kb_calls(), 6);
    let now = harness.api.clock.now();
    assert!(harness.assessments().values().all(|assessment| assessment.as_ref().unwrap().0 == now));
    let status = harness.status();
    assert!(
        status.up && status.last_error.is_some() && harness.failures("server_error") == 1.0,
        "{status:?}"
    );
}

#[tokio::test]
async fn three_consecutive_failures_end_the_poll() {
    let mut harness = PollerHarness::all(60).await;
    let log = CapturedLog::default();
    let guard = log.capture();
    harness.inject(Endpoint::MissingKbs, Fault::Status(500));
    harness.poller.poll().await;
    drop(guard);
    assert!(!harness.status().up);
    assert_eq!(log.count("could not be read"), 1, "one line for all machines");
    // Three failures, and up to seven calls in progress; four attempts each.
    assert!((12..=10 * 4).contains(&harness.kb_calls()), "{}", harness.kb_calls());
    let tried = |harness: &PollerHarness| {
        let machines = harness.poller.fleet().machines.iter();
        machines.filter(|(_, machine)| machine.attempt.is_some()).map(|(id, _)| id.to_string()).collect()
    };
    let first: std::collections::BTreeSet<String> = tried(&harness);
    assert!((3..=10).contains(&first.len()));

    harness.poller.poll().await;
    assert_eq!(tried(&harness).len(), first.len() + 1, "one call shows whether the API is usable");
    harness.api.control().clear();
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    assert!(harness.status().up && harness.assessments().values().all(Option::is_some));
}

#[tokio::test]
async fn poll_of_everything_gives_up_after_ten_failures() {
    let mut harness = PollerHarness::all(60).await;
    harness.inject(Endpoint::MissingKbs, Fault::Status(500));
    harness.poller.poll_all().await;
    assert!(!harness.status().up);
    assert!((40..=17 * 4).contains(&harness.kb_calls()), "{}", harness.kb_calls());
}

#[tokio::test]
async fn poll_of_everything_is_down_if_the_list_failed() {
    let mut harness = PollerHarness::all(3).await;
    harness.poller.poll().await;
    harness.inject(Endpoint::Machines, Fault::Status(503));
    harness.poller.poll_all().await;
    assert_eq!(harness.kb_calls(), 6);
    assert!(!harness.status().up && harness.status().last_error.is_some());
}

#[tokio::test]
async fn lasting_404s_cost_at_most_four_calls_per_interval() {
    let mut harness = PollerHarness::all(30).await;
    let ids = harness.api.control().machine_ids();
    for id in &ids[..25] {
        harness.api.control().inject_for_machine(id, Fault::NotFound, Times::Always);
    }
    for intervals in 1..=3 {
        // Nothing happens between the due times.
        harness.poller.poll().await;
        harness.poller.poll().await;
        assert_eq!(harness.kb_calls(), intervals * (25 * 4 + 5), "{intervals}");
        assert!(harness.status().up);
        harness.api.clock.advance(INTERVAL);
    }
}

#[tokio::test]
async fn successful_machines_keep_a_poll_with_failures_running() {
    let mut harness = PollerHarness::all(60).await;
    let ids = harness.api.control().machine_ids();
    for id in ids.iter().step_by(2) {
        harness.api.control().inject_for_machine(id, Fault::NotJson, Times::Always);
    }
    harness.poller.poll().await;
    assert!(harness.status().up);
    assert_eq!(harness.assessments().values().filter(|assessment| assessment.is_some()).count(), 30);
    assert_eq!(harness.scrape().sum("mde_machine_up"), 30.0);
}

#[tokio::test]
async fn unusable_reply_keeps_the_missing_updates() {
    let mut harness = PollerHarness::all(2).await;
    let id = harness.api.id().to_string();
    harness.api.control().set_missing(&id, vec![MissingKb::new("5001001", "May 2026 Security Updates")]);
    harness.poller.poll().await;
    let before = harness.assessments();
    harness.api.control().set_reply(&id, r#"{"value":[{"id":null}]}"#);
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    assert_eq!(harness.assessments()[&id], before[&id]);
    assert_eq!((harness.poller.fleet().totals.resolved, harness.failures("decode")), (0, 1.0));
    assert!(harness.status().up && !attempt_succeeded(&harness, &id));
}

#[tokio::test]
async fn hanging_tenant_does_not_delay_the_other() {
    let (mut hanging, mut other) = (PollerHarness::all(3).await, PollerHarness::all(3).await);
    hanging.inject(Endpoint::Token, Fault::Hang);
    let other_ends_first = tokio::select! {
        biased;
        () = hanging.poller.poll() => false,
        () = other.poller.poll() => true,
    };
    assert!(other_ends_first && other.status().up && other.assessments().values().all(Option::is_some));
    assert!(!hanging.status().up);
}
