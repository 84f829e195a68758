//! What a poll that fails, or a part of it, does to the data: nothing.

use std::time::Duration;

use mde_exporter::config::Selectors;
use mde_exporter::fleet::{Machine, MachineId};
use mde_simulator::{Endpoint, Fault, MissingKb, Options, QuotaPeriod, Realism, Times};

use crate::support::api::options;
use crate::support::log::Log;
use crate::support::poller::{INTERVAL, Watch, all};

/// What is known of one machine.
fn machine<'a>(watch: &'a Watch, id: &str) -> &'a Machine {
    &watch.poller.fleet().machines[&MachineId::parse(id).unwrap()]
}

/// The exposition, byte by byte, but for the two families that say how attempts went.
fn data(watch: &Watch) -> String {
    let of_attempts = |line: &&str| line.contains("mde_up") || line.contains("mde_machine_up");
    let text = watch.text();
    text.lines().filter(|line| !of_attempts(line)).collect::<Vec<_>>().join("\n")
}

fn attempt_succeeded(watch: &Watch, id: &str) -> bool {
    machine(watch, id).attempt.unwrap().succeeded
}

/// What can go wrong for a tenant as a whole: where, what, and the kind it is counted as.
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
        (BOTH, Fault::RepeatedLink, "page_limit"),
        (BOTH, Fault::Redirect("https://evil.example/".to_owned()), "unexpected_status"),
        // The last one, as it stays in force.
        (BOTH, long, "throttled"),
    ]
}

#[tokio::test]
async fn failed_poll_changes_no_data_and_reports_the_reason() {
    let mut watch = Watch::changed(options(4, Realism::Plain), |tenant| {
        tenant.machines = all();
        tenant.http.timeout = Duration::from_millis(400);
    })
    .await;
    watch.poller.poll().await;
    let (known, good) = (watch.readings(), watch.status().last_success);
    let text = data(&watch);
    assert!(watch.status().up && known.values().all(Option::is_some));

    for (endpoints, fault, kind) in tenant_wide() {
        // A token that is still good is not asked for; data must not become stale meanwhile.
        let is_of_token = endpoints.contains(&Endpoint::Token);
        watch.api.wall.forward(if is_of_token { Duration::from_hours(1) } else { Duration::from_mins(5) });
        for endpoint in endpoints {
            watch.inject(*endpoint, fault.clone());
        }
        let failures = watch.failures(kind);
        watch.poller.poll().await;
        watch.api.control().clear();

        assert_eq!(watch.readings(), known, "{kind}");
        assert_eq!(data(&watch), text, "{kind}");
        let status = watch.status();
        assert!(!status.up && status.last_error.is_some(), "{kind}: {status:?}");
        assert_eq!((status.last_poll, status.last_success), (Some(watch.api.wall.now()), good));
        assert_eq!(status.next_poll, Some(watch.api.wall.now() + INTERVAL));
        assert!(watch.failures(kind) > failures, "{kind}");
        let scrape = watch.scrape();
        assert_eq!(scrape.value("mde_up", &[]), Some(0.0));
        assert_eq!(scrape.count("mde_machine_missing_updates"), 4.0, "{kind}: old data is served");
    }
}

#[tokio::test]
async fn data_is_current_again_after_the_failure_ends() {
    let mut watch = Watch::all(4).await;
    watch.poller.poll().await;
    watch.api.wall.forward(INTERVAL);
    watch.inject(Endpoint::Machines, Fault::Status(500));
    watch.inject(Endpoint::MissingKbs, Fault::Status(500));
    watch.poller.poll().await;
    assert!(watch.status().last_error.as_ref().unwrap().contains("`machines` failed (500)"));
    watch.api.control().clear();
    watch.api.wall.forward(INTERVAL);
    watch.poller.poll().await;
    assert!(watch.status().up && watch.status().last_error.is_none());
    let now = watch.api.wall.now();
    assert!(watch.readings().values().all(|assessment| assessment.as_ref().unwrap().0 == now));
    assert_eq!(watch.api.count("poll_failures_total", &[("reason", "server_error")]), 1.0);
}

