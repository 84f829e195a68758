//! Facts in the real daemon.

use reqwest::StatusCode;

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::export_server::Reply;
use crate::support::facts_host::{EPSS, FactsHost, INDEX, KEV, TestDocument, WINDOWS, WINDOWS_SERVER};
use crate::support::tenant::{TestTenant, write_file};

fn june() -> TestDocument {
    TestDocument::new("2026-Jun", "2026-06-10T07:00:00", [5_000_003])
}

/// Adds a section to the configuration of a tenant.
fn configure(test_tenant: &TestTenant, section: &str) {
    configure_contoso(test_tenant);
    let config = test_tenant.folder.path().join("mde_exporter.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    write_file(&config, format!("{text}{section}"));
}

#[tokio::test]
async fn start_does_not_wait_for_hosts_that_do_not_answer() {
    let host = FactsHost::start(&[june()]).await;
    for path in [INDEX, KEV, EPSS, WINDOWS, WINDOWS_SERVER] {
        host.answer(path, [Reply::Silence]);
    }
    let test_tenant = test_tenant(2).await;
    configure(&test_tenant, &host.section(""));
    let exporter = RunningExporter::start(command(&test_tenant.folder, &[LOOPBACK])).await;
    let (status, text) = exporter.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("\nmde_exporter_facts_updates 0\n"), "{text}");
    exporter.scrape_of(2.0).await;
    exporter.stop("TERM").await;
}

#[tokio::test]
async fn reload_turns_facts_on_and_off() {
    let host = FactsHost::start(&[june()]).await;
    let test_tenant = test_tenant(2).await;
    configure(&test_tenant, "facts: off\n");
    let exporter = RunningExporter::start(command(&test_tenant.folder, &[LOOPBACK])).await;
    let scrape = exporter.scrape_of(2.0).await;
    assert_eq!(scrape.count("mde_exporter_facts_updates"), 0.0);
    configure(&test_tenant, &host.section(""));
    exporter.signal("HUP").await;
    exporter.wait_for_value("mde_exporter_facts_updates", 1.0).await;
    assert!(test_tenant.folder.path().join("data/facts.json.gz").exists());
    let missing = exporter.scrape().await.count("mde_update_info");
    exporter.wait_for_value("mde_exporter_facts_unknown_updates", missing).await;
    configure(&test_tenant, "");
    exporter.signal("HUP").await;
    let mut exporter = exporter;
    exporter.line_with("changed=facts").await;
    while exporter.scrape().await.count("mde_exporter_facts_updates") > 0.0 {}
    exporter.stop("TERM").await;
}
