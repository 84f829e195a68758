//! The configuration read again while the real binary runs: by signal, by request, by a changed file.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::time::Duration;

use mde_simulator::{Endpoint, Fault, Times};
use reqwest::StatusCode;
use tokio::process::Command;

use crate::support::binary::{LOOPBACK, Running, command, entry, scene};
use crate::support::exposition::Exposition;
use crate::support::tenant::Scene;

const LIFECYCLE: &str = "--web.enable-lifecycle";
const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";
const LAST_SUCCESS: &str = "mde_machine_last_success_timestamp_seconds";
const SUCCESSFUL: &str = "mde_exporter_config_last_reload_successful";

/// A tenant of the simulator by this name.
fn tenant(scene: &Scene, name: &str) -> String {
    entry(scene, name, "client_secret_file: secret.txt", "")
}

/// A configuration of these tenants, with what else is given.
fn text(tenants: &[String], rest: &str) -> String {
    format!("tenants:\n{}poll: {{ interval: 1h }}\n{rest}", tenants.concat())
}

fn configure(scene: &Scene, tenants: &[String], rest: &str) {
    scene.write("mde_exporter.yml", &text(tenants, rest));
}

async fn start(scene: &Scene) -> Running {
    Running::start(command(&scene.folder, &["run", LOOPBACK, LIFECYCLE])).await
}

/// Starts with contoso alone and waits until it is polled and served.
async fn start_polled(scene: &Scene) -> Running {
    configure(scene, &[tenant(scene, "contoso")], "");
    let mut running = start(scene).await;
    running.line_with("poll finished").await;
    running.wait_for_value("mde_up", 1.0).await;
    running
}