#[tokio::test]
async fn first_poll_that_fails_makes_no_machine_compliant() {
    let mut watch = Watch::all(4).await;
    watch.inject(Endpoint::MissingKbs, Fault::Status(500));
    watch.poller.poll().await;
    assert!(!watch.status().up && watch.readings().values().all(Option::is_none));
    let scrape = watch.scrape();
    assert_eq!(scrape.count("mde_machine_missing_updates"), 0.0);
    assert_eq!(scrape.sum("mde_compliant_machines"), 0.0);
    assert_eq!(scrape.sum("mde_machine_up"), 0.0);
}

#[tokio::test]
async fn intermittent_404_is_retried_until_it_is_read() {
    let mut watch = Watch::all(3).await;
    let id = watch.api.id().to_string();
    watch.api.control().inject_for_machine(&id, Fault::NotFound, Times::Next(3));
    watch.poller.poll().await;
    assert!(attempt_succeeded(&watch, &id) && watch.readings()[&id].is_some());
    assert!(watch.status().up && watch.status().last_error.is_none(), "{:?}", watch.status());
    assert_eq!(watch.asked(), 3 + 3);
    assert_eq!(watch.failures("not_found"), 0.0);
    assert_eq!(watch.scrape().sum("mde_machine_up"), 3.0);
}

#[tokio::test]
async fn permanent_404_affects_only_its_machine() {
    let mut watch = Watch::all(3).await;
    let id = watch.api.id().to_string();
    watch.poller.poll().await;
    let old = watch.readings();
    watch.api.wall.forward(INTERVAL);
    watch.api.control().inject_for_machine(&id, Fault::NotFound, Times::Always);
    watch.poller.poll().await;

    let scrape = watch.scrape();
    assert_eq!(scrape.value("mde_up", &[]), Some(1.0));
    assert_eq!(scrape.value("mde_machine_up", &[("machine_id", &id)]), Some(0.0));
    assert_eq!(scrape.sum("mde_machine_up"), 2.0);
    assert_eq!(scrape.count("mde_machine_missing_updates"), 3.0);
    let readings = watch.readings();
    assert_eq!(readings[&id], old[&id], "its old data stays");
    let fresh = readings.values().filter(|assessment| assessment.as_ref().unwrap().0 == watch.api.wall.now());
    assert_eq!(fresh.count(), 2);
    assert_eq!((watch.asked(), watch.failures("not_found")), (3 + 3 + 3, 1.0));
}

#[tokio::test]
async fn aborted_poll_does_not_count_a_404_as_failure() {
    let mut watch = Watch::all(2).await;
    let ids = watch.api.control().machine_ids();
    watch.poller.poll().await;
    watch.api.wall.forward(INTERVAL);
    watch.api.control().inject_for_machine(&ids[0], Fault::NotFound, Times::Always);
    watch.api.control().inject_for_machine(&ids[1], Fault::Forbidden(String::new()), Times::Always);
    watch.poller.poll().await;
    assert!(!watch.status().up);
    assert!(attempt_succeeded(&watch, &ids[0]) && attempt_succeeded(&watch, &ids[1]));
    assert_eq!((watch.failures("not_found"), watch.failures("forbidden")), (0.0, 1.0));
}

#[tokio::test]
async fn scope_of_ids_works_without_the_list_role() {
    let roles = vec!["Software.Read.All".to_owned()];
    let id = Watch::all(3).await.api.id().to_string();
    let plain = Options { roles, ..options(3, Realism::Plain) };
    let mut watch = Watch::new(plain, Selectors { ids: vec![id.clone()], ..Selectors::default() }).await;
    let log = Log::default();
    let guard = log.listen();
    for _ in 0..3 {
        watch.poller.poll().await;
        watch.api.wall.forward(INTERVAL);
    }
    drop(guard);
    assert_eq!(log.count("going on without the machine list"), 1);
    assert_eq!(log.count("Machine.Read.All"), 1);
    assert!(watch.status().up && watch.readings()[&id].is_some());
    let facts = &machine(&watch, &id).facts;
    assert!(facts.name.is_empty() && facts.os_platform.is_empty());
    assert_eq!((watch.asked(), watch.scrape().value("mde_up", &[])), (3, Some(1.0)));
}

