//! The exposition in both formats and encodings.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mde_exporter::fleet::TenantFleet;
use mde_exporter::metrics::Body;
use mde_exporter::model::{ContentEncoding, DetailLevel, ExpositionFormat, FailureReason};
use mde_exporter::self_metrics::SelfMetrics;
use proptest::prelude::*;

use crate::support::exposition::{Exposition, parse, parse_openmetrics};
use crate::support::fleets::{answer, any_fleets, body_of, special_case_fleets};

fn both(body: &Body) -> (Exposition, Exposition) {
    let text = parse(&answer(body, DetailLevel::Update, ExpositionFormat::Text)).expect("the format");
    let openmetrics = parse_openmetrics(&answer(body, DetailLevel::Update, ExpositionFormat::OpenMetrics));
    (text, openmetrics.expect("the format"))
}

fn self_metrics() -> Arc<SelfMetrics> {
    let metrics = Arc::new(SelfMetrics::new("0.0.0"));
    let tenant = metrics.tenant("quote \" backslash \\ line\nle=\"1\"");
    tenant.poll_failed(FailureReason::Network);
    tenant.request_finished(
        mde_exporter::model::ApiOperation::Machines,
        Some(200),
        std::time::Duration::from_secs(1),
    );
    metrics
}

fn whole(body: &Body, format: ExpositionFormat, encoding: ContentEncoding, self_metrics: &[u8]) -> Vec<u8> {
    body.answer(DetailLevel::Update, format, encoding, self_metrics.to_vec()).collect::<Vec<_>>().concat()
}

#[test]
fn whole_scrape_is_the_same_in_both_formats() {
    let (body, metrics) = (body_of(&special_case_fleets()), self_metrics());
    let text = |format, self_metrics: Vec<u8>| {
        String::from_utf8(whole(&body, format, ContentEncoding::Identity, &self_metrics)).unwrap()
    };
    let openmetrics = parse_openmetrics(&text(
        ExpositionFormat::OpenMetrics,
        metrics.encode(ExpositionFormat::OpenMetrics),
    ))
    .unwrap();
    let text = parse(&text(ExpositionFormat::Text, metrics.encode(ExpositionFormat::Text))).unwrap();
    // The resource usage of a process changes between scrapes.
    let lasting = |parsed: Exposition| {
        let (process, lasting): (Vec<_>, Vec<_>) =
            parsed.families.into_iter().partition(|family| family.name.starts_with("process_"));
        assert!(process.iter().any(|family| family.name == "process_cpu_seconds_total"));
        lasting
    };
    assert_eq!(lasting(openmetrics), lasting(text));
}

/// The output of another program for this input.
#[test]
fn gzip_unpacks_to_the_whole_scrape() {
    let (body, self_metrics) =
        (body_of(&special_case_fleets()), self_metrics().encode(ExpositionFormat::Text));
    for format in ExpositionFormat::ALL {
        let mut gzip =
            Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let member = whole(&body, format, ContentEncoding::Gzip, &self_metrics);
        // Less than a pipe buffers, so that neither process waits for the other.
        assert!(member.len() < 60_000, "{}", member.len());
        gzip.stdin.take().unwrap().write_all(&member).unwrap();
        let unpacked = gzip.wait_with_output().unwrap();
        assert!(unpacked.status.success());
        assert!(
            unpacked.stdout == whole(&body, format, ContentEncoding::Identity, &self_metrics),
            "{format:?}"
        );
    }
}

#[test]
fn exposition_without_data_is_complete() {
    let (text, openmetrics) = both(&body_of(&[]));
    assert_eq!(text, Exposition::default());
    assert_eq!(openmetrics, text);
    let (text, openmetrics) = both(&body_of(&[Arc::new(TenantFleet::new("t".into()))]));
    assert_eq!(openmetrics, text);
    assert_eq!(text.value("mde_up", &[("tenant", "t")]), Some(0.0));
}

proptest! {
    #[test]
    fn both_formats_hold_the_same_samples(fleets in any_fleets()) {
        let (text, openmetrics) = both(&body_of(&fleets));
        prop_assert_eq!(openmetrics, text);
    }
}
