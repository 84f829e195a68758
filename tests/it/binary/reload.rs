//! Reloads of the configuration of the real binary: by signal, by request, and by a changed file.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::time::Duration;

use mde_simulator::{Endpoint, Fault, Times};
use reqwest::StatusCode;
use tokio::process::Command;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, test_tenant};
use crate::support::exposition::Exposition;
use crate::support::tenant::TestTenant;

const LIFECYCLE: &str = "--web.enable-lifecycle";
const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";
const LAST_SUCCESS: &str = "mde_machine_last_success_timestamp_seconds";
const SUCCESSFUL: &str = "mde_exporter_config_last_reload_successful";

/// An entry of `tenants` for the simulator's tenant under this name.
fn tenant(test_tenant: &TestTenant, name: &str) -> String {
    entry(test_tenant, name, "client_secret_file: secret.txt", "")
}

/// A configuration of these tenants, followed by `rest`.
fn text(tenants: &[String], rest: &str) -> String {
    format!("tenants:\n{}poll: {{ interval: 1h }}\n{rest}", tenants.concat())
}

fn configure(test_tenant: &TestTenant, tenants: &[String], rest: &str) {
    test_tenant.write("mde_exporter.yml", &text(tenants, rest));
}

async fn start(test_tenant: &TestTenant) -> RunningExporter {
    RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK, LIFECYCLE])).await
}

/// Starts with only contoso and waits until its data is served.
async fn start_polled(test_tenant: &TestTenant) -> RunningExporter {
    configure(test_tenant, &[tenant(test_tenant, "contoso")], "");
    let mut running = start(test_tenant).await;
    running.line_with("poll finished").await;
    let machines = u32::try_from(test_tenant.sim.control().machine_ids().len()).unwrap();
    running.scrape_of(machines.into()).await;
    running
}

/// Reloads by request, which must succeed, and returns the changes.
async fn reload(running: &RunningExporter) -> String {
    let (status, body) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

/// The values of a label in the samples of a family.
fn labels(scrape: &Exposition, family: &str, label: &str) -> BTreeSet<String> {
    scrape.samples(family).map(|sample| sample.label(label).to_owned()).collect()
}

/// First seen times of a tenant by machine and KB.
fn first_seen(scrape: &Exposition, tenant: &str) -> BTreeMap<(String, String), String> {
    let samples = scrape.samples(FIRST_SEEN).filter(|sample| sample.label("tenant") == tenant);
    let label = |sample: &crate::support::exposition::Sample, name| sample.label(name).to_owned();
    samples
        .map(|sample| ((label(sample, "machine_id"), label(sample, "kb")), sample.value.to_string()))
        .collect()
}

/// The number of calls for each machine.
fn calls_by_machine(test_tenant: &TestTenant) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for id in test_tenant.sim.control().calls().into_iter().filter_map(|call| call.machine_id) {
        *calls.entry(id).or_default() += 1;
    }
    calls
}

/// The number of API calls and of token requests.
fn calls(test_tenant: &TestTenant) -> (usize, u64) {
    (test_tenant.sim.control().calls().len(), test_tenant.requests())
}

