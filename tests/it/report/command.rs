//! The command `report` with the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;
use mde_simulator::machine_record;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{CommandOutput, LOOPBACK, RunningExporter, command, entry, run, test_tenant};
use crate::support::exposition::{Exposition, parse};
use crate::support::report::csv_rows;
use crate::support::tenant::{TestTenant, write_file};

const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";

/// A simulator and a configuration without warnings.
async fn configured(machines: usize) -> TestTenant {
    let test_tenant = test_tenant(machines).await;
    let entry = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    test_tenant.write("mde_exporter.yml", &format!("tenants:\n{entry}"));
    test_tenant
}

/// A state with the machines of a simulator, and the exposition of the same data.
async fn polled(machines: usize) -> (TestTenant, Exposition) {
    let test_tenant = configured(machines).await;
    let polled = run(&test_tenant.folder, &["once"]).await;
    assert_eq!(polled.code, Some(0), "{}", polled.stderr);
    (test_tenant, parse(&polled.stdout).unwrap())
}

/// A report that makes no complaint.
async fn report(folder: &TempDir, arguments: &[&str]) -> CommandOutput {
    let output = run(folder, &[&["report"], arguments].concat()).await;
    assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
    output
}

/// The content of every file in the folder of the state.
fn content(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder.path().join("data")).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[tokio::test]
async fn report_lists_what_the_exposition_counts() {
    let (test_tenant, exposed) = polled(30).await;
    let before = content(&test_tenant.folder);
    let output = report(&test_tenant.folder, &[]).await;
    let rows = csv_rows(&output.stdout);
    let updates = rows.iter().filter(|row| !row["kb"].is_empty()).count();
    assert_eq!(updates as f64, exposed.count(FIRST_SEEN));
    assert!(updates > 0 && rows.len() > updates, "{} rows", rows.len());
    assert!(rows.iter().all(|row| row["tenant"] == "contoso" && row["policy"] == "14d"), "{}", output.stdout);
    assert_eq!(content(&test_tenant.folder), before, "the folder of the state is as before");

    let again = report(&test_tenant.folder, &[]).await;
    assert_eq!(again.stdout, output.stdout, "equal data gives equal lines");
    assert!(test_tenant.sim.control().machine_ids().len() == 30);
}

#[tokio::test]
async fn machine_past_end_of_servicing_has_a_row() {
    let test_tenant = configured(0).await;
    let folder = &test_tenant.folder;
    let config = fs::read_to_string(folder.path().join("mde_exporter.yml")).unwrap();
    let lab = "exceptions:\n  - { name: lab, reason: CHG1, until: 9999-12-31, machines: { names: [lab] } }\n";
    test_tenant.write("mde_exporter.yml", &format!("{config}{lab}"));
    for (id, name, build) in [
        ("a1", "ended", json!(22_621)),
        ("a2", "lab", json!("22621")),
        ("a3", "preview", json!(27_965)),
        ("a4", "without build", Value::Null),
    ] {
        let mut record = machine_record(id, name, Timestamp::now());
        (record["osPlatform"], record["version"]) = (json!("Windows11"), json!("22H2"));
        record["osBuild"] = build;
        test_tenant.sim.control().add_machine(record);
    }
    let polled = run(folder, &["once"]).await;
    assert_eq!(polled.code, Some(0), "{}", polled.stderr);
    let cells = |rows: &[BTreeMap<String, String>]| -> Vec<[String; 5]> {
        let columns = ["machine", "title", "deadline", "state", "exception"];
        rows.iter().map(|row| columns.map(|column| row[column].clone())).collect()
    };
    let rows = csv_rows(&report(folder, &[]).await.stdout);
    let (title, end) = ("servicing of Windows11 22H2 ended", "2025-10-15T00:00:00Z");
    assert_eq!(
        cells(&rows),
        [
            ["ended", title, end, "overdue", ""],
            ["lab", title, end, "accepted", "lab"],
            ["preview", "", "", "compliant", ""],
            ["without build", "", "", "compliant", ""],
        ]
        .map(|row| row.map(str::to_owned))
    );
    let overdue = csv_rows(&report(folder, &["--state=overdue"]).await.stdout);
    assert_eq!(overdue, rows[..1]);
}