/// Reloads by request, which has to work; what changed.
async fn reload(running: &Running) -> String {
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

/// A scrape with the data of so many machines.
async fn scrape_of(running: &Running, machines: f64) -> Exposition {
    let scraping = async {
        loop {
            let scrape = running.scrape().await;
            if scrape.count(LAST_SUCCESS) == machines {
                return scrape;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), scraping).await.expect("it has them")
}

/// How often each machine was asked.
fn asked(scene: &Scene) -> BTreeMap<String, u64> {
    let mut asked = BTreeMap::new();
    for id in scene.sim.control().calls().into_iter().filter_map(|call| call.machine_id) {
        *asked.entry(id).or_default() += 1;
    }
    asked
}

/// Everything that was asked, tokens included.
fn calls(scene: &Scene) -> (usize, u64) {
    (scene.sim.control().calls().len(), scene.requests())
}

#[tokio::test]
async fn sighup_applies_changes_without_api_calls() {
    let scene = scene(20).await;
    let mut running = start_polled(&scene).await;
    let before = calls(&scene);

    running.signal("HUP").await;
    let line = running.line_with("nothing changed").await;
    assert!(line.contains("by=SIGHUP"), "{line}");
    let policies = "metrics: { detail: machine }\npolicies: [{ name: week, deadline: 7d }]\n";
    configure(&scene, &[tenant(&scene, "contoso")], policies);
    running.signal("HUP").await;
    let line = running.line_with("configuration reloaded\"").await;
    let changed = "changed=\"metrics.detail,policies[week] added,policies[14d] removed\"";
    assert!(line.contains(changed), "{line}");

    let scrape = running.scrape().await;
    assert_eq!(labels(&scrape, "mde_policy_machines", "policy"), ["week".to_owned()].into());
    assert_eq!((scrape.count(FIRST_SEEN), scrape.count(LAST_SUCCESS)), (0.0, 20.0));
    assert_eq!(calls(&scene), before);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn invalid_file_keeps_the_configuration_and_logs_its_problems() {
    let scene = scene(3).await;
    let mut running = start_polled(&scene).await;
    let time =
        |scrape: &Exposition| scrape.value("mde_exporter_config_last_reload_success_timestamp_seconds", &[]);
    let started = running.scrape().await;
    assert_eq!(started.value(SUCCESSFUL, &[]), Some(1.0));

    let bad = "surprise: 1\npolicies: [{ name: week, deadline: soon }]\n";
    configure(&scene, &[tenant(&scene, "contoso")], bad);
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

    // What only shows when connections are made is a problem too.
    scene.write("broken.pem", "no certificate");
    let broken = tenant(&scene, "contoso").replace("ca.pem", "broken.pem");
    configure(&scene, &[broken], "policies: []\n");
    let (status, problems) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problems.contains("contoso") && problems.contains("broken.pem"), "{problems}");
    assert_eq!(labels(&running.scrape().await, "mde_policy_machines", "policy"), ["14d".to_owned()].into());

    configure(&scene, &[tenant(&scene, "contoso")], "policies: []\n");
    assert_eq!(reload(&running).await, "changed: policies[14d] removed\n");
    let scrape = running.scrape().await;
    assert_eq!((scrape.value(SUCCESSFUL, &[]), scrape.count("mde_policy_machines")), (Some(1.0), 0.0));
    assert!(time(&scrape) > time(&started));
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn reload_request_needs_the_flag_and_post() {
    let scene = scene(1).await;
    configure(&scene, &[tenant(&scene, "contoso")], "");
    let running = Running::start(command(&scene.folder, &["run", LOOPBACK])).await;
    let (status, body) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains(LIFECYCLE), "{body}");
    assert_eq!(running.get("/-/reload").await.0, StatusCode::METHOD_NOT_ALLOWED);
    let requests = running.scrape().await;
    let refused = [("path", "/-/reload"), ("code", "403")];
    assert_eq!(requests.value("mde_exporter_http_requests_total", &refused), Some(1.0));
}

#[tokio::test]
async fn reload_fetches_only_the_added_machine() {
    let scene = scene(5).await;
    let ids = scene.sim.control().machine_ids();
    let chosen = |ids: &[String]| {
        tenant(&scene, "contoso").replace("machines: { all: true }", &format!("machines: {{ ids: {ids:?} }}"))
    };
    configure(&scene, &[chosen(&ids[..3])], "");
    let mut running = start(&scene).await;
    running.line_with("poll finished").await;
    let before = asked(&scene);
    assert_eq!(before.len(), 3);

    configure(&scene, &[chosen(&ids[..4])], "");
    assert_eq!(reload(&running).await, "changed: tenants[contoso].machines.ids\n");
    running.line_with("poll finished").await;
    let mut expected = before;
    expected.insert(ids[3].clone(), 1);
    assert_eq!(asked(&scene), expected);

    configure(&scene, &[chosen(&ids[1..4])], "");
    reload(&running).await;
    running.line_with("poll finished").await;
    assert_eq!(asked(&scene), expected);
    let machines = labels(&scrape_of(&running, 3.0).await, LAST_SUCCESS, "machine_id");
    assert_eq!(machines, ids[1..4].iter().cloned().collect());
    assert_eq!(scene.requests(), 1, "one token did for all");
}

#[tokio::test]
async fn tenant_that_is_removed_and_added_keeps_its_data() {
    let scene = scene(6).await;
    let mut running = start_polled(&scene).await;
    let (contoso, fabrikam) = (tenant(&scene, "contoso"), tenant(&scene, "fabrikam"));
    scene.sim.control().inject(Endpoint::MissingKbs, Fault::Delay(Duration::from_millis(300)), Times::Always);

    configure(&scene, &[contoso.clone(), fabrikam.clone()], "");
    assert_eq!(reload(&running).await, "changed: tenants[fabrikam] added\n");
    let (status, body) = running.get("/-/ready").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "tenants without data: 1\n"));
    running.line_with("poll finished").await;
    running.wait_for_status("/-/ready", StatusCode::OK).await;
    let before = scrape_of(&running, 12.0).await;
    assert!(!first_seen(&before, "fabrikam").is_empty());

    configure(&scene, std::slice::from_ref(&contoso), "");
    assert_eq!(reload(&running).await, "changed: tenants[fabrikam] removed\n");
    let text = running.get("/metrics").await.1;
    assert!(!text.contains("tenant=\"fabrikam\""), "{text}");
    assert_eq!(running.get("/-/ready").await.0, StatusCode::OK);

    let asked_before = asked(&scene);
    configure(&scene, &[fabrikam, contoso], "");
    reload(&running).await;
    let after = running.scrape().await;
    assert_eq!(first_seen(&after, "fabrikam"), first_seen(&before, "fabrikam"));
    assert_eq!(first_seen(&after, "contoso"), first_seen(&before, "contoso"));
    let hour = |name| [("tenant", name), ("window", "1h")];
    assert_eq!(after.value("mde_exporter_api_quota_used_requests", &hour("fabrikam")), Some(7.0));
    assert_eq!(asked(&scene), asked_before, "nothing is asked again");
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn quota_usage_survives_rename_and_reconnect_of_a_tenant() {
    let scene = scene(6).await;
    let mut running = start_polled(&scene).await;
    let used = |scrape: &Exposition, tenant| {
        scrape.value("mde_exporter_api_quota_used_requests", &[("tenant", tenant), ("window", "1h")])
    };
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));

    configure(&scene, &[entry(&scene, "contoso", "client_secret_file: secret.txt", ", timeout: 59s")], "");
    assert_eq!(reload(&running).await, "changed: tenants[contoso].http.timeout\n");
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));
    scene.write("ca.pem", &format!("{}\n", scene.sim.ca_pem()));
    assert_eq!(reload(&running).await, "changed: tenants[contoso].http.ca_file (content)\n");
    assert_eq!(used(&running.scrape().await, "contoso"), Some(7.0));
    assert!(asked(&scene).values().all(|count| *count == 1), "{:?}", asked(&scene));

    configure(&scene, &[tenant(&scene, "renamed")], "");
    reload(&running).await;
    running.line_with("poll finished").await;
    let scrape = running.scrape().await;
    assert_eq!((used(&scrape, "renamed"), used(&scrape, "contoso")), (Some(14.0), None));
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn swapped_symlink_reloads_the_configuration() {
    let scene = scene(1).await;
    let path = |name: &str| scene.folder.path().join(name);
    let versions =
        [("..1", ""), ("..2", "surprise: 1\n"), ("..3", "policies: []\n")].map(|(folder, rest)| {
            std::fs::create_dir(path(folder)).unwrap();
            let tenant = tenant(&scene, "contoso")
                .replace("secret.txt", "../secret.txt")
                .replace("ca.pem", "../ca.pem");
            scene.write(&format!("{folder}/mde_exporter.yml"), &text(&[tenant], rest));
            folder
        });
    let turn = |version: &str| {
        symlink(version, path("..new")).unwrap();
        std::fs::rename(path("..new"), path("..data")).unwrap();
    };
    turn(versions[0]);
    let mut running =
        Running::start(command(&scene.folder, &["run", LOOPBACK, "--config.file=..data/mde_exporter.yml"]))
            .await;
    running.line_with("poll finished").await;
    turn(versions[1]);
    let line = running.line_with("keeping the previous configuration").await;
    assert!(line.contains("surprise") && line.contains("by=\"file change\""), "{line}");
    assert_eq!(running.scrape().await.value(SUCCESSFUL, &[]), Some(0.0));
    turn(versions[2]);
    let line = running.line_with("configuration reloaded\"").await;
    assert!(line.contains("changed=\"policies[14d] removed\""), "{line}");
    assert_eq!(running.scrape().await.value(SUCCESSFUL, &[]), Some(1.0));
    let said = running.stop("TERM").await;
    assert_eq!(said.stderr.matches("keeping the previous configuration").count(), 1, "{}", said.stderr);
}