#[tokio::test]
async fn sighup_applies_changes_without_api_calls() {
    let test_tenant = test_tenant(20).await;
    let mut running = start_polled(&test_tenant).await;
    let before = calls(&test_tenant);

    running.signal("HUP").await;
    let line = running.line_with("nothing changed").await;
    assert!(line.contains("by=SIGHUP"), "{line}");
    let policies = "metrics: { detail: machine }\npolicies: [{ name: week, deadline: 7d }]\n";
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], policies);
    running.signal("HUP").await;
    let line = running.line_with("configuration reloaded\"").await;
    let changed = "changed=\"metrics.detail,policies[week] added,policies[14d] removed\"";
    assert!(line.contains(changed), "{line}");

    let scrape = running.scrape().await;
    assert_eq!(labels(&scrape, "mde_policy_machines", "policy"), ["week".to_owned()].into());
    assert_eq!((scrape.count(FIRST_SEEN), scrape.count(LAST_SUCCESS)), (0.0, 20.0));
    assert_eq!(calls(&test_tenant), before);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn invalid_file_keeps_the_configuration_and_logs_its_problems() {
    let test_tenant = test_tenant(3).await;
    let mut running = start_polled(&test_tenant).await;
    let time =
        |scrape: &Exposition| scrape.value("mde_exporter_config_last_reload_success_timestamp_seconds", &[]);
    let started = running.scrape().await;
    assert_eq!(started.value(SUCCESSFUL, &[]), Some(1.0));

    let bad = "surprise: 1\npolicies: [{ name: week, deadline: soon }]\n";
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], bad);
    let (status, problems) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let lines: Vec<&str> = problems.lines().collect();
    assert_eq!(lines.len(), 2, "{problems}");
    assert!(
        lines[0].contains("surprise (line ") && lines[1].contains("policies[0].deadline (line "),
        "{problems}"
    );
    running.line_with("surprise").await;
    let line = running.line_with("policies[0].deadline").await;
    assert!(line.contains("level=error") && line.contains("keeping the previous configuration"), "{line}");
    let scrape = running.scrape().await;
    assert_eq!((scrape.value(SUCCESSFUL, &[]), time(&scrape)), (Some(0.0), time(&started)));
    assert_eq!(labels(&scrape, "mde_policy_machines", "policy"), ["14d".to_owned()].into());

    // A problem that only shows when connections are made is reported too.
    test_tenant.write("broken.pem", "no certificate");
    let broken = tenant(&test_tenant, "contoso").replace("ca.pem", "broken.pem");
    configure(&test_tenant, &[broken], "policies: []\n");
    let (status, problems) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problems.contains("contoso") && problems.contains("broken.pem"), "{problems}");
    assert_eq!(labels(&running.scrape().await, "mde_policy_machines", "policy"), ["14d".to_owned()].into());

    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], "policies: []\n");
    assert_eq!(reload(&running).await, "changed: policies[14d] removed\n");
    let scrape = running.scrape().await;
    assert_eq!((scrape.value(SUCCESSFUL, &[]), scrape.count("mde_policy_machines")), (Some(1.0), 0.0));
    assert!(time(&scrape) > time(&started));
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn reload_request_needs_the_flag_and_post() {
    let test_tenant = test_tenant(1).await;
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], "");
    let running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    let (status, body) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains(LIFECYCLE), "{body}");
    assert_eq!(running.get("/-/reload").await.0, StatusCode::METHOD_NOT_ALLOWED);
    let requests = running.scrape().await;
    let rejected = [("path", "/-/reload"), ("code", "403")];
    assert_eq!(requests.value("mde_exporter_http_requests_total", &rejected), Some(1.0));
}

#[tokio::test]
async fn reload_fetches_only_the_added_machine() {
    let test_tenant = test_tenant(5).await;
    let ids = test_tenant.sim.control().machine_ids();
    let chosen = |ids: &[String]| {
        tenant(&test_tenant, "contoso")
            .replace("machines: { all: true }", &format!("machines: {{ ids: {ids:?} }}"))
    };
    configure(&test_tenant, &[chosen(&ids[..3])], "");
    let mut running = start(&test_tenant).await;
    running.line_with("poll finished").await;
    let before = calls_by_machine(&test_tenant);
    assert_eq!(before.len(), 3);

    configure(&test_tenant, &[chosen(&ids[..4])], "");
    assert_eq!(reload(&running).await, "changed: tenants[contoso].machines.ids\n");
    running.line_with("poll finished").await;
    let mut expected = before;
    expected.insert(ids[3].clone(), 1);
    assert_eq!(calls_by_machine(&test_tenant), expected);

    configure(&test_tenant, &[chosen(&ids[1..4])], "");
    reload(&running).await;
    running.line_with("poll finished").await;
    assert_eq!(calls_by_machine(&test_tenant), expected);
    let machines = labels(&running.scrape_of(3.0).await, LAST_SUCCESS, "machine_id");
    assert_eq!(machines, ids[1..4].iter().cloned().collect());
    assert_eq!(test_tenant.requests(), 3, "one token serves all polls until a reload");
}

