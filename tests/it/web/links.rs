//! Links of the pages: behind a reverse proxy, and with an external URL.

use reqwest::StatusCode;
use url::Url;

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};

/// The targets of all links and forms of a page.
fn targets(html: &str) -> Vec<String> {
    let attributes = [" href=\"", " action=\""].map(|start| html.split(start).skip(1));
    let values = attributes.into_iter().flatten().map(|rest| rest.split('"').next().unwrap());
    values.filter(|value| !value.starts_with("data:")).map(|value| value.replace("&#38;", "&")).collect()
}

/// The links on the list of 60 machines, which has a second page, and the exporter.
async fn machine_list(arguments: &[&str]) -> (RunningExporter, Vec<String>) {
    let test_tenant = test_tenant(60).await;
    configure_contoso(&test_tenant);
    let arguments = [&[LOOPBACK][..], arguments].concat();
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    running.wait_for_status("/-/ready", StatusCode::OK).await;
    let (status, html) = running.get("/machines?q=corp").await;
    assert_eq!(status, StatusCode::OK);
    (running, targets(&html))
}

#[tokio::test]
async fn links_work_behind_a_proxy_with_a_prefix() {
    let (running, links) = machine_list(&["--web.telemetry-path=/deep/metrics"]).await;
    assert!(links.len() > 8, "{links:?}");
    let shown_at = Url::parse("https://proxy.example/tools/mde/machines?q=corp").unwrap();
    let mut paths = std::collections::BTreeSet::new();
    for link in &links {
        assert!(!link.starts_with('/') && !link.contains("://"), "{link}");
        let target = shown_at.join(link).unwrap();
        let path =
            target.path().strip_prefix("/tools/mde").unwrap_or_else(|| panic!("{link} leaves the prefix"));
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(running.get(&format!("{path}{query}")).await.0, StatusCode::OK, "{link}");
        // The pages of the machines.
        paths.insert(if path.starts_with("/machines/") { "/machines/" } else { path }.to_owned());
    }
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let downloads = ["/machines.csv", "/machines.json"];
    let pages: Vec<_> = paths.into_iter().filter(|path| !downloads.contains(path)).collect();
    assert_eq!(pages, ["/", "/deep/metrics", "/machines", "/machines/", "/status", "/updates"]);
}

#[tokio::test]
async fn links_start_with_the_path_of_the_external_url() {
    for url in ["https://proxy.example/tools/mde", "http://proxy.example:8080/tools/mde/"] {
        let (_running, links) = machine_list(&["--web.external-url", url]).await;
        for link in ["/tools/mde/metrics", "/tools/mde/", "/tools/mde/machines", "/tools/mde/status"] {
            assert!(links.iter().any(|other| other == link), "{link} is not among {links:?}");
        }
        let elsewhere = |link: &&String| !link.starts_with("/tools/mde/") && !link.starts_with(['?', '#']);
        assert_eq!(links.iter().find(elsewhere), None);
    }
}