#[tokio::test]
async fn csv_has_its_metadata_in_a_second_file_or_on_stderr() {
    let (test_tenant, _) = polled(3).await;
    let folder = &test_tenant.folder;
    let printed = report(folder, &[]).await;
    let metadata: Value = serde_json::from_str(&printed.stderr).unwrap();
    assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
    assert!(metadata["state_saved_at"].is_string() && metadata["time"].is_string(), "{metadata}");
    assert!(metadata["policies"].as_str().unwrap().contains("14d"), "{metadata}");

    test_tenant.write("out.csv", "an earlier report");
    let output = report(folder, &["--output=out.csv"]).await;
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(text("out.csv"), printed.stdout);
    let beside: Value = serde_json::from_str(&text("out.csv-metadata.json")).unwrap();
    assert_eq!(beside["policies"], metadata["policies"]);
    let leftovers = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
    let leftovers: Vec<_> = leftovers.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let mode = fs::metadata(folder.path().join("out.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "readable as any new file: {mode:o}");
}

#[tokio::test]
async fn json_and_html_hold_their_metadata() {
    let (test_tenant, _) = polled(3).await;
    let folder = &test_tenant.folder;
    let csv = csv_rows(&report(folder, &[]).await.stdout);
    let output = report(folder, &["--format", "json"]).await;
    assert_eq!(output.stderr, "");
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["report"]["policy"], "14d");
    assert_eq!(json["rows"].as_array().unwrap().len(), csv.len());
    report(folder, &["--format", "html", "--output", "out.html"]).await;
    let page = fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains(&csv[0]["machine_id"]), "{page}");
    assert!(!folder.path().join("out.html-metadata.json").exists());
}

#[tokio::test]
async fn rows_are_limited_to_states_and_tenants() {
    let (test_tenant, _) = polled(30).await;
    let folder = &test_tenant.folder;
    let all = csv_rows(&report(folder, &[]).await.stdout);
    let states = ["--state=due", "--state", "overdue"];
    let some = csv_rows(&report(folder, &states).await.stdout);
    let expected: Vec<_> = all.iter().filter(|row| ["due", "overdue"].contains(&&*row["state"])).collect();
    assert!(!expected.is_empty() && expected.len() < all.len(), "{} of {}", expected.len(), all.len());
    assert!(some.iter().eq(expected));
    assert_eq!(csv_rows(&report(folder, &["--tenant=contoso", "--policy=14d"]).await.stdout), all);
}

#[tokio::test]
async fn wrong_selection_exits_with_64_and_says_what_exists() {
    let (test_tenant, _) = polled(1).await;
    for (arguments, named) in [
        (["--policy", "15d"], "the configuration has no policy `15d`; it has `14d`"),
        (["--tenant", "fabrikam"], "the configuration has no tenant `fabrikam`; it has `contoso`"),
        (["--tenant", "Contoso"], "no tenant `Contoso`"),
        (
            ["--state", "late"],
            "[possible values: overdue, accepted, due, none, unknown, compliant, unsupported]",
        ),
        (["--format", "xml"], "[possible values: csv, json, html]"),
        (["--config.file", "nowhere.yml"], "nowhere.yml: cannot be read"),
    ] {
        let arguments = [&["report", "--output=out.csv"][..], &arguments].concat();
        let output = run(&test_tenant.folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(named), "{}", output.stderr);
        assert!(!test_tenant.folder.path().join("out.csv").exists());
    }
}