#[tokio::test]
async fn tenant_that_is_removed_and_added_keeps_its_data() {
    let test_tenant = test_tenant(6).await;
    let mut running = start_polled(&test_tenant).await;
    let (contoso, fabrikam) = (tenant(&test_tenant, "contoso"), tenant(&test_tenant, "fabrikam"));
    test_tenant.sim.control().inject(
        Endpoint::MissingKbs,
        Fault::Delay(Duration::from_millis(300)),
        Times::Always,
    );

    configure(&test_tenant, &[contoso.clone(), fabrikam.clone()], "");
    assert_eq!(reload(&running).await, "changed: tenants[fabrikam] added\n");
    let (status, body) = running.get("/-/ready").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "tenants without data: 1\n"));
    running.line_with("poll finished").await;
    running.wait_for_status("/-/ready", StatusCode::OK).await;
    let before = running.scrape_of(12.0).await;
    assert!(!first_seen(&before, "fabrikam").is_empty());

    configure(&test_tenant, std::slice::from_ref(&contoso), "");
    assert_eq!(reload(&running).await, "changed: tenants[fabrikam] removed\n");
    let text = running.get("/metrics").await.1;
    assert!(!text.contains("tenant=\"fabrikam\""), "{text}");
    assert_eq!(running.get("/-/ready").await.0, StatusCode::OK);

    let calls_before = calls_by_machine(&test_tenant);
    configure(&test_tenant, &[fabrikam, contoso], "");
    reload(&running).await;
    let after = running.scrape().await;
    assert_eq!(first_seen(&after, "fabrikam"), first_seen(&before, "fabrikam"));
    assert_eq!(first_seen(&after, "contoso"), first_seen(&before, "contoso"));
    let hour = |name| [("tenant", name), ("window", "1h")];
    assert_eq!(after.value("mde_exporter_api_quota_used_requests", &hour("fabrikam")), Some(14.0), "of both");
    assert_eq!(calls_by_machine(&test_tenant), calls_before, "nothing is fetched again");
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn quota_usage_survives_rename_and_reconnect_of_a_tenant() {
    let test_tenant = test_tenant(6).await;
    let mut running = start_polled(&test_tenant).await;
    let used = |scrape: &Exposition, tenant| {
        scrape.value("mde_exporter_api_quota_used_requests", &[("tenant", tenant), ("window", "1h")])
    };
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));

    configure(
        &test_tenant,
        &[entry(&test_tenant, "contoso", "client_secret_file: secret.txt", ", timeout: 59s")],
        "",
    );
    assert_eq!(reload(&running).await, "changed: tenants[contoso].http.timeout\n");
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));
    test_tenant.write("ca.pem", &format!("{}\n", test_tenant.sim.ca_pem()));
    assert_eq!(reload(&running).await, "changed: tenants[contoso].http.ca_file (content)\n");
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));
    assert!(
        calls_by_machine(&test_tenant).values().all(|count| *count == 1),
        "{:?}",
        calls_by_machine(&test_tenant)
    );

    configure(&test_tenant, &[tenant(&test_tenant, "renamed")], "");
    reload(&running).await;
    running.line_with("poll finished").await;
    let scrape = running.scrape().await;
    assert_eq!((used(&scrape, "renamed"), used(&scrape, "contoso")), (Some(14.0), None));
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn swapped_symlink_reloads_the_configuration() {
    let test_tenant = test_tenant(1).await;
    let path = |name: &str| test_tenant.folder.path().join(name);
    let versions =
        [("..1", ""), ("..2", "surprise: 1\n"), ("..3", "policies: []\n")].map(|(folder, rest)| {
            std::fs::create_dir(path(folder)).unwrap();
            let tenant = tenant(&test_tenant, "contoso")
                .replace("secret.txt", "../secret.txt")
                .replace("ca.pem", "../ca.pem");
            test_tenant.write(&format!("{folder}/mde_exporter.yml"), &text(&[tenant], rest));
            folder
        });
    let switch_to = |version: &str| {
        symlink(version, path("..new")).unwrap();
        std::fs::rename(path("..new"), path("..data")).unwrap();
    };
    switch_to(versions[0]);
    let mut running = RunningExporter::start(command(
        &test_tenant.folder,
        &["run", LOOPBACK, "--config.file=..data/mde_exporter.yml"],
    ))
    .await;
    running.line_with("poll finished").await;
    switch_to(versions[1]);
    let line = running.line_with("keeping the previous configuration").await;
    assert!(line.contains("surprise") && line.contains("by=\"file change\""), "{line}");
    assert_eq!(running.scrape().await.value(SUCCESSFUL, &[]), Some(0.0));
    switch_to(versions[2]);
    let line = running.line_with("configuration reloaded\"").await;
    assert!(line.contains("changed=\"policies[14d] removed\""), "{line}");
    assert_eq!(running.scrape().await.value(SUCCESSFUL, &[]), Some(1.0));
    let output = running.stop("TERM").await;
    assert_eq!(output.stderr.matches("keeping the previous configuration").count(), 1, "{}", output.stderr);
}

