//! The running daemon: listen addresses, pages, metrics and log.

use mde_simulator::{Endpoint, Fault, Realism, Times};
use reqwest::StatusCode;

use crate::support::binary::{
    LOOPBACK, RunningExporter, command, configure, configure_contoso, entry, test_tenant, test_tenant_with,
};
use crate::support::exposition;

#[tokio::test]
async fn metrics_precede_the_first_poll_and_readiness_follows_it() {
    let test_tenant = test_tenant(5).await;
    configure(
        &test_tenant,
        &[entry(&test_tenant, "contoso", "client_secret_file: secret.txt", ", timeout: 1s")],
    );
    test_tenant.sim.control().inject(Endpoint::Token, Fault::Hang, Times::Always);
    // No command: `run` is the default.
    let running = RunningExporter::start(command(&test_tenant.folder, &[LOOPBACK])).await;
    test_tenant.sim.control().wait_for_requests(Endpoint::Token, 1).await;

    let (status, body) = running.get("/-/ready").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "tenants without data: 1\n"));
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
    let scrape = running.scrape().await;
    assert_eq!(scrape.value("mde_up", &[("tenant", "contoso")]), Some(0.0));
    assert_eq!(scrape.count("mde_machine_info"), 0.0);

    test_tenant.sim.control().clear();
    assert_eq!(running.wait_for_status("/-/ready", StatusCode::OK).await, "ready\n");
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn detail_levels_agree_and_scrapes_cause_no_api_calls() {
    let test_tenant = test_tenant_with(40, Realism::Realistic).await;
    configure_contoso(&test_tenant);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    running.line_with("poll finished").await;
    running.wait_for_value("mde_up", 1.0).await;
    let scrape = running.scrape().await;
    let missing = scrape.count("mde_machine_missing_update_first_seen_timestamp_seconds");
    assert!(missing > 0.0);
    assert_eq!(scrape.sum("mde_machine_missing_updates"), missing);
    assert_eq!(scrape.sum("mde_missing_updates"), missing);
    assert_eq!(scrape.sum("mde_update_missing_machines"), missing);

    let calls = test_tenant.sim.control().calls().len();
    for _ in 0..20 {
        running.scrape().await;
        running.get("/").await;
    }
    assert_eq!(test_tenant.sim.control().calls().len(), calls);
}

#[tokio::test]
async fn every_address_serves_the_telemetry_path_and_is_logged() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let mut arguments = vec!["run", "--web.telemetry-path=/mde", LOOPBACK, "--web.listen-address=:0"];
    // The host may have no IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        arguments.push("--web.listen-address=[::1]:0");
    }
    let count = arguments.len() - 2;
    let running =
        RunningExporter::start_with_addresses(command(&test_tenant.folder, &arguments), count).await;
    for &address in &running.addresses {
        assert_ne!(address.port(), 0);
        let (status, body) = running.get_at(address, "/mde").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("mde_exporter_build_info"));
        assert_eq!(running.get_at(address, "/metrics").await.0, StatusCode::NOT_FOUND);
        assert!(running.get_at(address, "/").await.1.contains("/mde"));
    }
    assert!(running.addresses[1].ip().is_unspecified());
    let everywhere = format!("127.0.0.1:{}", running.addresses[1].port()).parse().unwrap();
    assert_eq!(running.get_at(everywhere, "/mde").await.0, StatusCode::OK);
}

#[tokio::test]
async fn each_json_log_line_has_time_level_and_message() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let arguments = ["run", LOOPBACK, "--log.format", "json", "--log.level=debug"];
    let mut running = RunningExporter::start_quiet(command(&test_tenant.folder, &arguments));
    let finished = running.line_with("poll finished").await;
    let finished: serde_json::Value = serde_json::from_str(&finished).unwrap();
    assert_eq!((&finished["tenant"], &finished["read"]), (&"contoso".into(), &3.into()));
    for line in running.stop("TERM").await.stderr.lines() {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert!(line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(["debug", "info", "warn", "error"].contains(&line["level"].as_str().unwrap()));
        assert!(!line["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn normal_work_is_silent_at_log_level_error() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let arguments = ["run", LOOPBACK, "--log.level=error"];
    let running = RunningExporter::start_quiet(command(&test_tenant.folder, &arguments));
    test_tenant.sim.control().wait_for_requests(Endpoint::MissingKbs, 3).await;
    let output = running.stop("TERM").await;
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
}

#[tokio::test]
async fn log_lines_are_counted_by_level() {
    let test_tenant = test_tenant(3).await;
    test_tenant.write("wrong.txt", "not-the-secret");
    let contoso = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: wrong.txt", "");
    configure(&test_tenant, &[contoso, fabrikam]);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    running.line_with("poll finished").await;
    if !running.log.iter().any(|line| line.contains("poll failed")) {
        running.line_with("poll failed").await;
    }
    let scrape = running.scrape().await;
    for level in ["debug", "info", "warn", "error"] {
        let field = format!(" level={level} ");
        let written: f64 = running.log.iter().filter(|line| line.contains(&field)).map(|_| 1.0).sum();
        assert_eq!(scrape.value("mde_exporter_log_messages_total", &[("level", level)]), Some(written));
        assert_eq!(written > 0.0, ["info", "warn"].contains(&level), "{:#?}", running.log);
    }
}

#[tokio::test]
async fn failing_tenant_does_not_hide_the_other_tenant() {
    let test_tenant = test_tenant(3).await;
    let contoso = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: nowhere.txt", "");
    configure(&test_tenant, &[contoso, fabrikam]);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    let failed = running.line_with("poll failed; trying again").await;
    assert!(!failed.contains("data"), "there is none: {failed}");
    assert!(failed.contains("tenant=fabrikam") && failed.contains("nowhere.txt"), "{failed}");
    running.wait_for_value("mde_machine_up", 1.0).await;
    let (status, body) = running.get("/-/ready").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "tenants without data: 1\n"));
    let text = running.get("/metrics").await.1;
    assert!(exposition::parse(&text).is_ok());
}