#[tokio::test]
async fn state_that_cannot_be_used_exits_with_1_and_one_sentence() {
    let test_tenant = configured(1).await;
    let folder = &test_tenant.folder;
    test_tenant.write("out.csv", "an earlier report");
    let failing = async |named: &str| {
        let output = run(folder, &["report", "--output=out.csv"]).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{}", output.stderr);
        assert!(
            output.stderr.starts_with("error: no report: ") && output.stderr.contains(named),
            "{}",
            output.stderr
        );
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert_eq!(fs::read_to_string(folder.path().join("out.csv")).unwrap(), "an earlier report");
    };
    failing("there is no state file `data/state.db`").await;
    assert!(!folder.path().join("data").exists(), "no folder is created");
    fs::create_dir(folder.path().join("data")).unwrap();
    failing("there is no state file `data/state.db`").await;
    for text in ["", "not a database, but long enough to be taken for one, if nobody looks at its first line"]
    {
        write_file(&folder.path().join("data/state.db"), text);
        failing("state file `data/state.db`").await;
        assert_eq!(content(folder).into_iter().collect::<Vec<_>>(), [("state.db".to_owned(), text.into())]);
    }
}

#[tokio::test]
async fn tenant_without_data_is_named() {
    let (test_tenant, _) = polled(1).await;
    let folder = &test_tenant.folder;
    let config = fs::read_to_string(folder.path().join("mde_exporter.yml")).unwrap();
    test_tenant.write("other.yml", &config.replace("name: contoso", "name: fabrikam"));
    let output = report(folder, &["--config.file=other.yml", "--format=json"]).await;
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 0);
    let warning = json["report"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("no data of tenant fabrikam") && output.stderr.contains(warning),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn ignored_updates_are_left_out_before_the_next_poll() {
    let (test_tenant, _) = polled(10).await;
    let folder = &test_tenant.folder;
    let rows = csv_rows(&report(folder, &[]).await.stdout);
    let ignored = rows.iter().find(|row| !row["kb"].is_empty()).unwrap()["kb"].clone();
    let config = fs::read_to_string(folder.path().join("mde_exporter.yml")).unwrap();
    test_tenant.write("mde_exporter.yml", &format!("{config}metrics: {{ ignore_kbs: [\"{ignored}\"] }}\n"));
    let fewer = csv_rows(&report(folder, &[]).await.stdout);
    assert!(fewer.iter().all(|row| row["kb"] != ignored));
    let machines = |rows: &[BTreeMap<String, String>]| {
        rows.iter().map(|row| row["machine_id"].clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(machines(&fewer), machines(&rows), "a machine that misses nothing else has a row");
}

#[tokio::test]
async fn report_names_what_it_lacks() {
    let (test_tenant, _) = polled(10).await;
    let folder = &test_tenant.folder;
    let config = fs::read_to_string(folder.path().join("mde_exporter.yml")).unwrap();
    let more = "facts: { update: off, file: nowhere.gz }\nexceptions:\n  - { name: lab, reason: x, until: 9999-12-31, exploited: false }\n";
    test_tenant.write("mde_exporter.yml", &format!("{config}{more}"));
    let state = Connection::open(folder.path().join("data/state.db")).unwrap();
    state.execute_batch("UPDATE update_facts SET products = 'broken'").unwrap();
    drop(state);
    let output = report(folder, &["--format=json"]).await;
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    let warnings: Vec<_> = json["report"]["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning.as_str().unwrap())
        .collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[0].starts_with("The report is made without facts: ") && warnings[0].contains("nowhere.gz")
    );
    assert_eq!(warnings[1], "Exception lab needs facts that are not there (msrc, kev): it covers nothing.");
    assert!(warnings[2].ends_with(
        "rows of the state file are invalid and left out: a machine that lost data cannot be judged."
    ));
    assert!(warnings.iter().all(|warning| output.stderr.contains(warning)), "{}", output.stderr);
    let states: BTreeSet<_> =
        json["rows"].as_array().unwrap().iter().map(|row| row["state"].as_str()).collect();
    assert_eq!(states, [Some("compliant"), Some("unknown")].into());
}

#[tokio::test]
async fn output_never_replaces_a_file_of_the_exporter() {
    let (test_tenant, _) = polled(1).await;
    let folder = &test_tenant.folder;
    std::os::unix::fs::symlink("data", folder.path().join("link")).unwrap();
    let before = content(folder);
    for path in ["data/state.db", "data/state.db-wal", "data/lock", "link/state.db", "mde_exporter.yml"] {
        let output = run(folder, &["report", "--output", path]).await;
        assert_eq!(output.code, Some(64), "{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("--output `{path}` would replace a file of the exporter")),
            "{}",
            output.stderr
        );
    }
    assert_eq!(content(folder), before);
    report(folder, &["--output=data/report.csv"]).await;
    assert!(folder.path().join("data/report.csv").exists(), "a container may have no other folder");
}

#[tokio::test]
async fn output_that_cannot_be_written_exits_with_1() {
    let (test_tenant, _) = polled(1).await;
    for path in ["no/folder/out.csv", "data"] {
        let output = run(&test_tenant.folder, &["report", "--output", path]).await;
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert!(output.stderr.starts_with("error: cannot write the report: "), "{}", output.stderr);
    }
    let full = run(&test_tenant.folder, &["report", "--output=/dev/full"]).await;
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    assert!(!fs::metadata("/dev/full").unwrap().is_file(), "a device is not replaced");
    let device = report(&test_tenant.folder, &["--output=/dev/stdout"]).await;
    assert_eq!(device.stdout, report(&test_tenant.folder, &[]).await.stdout);
}

/// While it saves every second, after a crash that leaves its log, and after an orderly end.
#[tokio::test]
async fn report_is_complete_beside_an_exporter_that_saves() {
    let test_tenant = test_tenant(30).await;
    let folder = &test_tenant.folder;
    let entry = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    test_tenant.write("mde_exporter.yml", &format!("tenants:\n{entry}poll: {{ interval: 1s }}\n"));
    let start = async || RunningExporter::start(command(folder, &["run", LOOPBACK])).await;
    let files = || content(folder).into_keys().collect::<Vec<_>>();
    let mut rows_before = Vec::new();
    let mut read_at = Vec::new();
    let mut assert_complete = async |expected: f64| {
        let output = report(folder, &["--output=out.csv"]).await;
        let mut rows = csv_rows(&fs::read_to_string(folder.path().join("out.csv")).unwrap());
        read_at.push(rows.iter_mut().filter_map(|row| row.remove("data_read_at")).max().unwrap());
        let updates = rows.iter().filter(|row| !row["kb"].is_empty()).count();
        assert_eq!(updates as f64, expected, "{}", output.stderr);
        assert!(rows_before.is_empty() || rows_before == rows, "only the time of reading differs");
        rows_before = rows;
        read_at.len()
    };

    let running = start().await;
    let updates = running.scrape_of(30.0).await.count(FIRST_SEEN);
    running.wait_for_status("/-/ready", reqwest::StatusCode::OK).await;
    for _ in 0..5 {
        assert_complete(updates).await;
        let before = running.scrape().await.value("mde_exporter_state_writes_total", &[]);
        let has_saved = |scrape: &Exposition| {
            scrape.value("mde_exporter_state_writes_total", &[]).is_some_and(|now| Some(now) > before)
        };
        running.wait_for_scrape("another save", has_saved).await;
    }
    running.kill().await;
    let left = files();
    assert!(left.contains(&"state.db-wal".to_owned()), "{left:?}");
    assert_complete(updates).await;
    assert_eq!(files(), left, "the log of a crash stays for the next exporter");

    let stopped = start().await.stop("TERM").await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert_complete(updates).await;
    assert!(!files().contains(&"state.db-wal".to_owned()));
    assert!(read_at.is_sorted() && read_at[0] < read_at[5], "saves are read: {read_at:?}");
}
