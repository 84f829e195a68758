//! The demo: one command starts everything and removes it at the end.

use std::path::Path;

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::support::binary::{LOOPBACK, RunningExporter, command};
use crate::support::exposition::{Exposition, Sample};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
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
        assert!(greeting.contains(&format!("http://{address}/metrics")), "{greeting}");
        assert!(greeting.contains(&format!("targets: [\"{address}\"]")), "{greeting}");
        assert!(greeting.contains("(20 machines"), "{greeting}");

        let files = names(folder.path());
        assert!(files.len() == 1 && files[0].starts_with("mde_exporter-demo-"), "{files:?}");
        demo.wait_for_status("/-/ready", StatusCode::OK).await;
        demo.wait_for_value("mde_up", 1.0).await;
        let misses_updates = |scrape: &Exposition| scrape.sum("mde_missing_updates") > 0.0;
        demo.wait_for_scrape("missing updates", misses_updates).await;
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

        // The facts come from the simulation too.
        let rated = |scrape: &Exposition| {
            let by_severity = scrape.sum_by("mde_missing_updates", "severity");
            by_severity.iter().any(|(severity, count)| severity != "unknown" && *count > 0.0)
                && scrape.sum("mde_missing_exploited_updates") > 0.0
        };
        demo.wait_for_scrape("severities and exploited updates", rated).await;

        let output = demo.stop(signal).await;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
