//! Self metrics as a scrape sees them.

use super::*;
use crate::model::{ApiOperation, FactsFailure, FactsOrigin, FactsSource, FailureReason, RejectReason};

fn text(metrics: &SelfMetrics) -> String {
    String::from_utf8(metrics.encode_own()).unwrap()
}

fn has(metrics: &SelfMetrics, line: &str) -> bool {
    text(metrics).lines().any(|other| other == line)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn known_label_sets_start_at_zero() {
    let metrics = Arc::new(SelfMetrics::new("1.2.3"));
    let _tenant = metrics.tenant("contoso");
    let mut expected = vec![
        r#"mde_exporter_build_info{version="1.2.3"} 1"#.to_owned(),
        r#"mde_exporter_api_retries_total{tenant="contoso"} 0"#.to_owned(),
        r#"mde_exporter_api_throttle_wait_seconds_total{tenant="contoso"} 0"#.to_owned(),
        r#"mde_exporter_token_refresh_failures_total{tenant="contoso"} 0"#.to_owned(),
        r#"mde_exporter_log_messages_total{level="error"} 0"#.to_owned(),
        r#"mde_exporter_http_requests_total{code="200",path="/metrics"} 0"#.to_owned(),
        r#"mde_exporter_http_requests_total{code="503",path="/metrics"} 0"#.to_owned(),
        r#"mde_exporter_series{detail="update"} 0"#.to_owned(),
    ];
    for reason in FailureReason::ALL {
        expected.push(format!(r#"mde_exporter_poll_failures_total{{reason="{reason}",tenant="contoso"}} 0"#));
    }
    for reason in RejectReason::ALL {
        let labels = format!(r#"{{reason="{reason}",tenant="contoso"}}"#);
        expected.push(format!("mde_exporter_rejected_records_total{labels} 0"));
    }
    for endpoint in ApiOperation::ALL {
        let labels = format!(r#"{{code="200",endpoint="{}",tenant="contoso"}}"#, endpoint.as_str());
        expected.push(format!("mde_exporter_api_requests_total{labels} 0"));
    }
    for line in expected {
        assert!(has(&metrics, &line), "missing: {line}");
    }
}

#[test]
fn event_that_never_happened_has_no_time() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let tenant = metrics.tenant("a");
    let times = |metrics: &SelfMetrics| {
        let text = text(metrics);
        text.lines().filter(|line| !line.starts_with('#') && line.contains("_timestamp_seconds")).count()
    };
    assert_eq!(times(&metrics), 0);
    tenant.poll_called(time(100));
    tenant.poll_finished(Duration::from_millis(1500));
    assert_eq!(times(&metrics), 1);
    tenant.poll_succeeded(time(100));
    tenant.next_poll(time(200));
    tenant.token_refreshed(time(300));
    metrics.config_loaded(time(50));
    assert_eq!(times(&metrics), 5);
    assert!(has(&metrics, r#"mde_exporter_last_poll_duration_seconds{tenant="a"} 1.5"#));
    assert!(has(&metrics, r#"mde_exporter_token_expiry_timestamp_seconds{tenant="a"} 300"#));
}

#[test]
fn second_handle_counts_into_the_same_series() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let first = metrics.tenant("a");
    first.quota_from(|| [(40, 3), (1200, 4)].map(|(allowed, used)| QuotaWindow { allowed, used }));
    first.request_retried();
    let second = metrics.tenant("a");
    second.request_retried();
    assert!(has(&metrics, r#"mde_exporter_api_retries_total{tenant="a"} 2"#));
    assert!(has(&metrics, r#"mde_exporter_api_quota_used_requests{tenant="a",window="1h"} 4"#));
    assert!(has(&metrics, r#"mde_exporter_api_quota_requests{tenant="a",window="1m"} 40"#));
}

#[test]
fn forgotten_tenant_loses_its_series_and_others_keep_theirs() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let (gone, stays) = (metrics.tenant("gone"), metrics.tenant("stays"));
    for tenant in [&gone, &stays] {
        tenant.request_finished(ApiOperation::MissingKbs, Some(418), Duration::from_secs(1));
        tenant.quota_from(|| [1, 2].map(|used| QuotaWindow { allowed: 9, used }));
        tenant.throttle_waited(Duration::from_secs(1));
        tenant.token_refreshed(time(1));
        tenant.poll_interval(Duration::from_hours(1));
        tenant.possible_interval(Duration::from_hours(1));
        tenant.poll_succeeded(time(1));
        tenant.poll_called(time(1));
        tenant.poll_finished(Duration::from_secs(1));
        tenant.next_poll(time(1));
        tenant.source_snapshot(time(1));
    }
    let lines = |name: &str| text(&metrics).lines().filter(|line| line.contains(name)).count();
    let before = lines("tenant=\"stays\"");
    assert_eq!(lines("tenant=\"gone\""), before);
    metrics.forget_tenant("gone");
    assert_eq!((lines("tenant=\"gone\""), lines("tenant=\"stays\"")), (0, before));
}

#[test]
fn values_of_one_source_are_removed_with_it() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let tenant = metrics.tenant("a");
    tenant.possible_interval(Duration::from_hours(1));
    tenant.source_snapshot(time(1));
    tenant.forget_source();
    let special = ["possible_poll_interval_seconds{", "source_snapshot_timestamp_seconds{"];
    assert!(special.iter().all(|family| !text(&metrics).contains(family)));
}

#[test]
fn request_without_a_reply_is_counted_as_error() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let tenant = metrics.tenant("a");
    tenant.request_finished(ApiOperation::MissingKbs, None, Duration::from_mins(1));
    tenant.request_finished(ApiOperation::MissingKbs, Some(429), Duration::from_millis(20));
    for code in ["error", "429"] {
        let labels = format!(r#"{{code="{code}",endpoint="getmissingkbs",tenant="a"}}"#);
        assert!(has(&metrics, &format!("mde_exporter_api_requests_total{labels} 1")));
    }
}

#[test]
fn rejected_configuration_keeps_the_last_reload_time() {
    let metrics = SelfMetrics::new("1");
    metrics.config_loaded(time(50));
    metrics.config_rejected();
    assert!(has(&metrics, "mde_exporter_config_last_reload_successful 0"));
    assert!(has(&metrics, "mde_exporter_config_last_reload_success_timestamp_seconds 50"));
}

#[test]
fn output_for_textfile_collectors_holds_no_process_metrics() {
    let metrics = SelfMetrics::new("1");
    assert!(!text(&metrics).contains("process_"));
    let all = String::from_utf8(metrics.encode(ExpositionFormat::Text)).unwrap();
    assert!(all.starts_with(&text(&metrics)[..100]));
    assert!(all.contains("\nprocess_resident_memory_bytes "));
}

#[test]
fn facts_have_series_only_while_they_are_on() {
    let metrics = SelfMetrics::new("1");
    let lines = |metrics: &SelfMetrics| {
        let text = text(metrics);
        let of_facts = |line: &&str| line.starts_with("mde_exporter_facts_");
        text.lines().filter(of_facts).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&metrics), [""; 0]);
    metrics.facts_on();
    let failures = FactsOrigin::ALL.len() * FactsFailure::ALL.len();
    assert_eq!(lines(&metrics).len(), failures + 2);
    assert!(lines(&metrics).iter().all(|line| line.ends_with(" 0")));
    metrics.facts_failed(FactsOrigin::File, FactsFailure::Newer);
    assert!(has(&metrics, r#"mde_exporter_facts_failures_total{reason="newer",source="file"} 1"#));
    let times = FactsTimes { source: FactsSource::Kev, data_at: Some(time(5)), fetched_at: Some(time(7)) };
    metrics.facts_loaded(3, [times]);
    assert!(has(&metrics, "mde_exporter_facts_updates 3"));
    assert!(has(&metrics, r#"mde_exporter_facts_timestamp_seconds{source="kev"} 5"#));
    assert!(has(&metrics, r#"mde_exporter_facts_last_success_timestamp_seconds{source="kev"} 7"#));
    metrics.facts_loaded(3, [FactsTimes { data_at: None, ..times }]);
    assert_eq!(lines(&metrics).len(), failures + 3);
    metrics.facts_off();
    assert_eq!(lines(&metrics), [""; 0]);
}

#[test]
fn hostile_tenant_name_is_escaped() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    metrics.tenant("a\"b\\c\nd").request_retried();
    assert!(has(&metrics, r#"mde_exporter_api_retries_total{tenant="a\"b\\c\nd"} 1"#));
}

/// The encoder of the library is the reference for the text format.
#[test]
fn text_equals_the_output_of_the_library() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let tenant = metrics.tenant("a\"b\\c\nd");
    tenant.request_finished(ApiOperation::Machines, Some(200), Duration::from_millis(1234));
    tenant.throttle_waited(Duration::from_millis(10));
    tenant.poll_succeeded(Timestamp::from_millisecond(1_700_000_000_123).unwrap());
    let mut expected = Vec::new();
    let encoder = prometheus::TextEncoder::new();
    prometheus::Encoder::encode(&encoder, &metrics.own.gather(), &mut expected).unwrap();
    assert_eq!(text(&metrics), String::from_utf8(expected).unwrap());
}

#[test]
fn openmetrics_differs_in_counters_and_bounds() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let openmetrics = String::from_utf8(metrics.encode(ExpositionFormat::OpenMetrics)).unwrap();
    for line in [
        "# TYPE mde_exporter_http_requests counter",
        r#"mde_exporter_http_requests_total{code="200",path="/"} 0"#,
        r#"mde_exporter_render_duration_seconds_bucket{le="0.5"} 0"#,
        r#"mde_exporter_render_duration_seconds_bucket{le="1.0"} 0"#,
        r#"mde_exporter_render_duration_seconds_bucket{le="+Inf"} 0"#,
        "# TYPE process_open_fds gauge",
    ] {
        assert!(openmetrics.lines().any(|other| other == line), "missing: {line}\n{openmetrics}");
    }
    assert!(has(&metrics, r#"mde_exporter_render_duration_seconds_bucket{le="1"} 0"#));
}

#[test]
fn certificate_has_a_series_only_while_there_is_one() {
    let name = "mde_exporter_web_certificate_expiry_timestamp_seconds";
    let metrics = SelfMetrics::new("1");
    assert!(!text(&metrics).contains(name));
    metrics.web_certificate(Some(Timestamp::from_second(1_700_000_000).unwrap()));
    assert!(has(&metrics, &format!("{name} 1700000000")));
    metrics.web_certificate(None);
    assert!(!text(&metrics).contains(name));
}

/// A family that was never observed is not encoded, so this goes one way only.
#[test]
fn every_encoded_family_is_listed() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    metrics.tenant("t").request_retried();
    let listed = families();
    let text = text(&metrics);
    let encoded: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(encoded.len() > 20, "{encoded:?}");
    for line in encoded {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(listed.iter().any(|family| family.name == name && family.kind == kind), "{line}");
    }
    let requests = listed.iter().find(|family| family.name.ends_with("_api_requests_total")).unwrap();
    assert_eq!(requests.labels, ["tenant", "endpoint", "code"]);
}

#[test]
fn status_holds_known_values_and_creates_no_series() {
    let metrics = Arc::new(SelfMetrics::new("1"));
    let known = metrics.tenant("known");
    let _silent = metrics.tenant("silent");
    known.poll_interval(Duration::from_hours(6));
    known.token_refreshed(time(1_764_000_000));
    let windows = [1, 2].map(|used| QuotaWindow { allowed: 40, used });
    known.quota_from(move || windows);
    let before = text(&metrics);
    let expected = TenantStatus {
        quota: Some(windows),
        poll_interval: Some(Duration::from_hours(6)),
        token_expiry: Some(time(1_764_000_000)),
    };
    assert_eq!(metrics.tenant_status("known"), expected);
    for name in ["silent", "unknown"] {
        assert_eq!(metrics.tenant_status(name), TenantStatus::default());
    }
    assert_eq!(text(&metrics), before);
}