#[tokio::test]
async fn scrapes_during_a_reload_see_one_configuration() {
    let scene = scene(10).await;
    let versions = ["fabrikam", "tailspin"].map(|other| {
        let tenants = [tenant(&scene, "contoso"), tenant(&scene, other)];
        text(&tenants, &format!("policies: [{{ name: {other}, deadline: 7d }}]\n"))
    });
    scene.write("mde_exporter.yml", &versions[0]);
    let running = start(&scene).await;
    let done = std::cell::Cell::new(false);
    let reloads = async {
        for round in 1..=20 {
            scene.write("mde_exporter.yml", &versions[round % 2]);
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
    let scene = scene(30).await;
    let control = scene.sim.control();
    control.inject(Endpoint::MissingKbs, Fault::Delay(Duration::from_millis(50)), Times::Always);
    configure(&scene, &[tenant(&scene, "contoso")], "");
    let mut running = start(&scene).await;
    control.wait_for_requests(Endpoint::MissingKbs, 5).await;
    configure(&scene, &[tenant(&scene, "contoso")], "policies: []\n");
    reload(&running).await;
    running.line_with("poll finished").await;
    assert!(asked(&scene).values().all(|count| *count == 1), "{:?}", asked(&scene));

    // One that hangs is not waited for.
    control.clear();
    control.inject(Endpoint::Machines, Fault::Hang, Times::Always);
    let fewer = tenant(&scene, "contoso").replace("all: true", "all: true, exclude: { names: [x] }");
    configure(&scene, &[fewer], "policies: []\n");
    let lists = control.requests(Endpoint::Machines);
    reload(&running).await;
    control.wait_for_requests(Endpoint::Machines, lists + 1).await;
    configure(&scene, &[tenant(&scene, "contoso")], "policies: []\n");
    reload(&running).await;
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn hanging_reload_does_not_delay_the_stop() {
    let scene = scene(1).await;
    let running = start_polled(&scene).await;
    let file = scene.folder.path().join("mde_exporter.yml");
    std::fs::remove_file(&file).unwrap();
    // Opening it waits for somebody who writes.
    assert!(Command::new("mkfifo").arg(&file).status().await.unwrap().success());
    running.signal("HUP").await;
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
    let said = running.stop("TERM").await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}
