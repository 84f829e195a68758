//! Own labels and exceptions of the real binary: a reload applies them without a call to the API.

use std::collections::BTreeMap;

use reqwest::StatusCode;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, run, test_tenant};
use crate::support::exposition::Exposition;
use crate::support::tenant::TestTenant;

const NAMES: [&str; 4] =
    ["mde_assessed_machines", "mde_compliant_machines", "mde_policy_machines", "mde_machine_info"];

/// A policy under which every missing update is overdue at once.
const POLICY: &str = "poll: { interval: 1h }\npolicies: [{ name: now, deadline: 1s, from: released }]\n";

/// Writes the configuration of one tenant, followed by `rest`.
fn configure(test_tenant: &TestTenant, rest: &str) {
    let tenant = entry(test_tenant, "contoso", "client_secret_file: secret.txt", "");
    test_tenant.write("mde_exporter.yml", &format!("tenants:\n{tenant}{POLICY}{rest}"));
}

async fn reload(running: &RunningExporter, expected: &str) -> Exposition {
    let (status, body) = running.post("/-/reload").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, expected));
    running.scrape().await
}

/// Machines by policy state.
fn states(scrape: &Exposition) -> BTreeMap<String, f64> {
    let mut states = scrape.sum_by("mde_policy_machines", "state");
    states.retain(|_, machines| *machines > 0.0);
    states
}

fn exceptions(until: &str, machines: &str) -> String {
    format!(
        "exceptions:\n  - {{ name: all, reason: a change, until: {until}, machines: {{ names: ['{machines}'] }} }}\n"
    )
}

#[tokio::test]
async fn reload_applies_exceptions_and_labels_without_a_call() {
    let test_tenant = test_tenant(24).await;
    configure(&test_tenant, "");
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    let before = running.scrape_of(24.0).await;
    let calls = test_tenant.sim.control().calls().len();
    let missing = before.sum("mde_missing_updates");
    assert!(missing > 0.0 && states(&before).contains_key("overdue"));

    configure(&test_tenant, &exceptions("2099-12-31", "*"));
    let accepted = reload(&running, "changed: exceptions[all] added\n").await;
    let is_compliant = accepted.sum("mde_compliant_machines");
    let expected = [("accepted", 24.0 - is_compliant), ("compliant", is_compliant)];
    assert_eq!(states(&accepted), expected.map(|(state, count)| (state.to_owned(), count)).into());
    let covered = |scrape: &Exposition| scrape.value("mde_exception_updates", &[("exception", "all")]);
    assert_eq!((covered(&accepted), accepted.sum("mde_missing_updates")), (Some(missing), missing));
    let (_, page) = running.get("/").await;
    assert!(page.contains("<bdi>all</bdi>") && page.contains("a change"), "{page}");

    let labels = "metrics: { labels: { team: { tag_prefix: 'team:' } } }\n";
    configure(&test_tenant, &format!("{labels}{}", exceptions("2099-12-31", "hq-*")));
    let narrowed = reload(&running, "changed: metrics.labels[team] added,exceptions[all].names\n").await;
    assert!(covered(&narrowed) < Some(missing));
    for name in NAMES {
        assert!(narrowed.sum_by(name, "team").contains_key("workplace"), "{name}");
        assert_eq!(narrowed.sum(name), before.sum(name), "{name}");
    }

    configure(&test_tenant, &exceptions("2020-01-31", "*"));
    let ended = reload(
        &running,
        "changed: metrics.labels[team] removed,exceptions[all].until,exceptions[all].names\n",
    );
    let ended = ended.await;
    // The original clock continues: overdue machines are overdue at once.
    assert_eq!((states(&ended), covered(&ended)), (states(&before), Some(0.0)));
    let line = running.line_with("exceptions[0].until").await;
    assert!(line.contains("level=warn") && line.contains("is in the past"), "{line}");
    configure(&test_tenant, "");
    let removed = reload(&running, "changed: exceptions[all] removed\n").await;
    assert_eq!((removed.count("mde_exception_updates"), states(&removed)), (0.0, states(&before)));

    assert_eq!(test_tenant.sim.control().calls().len(), calls);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn bad_exception_keeps_the_previous_ones() {
    let test_tenant = test_tenant(6).await;
    configure(&test_tenant, &exceptions("2099-12-31", "*"));
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    running.scrape_of(6.0).await;
    configure(&test_tenant, "exceptions:\n  - { name: all, machines: { names: ['*'] } }\n");
    let (status, problems) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let keys: Vec<_> = problems.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(keys, ["exceptions[0].reason", "exceptions[0].until"]);
    assert!(running.scrape().await.value("mde_exception_end_timestamp_seconds", &[]) > Some(4_102_358_400.0));
}

#[tokio::test]
async fn check_config_reports_exceptions_and_labels_offline() {
    let test_tenant = test_tenant(1).await;
    configure(&test_tenant, &exceptions("2020-01-31", "*"));
    let output = run(&test_tenant.folder, &["check-config"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(
        output.stdout.contains("warning: mde_exporter.yml: exceptions[0].until (line "),
        "{}",
        output.stdout
    );

    configure(
        &test_tenant,
        "metrics: { labels: { job: { tag_prefix: a } } }\nexceptions: [{ name: a, owner: b }]\n",
    );
    let output = run(&test_tenant.folder, &["check-config"]).await;
    assert_eq!(output.code, Some(64));
    for problem in [
        "metrics.labels.job (line ",
        "exceptions[0].owner (line ",
        "exceptions[0].reason (line ",
        "exceptions[0].until (line ",
        "selects nothing",
    ] {
        assert!(output.stderr.contains(problem), "{}", output.stderr);
    }
}
