//! Two entries for one application: one quota, and machines that count in both.

use std::time::Duration;

use mde_simulator::{Endpoint, Realism};

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, run, test_tenant_with};
use crate::support::tenant::TestTenant;

/// Two entries for the application of the simulator, with different quotas.
fn configure(test_tenant: &TestTenant) {
    let named = |name: &str, quota: &str| {
        let entry = entry(test_tenant, name, "client_secret_file: secret.txt", "");
        entry.replace("{ per_minute: 60000, per_hour: 3600000 }", quota)
    };
    let entries = [
        named("contoso", "{ per_minute: 30, per_hour: 1000, share: 1.0 }"),
        named("fabrikam", "{ per_minute: 50, per_hour: 900, share: 1.0 }"),
    ];
    let text = format!("tenants:\n{}poll: {{ interval: 1h }}\n", entries.concat());
    test_tenant.write("mde_exporter.yml", &text);
}

#[tokio::test]
async fn entries_of_one_application_share_the_smallest_quota() {
    let test_tenant = test_tenant_with(40, Realism::Plain).await;
    configure(&test_tenant);
    let checked = run(&test_tenant.folder, &["check-config"]).await;
    let output = checked.stdout + &checked.stderr;
    assert_eq!(checked.code, Some(0));
    assert!(output.contains("uses the application of tenant contoso"), "{output}");

    let start = || RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK]));
    let mut running = start().await;
    let line = running.line_with("share a quota").await;
    assert!(line.contains("tenant=contoso other=fabrikam machines=40"), "{line}");
    let control = test_tenant.sim.control().clone();
    let calls = || control.requests(Endpoint::Machines) + control.requests(Endpoint::MissingKbs);
    tokio::time::timeout(Duration::from_mins(1), control.wait_for_requests(Endpoint::MissingKbs, 28))
        .await
        .unwrap();
    let scrape = running.scrape().await;
    for tenant in ["contoso", "fabrikam"] {
        let quota = |name: &str, window: &str| scrape.value(name, &[("tenant", tenant), ("window", window)]);
        assert_eq!(quota("mde_exporter_api_quota_requests", "1m"), Some(30.0));
        assert_eq!(quota("mde_exporter_api_quota_requests", "1h"), Some(900.0));
        assert_eq!(quota("mde_exporter_api_quota_used_requests", "1h"), Some(30.0));
        let machines =
            scrape.samples("mde_assessed_machines").filter(|sample| sample.label("tenant") == tenant);
        assert_eq!(machines.map(|sample| sample.value).sum::<f64>(), 40.0, "machines count in each");
    }
    assert_eq!(calls(), 30);
    running.stop("TERM").await;

    // The calls of both count after a restart.
    let restarted = start().await;
    restarted.wait_for_value("mde_up", 1.0).await;
    let scrape = restarted.scrape().await;
    for tenant in ["contoso", "fabrikam"] {
        let labels = [("tenant", tenant), ("window", "1h")];
        assert_eq!(scrape.value("mde_exporter_api_quota_used_requests", &labels), Some(30.0));
    }
    assert_eq!(calls(), 30);
}