#[tokio::test]
async fn scope_of_all_needs_the_list_role() {
    let roles = vec!["Software.Read.All".to_owned()];
    let mut watch = Watch::new(Options { roles, ..options(3, Realism::Plain) }, all()).await;
    watch.poller.poll().await;
    let status = watch.status();
    assert!(!status.up && status.last_error.as_ref().unwrap().contains("Machine.Read.All"), "{status:?}");
}

#[tokio::test]
async fn failed_list_does_not_stop_the_machine_polls() {
    let mut watch = Watch::all(3).await;
    watch.poller.poll().await;
    watch.api.wall.forward(INTERVAL);
    watch.inject(Endpoint::Machines, Fault::Status(503));
    watch.poller.poll().await;
    assert_eq!(watch.asked(), 6);
    let now = watch.api.wall.now();
    assert!(watch.readings().values().all(|assessment| assessment.as_ref().unwrap().0 == now));
    assert!(!watch.status().up && watch.failures("server_error") == 1.0);
}

#[tokio::test]
async fn ten_consecutive_failures_end_the_poll() {
    let mut watch = Watch::all(60).await;
    let log = Log::default();
    let guard = log.listen();
    watch.inject(Endpoint::MissingKbs, Fault::Status(500));
    watch.poller.poll().await;
    drop(guard);
    assert!(!watch.status().up);
    assert_eq!(log.count("could not be read"), 1, "one line, however many machines");
    // Ten that fail, and the seven that were under way by then; four attempts each.
    assert!((40..=17 * 4).contains(&watch.asked()), "{}", watch.asked());
    let tried = |watch: &Watch| {
        let machines = watch.poller.fleet().machines.iter();
        machines.filter(|(_, machine)| machine.attempt.is_some()).map(|(id, _)| id.to_string()).collect()
    };
    let first: std::collections::BTreeSet<String> = tried(&watch);
    assert!((10..=17).contains(&first.len()));

    watch.poller.poll().await;
    assert!(tried(&watch).len() >= first.len() + 10, "others come first");
    watch.api.control().clear();
    watch.api.wall.forward(INTERVAL);
    watch.poller.poll().await;
    assert!(watch.status().up && watch.readings().values().all(Option::is_some));
}

#[tokio::test]
async fn successful_machines_keep_a_poll_with_failures_running() {
    let mut watch = Watch::all(60).await;
    let ids = watch.api.control().machine_ids();
    for id in ids.iter().step_by(2) {
        watch.api.control().inject_for_machine(id, Fault::NotJson, Times::Always);
    }
    watch.poller.poll().await;
    assert!(watch.status().up);
    assert_eq!(watch.readings().values().filter(|assessment| assessment.is_some()).count(), 30);
    assert_eq!(watch.scrape().sum("mde_machine_up"), 30.0);
}

#[tokio::test]
async fn unusable_reply_keeps_the_missing_updates() {
    let mut watch = Watch::all(2).await;
    let id = watch.api.id().to_string();
    watch.api.control().set_missing(&id, vec![MissingKb::new("5001", "May 2026 Security Updates")]);
    watch.poller.poll().await;
    let known = watch.readings();
    watch.api.control().set_reply(&id, r#"{"value":[{"id":null}]}"#);
    watch.api.wall.forward(INTERVAL);
    watch.poller.poll().await;
    assert_eq!(watch.readings()[&id], known[&id]);
    assert_eq!((watch.poller.fleet().totals.resolved, watch.failures("decode")), (0, 1.0));
    assert!(watch.status().up && !attempt_succeeded(&watch, &id));
}

#[tokio::test]
async fn hanging_tenant_does_not_delay_the_other() {
    let (mut sick, mut well) = (Watch::all(3).await, Watch::all(3).await);
    sick.inject(Endpoint::Token, Fault::Hang);
    let well_ends_first = tokio::select! {
        biased;
        () = sick.poller.poll() => false,
        () = well.poller.poll() => true,
    };
    assert!(well_ends_first && well.status().up && well.readings().values().all(Option::is_some));
    assert!(!sick.status().up);
}