#[tokio::test]
async fn scrapes_during_a_reload_see_one_configuration() {
    let test_tenant = test_tenant(10).await;
    let versions = ["fabrikam", "tailspin"].map(|other| {
        let tenants = [tenant(&test_tenant, "contoso"), tenant(&test_tenant, other)];
        text(&tenants, &format!("policies: [{{ name: {other}, deadline: 7d }}]\n"))
    });
    test_tenant.write("mde_exporter.yml", &versions[0]);
    let running = start(&test_tenant).await;
    let done = std::cell::Cell::new(false);
    let reloads = async {
        for round in 1..=20 {
            test_tenant.write("mde_exporter.yml", &versions[round % 2]);
            let (status, body) = running.post("/-/reload").await;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        done.set(true);
    };
    let scrapes = async {
        let mut seen = BTreeSet::new();
        while !done.get() {
            let scrape = running.scrape().await;
            let policies = labels(&scrape, "mde_policy_deadline_seconds", "policy");
            assert_eq!(policies.len(), 1, "{policies:?}");
            let mut tenants = policies.clone();
            tenants.insert("contoso".to_owned());
            assert_eq!(labels(&scrape, "mde_up", "tenant"), tenants);
            assert_eq!(labels(&scrape, "mde_policy_machines", "tenant"), tenants);
            seen.extend(policies);
        }
        assert_eq!(seen.len(), 2, "both were seen");
    };
    tokio::join!(reloads, scrapes);
    let text = running.get("/metrics").await.1;
    assert!(!text.contains("tenant=\"tailspin\""), "{text}");
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn running_poll_continues_unless_its_tenant_changes() {
    let test_tenant = test_tenant(30).await;
    let control = test_tenant.sim.control();
    control.inject(Endpoint::MissingKbs, Fault::Delay(Duration::from_millis(50)), Times::Always);
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], "");
    let mut running = start(&test_tenant).await;
    control.wait_for_requests(Endpoint::MissingKbs, 5).await;
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], "policies: []\n");
    reload(&running).await;
    running.line_with("poll finished").await;
    assert!(
        calls_by_machine(&test_tenant).values().all(|count| *count == 1),
        "{:?}",
        calls_by_machine(&test_tenant)
    );

    // A poll that hangs does not delay the reload.
    control.clear();
    control.inject(Endpoint::Machines, Fault::Hang, Times::Always);
    let fewer = tenant(&test_tenant, "contoso").replace("all: true", "all: true, exclude: { names: [x] }");
    configure(&test_tenant, &[fewer], "policies: []\n");
    let lists = control.requests(Endpoint::Machines);
    reload(&running).await;
    control.wait_for_requests(Endpoint::Machines, lists + 1).await;
    configure(&test_tenant, &[tenant(&test_tenant, "contoso")], "policies: []\n");
    reload(&running).await;
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn hanging_reload_does_not_delay_the_stop() {
    let test_tenant = test_tenant(1).await;
    let running = start_polled(&test_tenant).await;
    let file = test_tenant.folder.path().join("mde_exporter.yml");
    std::fs::remove_file(&file).unwrap();
    // Opening a pipe waits for a writer.
    assert!(Command::new("mkfifo").arg(&file).status().await.unwrap().success());
    running.signal("HUP").await;
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
    let output = running.stop("TERM").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}
