//! The demo: one command starts everything and removes it at the end.

use std::path::Path;

use jiff::Timestamp;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::support::binary::{LOOPBACK, RunningExporter, command};
use crate::support::exposition::{Exposition, Sample};

/// Metrics whose times may lie in the future: deadlines, ends and plans.
const FUTURE: [&str; 6] = [
    "mde_update_known_exploited_due_timestamp_seconds",
    "mde_servicing_end_timestamp_seconds",
    "mde_exception_end_timestamp_seconds",
    "mde_exporter_next_poll_timestamp_seconds",
    "mde_exporter_token_expiry_timestamp_seconds",
    "mde_exporter_web_certificate_expiry_timestamp_seconds",
];

const DAY_SECONDS: f64 = 86_400.0;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The sum of the samples of a family with this value of a label.
fn sum_with(scrape: &Exposition, name: &str, label: &str, value: &str) -> f64 {
    let samples = scrape.samples(name).filter(|sample| sample.label(label) == value);
    samples.map(|sample| sample.value).sum()
}

#[tokio::test]
async fn demo_is_labelled_simulated_and_removes_its_files() {
    let folder = TempDir::new().unwrap();
    for signal in ["INT", "TERM"] {
        let mut demo = command(&folder, &["demo", "--machines=20", LOOPBACK]);
        // A proxy that does not exist, so that a request through it would fail.
        demo.env("TMPDIR", folder.path()).env("HTTPS_PROXY", "http://127.0.0.1:1");
        let mut demo = RunningExporter::start(demo).await;
        let address = demo.addresses[0];
        let greeting = demo.stdout_until("Ctrl-C ends the demo.").await;
        assert!(greeting.contains("ALL DATA IS SIMULATED"), "{greeting}");
        for path in ["/", "/machines", "/updates", "/metrics"] {
            assert!(greeting.contains(&format!(" http://{address}{path}\n")), "{greeting}");
        }
        assert!(greeting.contains(&format!("targets: [\"{address}\"]")), "{greeting}");
        assert!(greeting.contains("20 simulated machines"), "{greeting}");
        assert!(greeting.contains("dashboards/rules/*.yml"), "{greeting}");

        let files = names(folder.path());
        assert!(files.len() == 1 && files[0].starts_with("mde_exporter-demo-"), "{files:?}");
        let scrape = demo.scrape().await;
        assert_eq!(scrape.sum("mde_assessed_machines"), 20.0);
        let servicing = |platform: &str, state: &str| {
            let labels = [("os_platform", platform), ("servicing", state)];
            let samples = scrape.samples("mde_servicing_machines");
            let is_of = |sample: &&Sample| labels.iter().all(|(label, value)| sample.label(label) == *value);
            samples.filter(is_of).map(|sample| sample.value).sum::<f64>()
        };
        assert!(servicing("Windows10", "ended") >= 1.0, "without Extended Security Updates");
        assert!(servicing("Windows11", "ended") >= 1.0, "23H2");
        assert_eq!(servicing("WindowsServer2012R2", "ended"), 1.0);
        assert!(servicing("Windows11", "unknown") >= 2.0, "a preview build, and a machine without a build");

        let output = demo.stop(signal).await;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn first_scrape_of_the_demo_has_a_history() {
    let folder = TempDir::new().unwrap();
    for source in ["machines", "export"] {
        let mut demo = command(&folder, &["demo", "--source", source, LOOPBACK]);
        demo.env("TMPDIR", folder.path());
        let demo = RunningExporter::start(demo).await;
        assert_eq!(demo.get("/-/ready").await.0, StatusCode::OK);
        let scrape = demo.scrape().await;
        let now = Timestamp::now().as_millisecond() as f64 / 1_000.0;
        assert_eq!(scrape.value("mde_up", &[("tenant", "demo")]), Some(1.0));
        for state in ["fresh", "stale", "inactive", "unknown", "unsupported"] {
            assert!(sum_with(&scrape, "mde_assessed_machines", "state", state) > 0.0, "{source}: {state}");
        }
        for policy in ["14d", "cyber-essentials", "risk"] {
            for state in ["compliant", "due", "overdue", "accepted", "unknown", "unsupported"] {
                let labels = [("policy", policy), ("state", state)];
                let samples = scrape.samples("mde_policy_machines");
                let is_of =
                    |sample: &&Sample| labels.iter().all(|(label, value)| sample.label(label) == *value);
                let machines: f64 = samples.filter(is_of).map(|sample| sample.value).sum();
                let may_be_absent = state == "due" && (policy != "14d" || source == "export");
                assert!(machines > 0.0 || may_be_absent, "{source}: {policy} {state}");
            }
            assert!(
                sum_with(&scrape, "mde_policy_overdue_exploited_updates", "policy", policy) > 0.0,
                "{source}: {policy}"
            );
        }
        for team in ["payments", "web shop", "plant", ""] {
            assert!(sum_with(&scrape, "mde_policy_machines", "team", team) > 0.0, "{source}: {team:?}");
        }
        for name in [
            "mde_missing_exploited_updates",
            "mde_missing_updates_resolved_total",
            "mde_missing_updates_superseded_total",
            "mde_update_superseded_info",
            "mde_exporter_facts_last_success_timestamp_seconds",
        ] {
            assert!(scrape.sum(name) > 0.0, "{source}: {name}");
        }
        for severity in ["critical", "high"] {
            assert!(
                sum_with(&scrape, "mde_missing_updates", "severity", severity) > 0.0,
                "{source}: {severity}"
            );
        }
        let oldest = scrape.value("mde_oldest_missing_update_timestamp_seconds", &[("tenant", "demo")]);
        assert!(oldest.unwrap() < now - 150.0 * DAY_SECONDS, "{source}: {oldest:?} is months ago");
        let times = scrape.families.iter().filter(|family| family.name.ends_with("_timestamp_seconds"));
        for family in times.filter(|family| !FUTURE.contains(&&*family.name)) {
            for sample in scrape.samples(&family.name) {
                assert!(sample.value <= now, "{source}: {sample:?} is in the future");
            }
        }
        assert_eq!(demo.stop("TERM").await.code, Some(0));
    }
}

#[tokio::test]
async fn demo_continues_with_the_state_of_an_earlier_one() {
    let folder = TempDir::new().unwrap();
    let mut detected = Vec::new();
    for _ in 0..2 {
        let demo = command(&folder, &["demo", "--machines=20", "--storage.path=state", LOOPBACK]);
        let demo = RunningExporter::start(demo).await;
        let scrape = demo.scrape().await;
        detected.push(scrape.sum("mde_missing_updates_detected_total"));
        assert_eq!(demo.stop("TERM").await.code, Some(0));
    }
    assert!(detected[0] > 100.0 && detected[1] >= detected[0], "{detected:?}");
    assert!(detected[1] < 1.5 * detected[0], "the history is written once: {detected:?}");
}
