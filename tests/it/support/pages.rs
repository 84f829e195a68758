//! The pages and downloads of a snapshot in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use mde_exporter::clock::Clock;
use mde_exporter::facts::Facts;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::{
    DetailLevel, Exception, ExpositionFormat, MachineCondition, OwnLabel, Policy, PolicyPreset, TextPattern,
};
use mde_exporter::publish::Snapshot;
use mde_exporter::self_metrics::SelfMetrics;
use mde_exporter::web::{LinkBase, ScrapeLimiter, WebSecurity, WebState, router};
use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use super::exposition::{Exposition, parse};
use super::fleets::{answer, exception, now, special_case_facts, special_case_fleets, special_case_policies};
use super::report::{ReportSettings, csv_rows};

pub(crate) type Row = BTreeMap<String, String>;

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The pages of one snapshot, and its exposition.
pub(crate) struct Served {
    router: Router,
    pub(crate) exposed: Exposition,
}

impl Served {
    pub(crate) fn new(fleets: &[Arc<TenantFleet>], settings: &ReportSettings) -> Self {
        let options = RenderOptions {
            policies: settings.policies.as_slice().into(),
            exceptions: settings.exceptions.as_slice().into(),
            labels: settings.labels.as_slice().into(),
            ..RenderOptions::default()
        };
        let facts = Arc::new(settings.facts.clone());
        let snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets.to_vec(), now(), &options, facts);
        let exposed = answer(&snapshot.body, DetailLevel::Update, ExpositionFormat::Text);
        let router = router(WebState {
            published: watch::channel(Arc::new(snapshot)).1,
            self_metrics: Arc::new(SelfMetrics::new("0.0.0")),
            telemetry_path: "/metrics".to_owned(),
            links: LinkBase::default(),
            scrape_slots: ScrapeLimiter::new(2),
            version: "0.0.0",
            clock: Clock::new(now),
            access: WebSecurity::open(),
            reload: None,
        });
        Self { router, exposed: parse(&exposed).unwrap() }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Reply {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: head.status, headers: head.headers, text: String::from_utf8(body).unwrap() }
    }

    /// The rows of a download, which have to be the same in both formats.
    pub(crate) async fn rows(&self, path: &str) -> Vec<Row> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let csv = self.ask("GET", &format!("{path}.csv?{query}")).await;
        let json = self.ask("GET", &format!("{path}.json?{query}")).await;
        assert_eq!(
            (csv.status, json.status),
            (StatusCode::OK, StatusCode::OK),
            "{path} {query} {}",
            csv.text
        );
        let rows = csv_rows(&csv.text);
        let objects: Vec<BTreeMap<String, Value>> = serde_json::from_str(&json.text).unwrap();
        let cell = |value: Value| match value {
            Value::Null => String::new(),
            Value::String(text) => guarded(&text),
            other => other.to_string(),
        };
        let row = |object: BTreeMap<String, Value>| {
            object.into_iter().map(|(name, value)| (name, cell(value))).collect::<Row>()
        };
        assert_eq!(objects.into_iter().map(row).collect::<Vec<_>>(), rows, "{path} {query}");
        rows
    }
}

/// The text of a CSV cell with this value.
pub(crate) fn guarded(value: &str) -> String {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula { format!("'{value}") } else { value.to_owned() }
}

/// The value of a CSV cell.
pub(crate) fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| guarded(rest) == cell).unwrap_or(cell)
}

/// Settings with an own label, and with exceptions in effect that overlap and one that has ended.
pub(crate) fn settings(policies: Vec<Policy>, has_facts: bool, has_exceptions: bool) -> ReportSettings {
    let windows = MachineCondition::Platforms(vec![TextPattern::new("windows*")]);
    let exceptions = vec![
        exception("ended", "2024-06-19", &[], &[1, 2, 3]),
        exception("some", "2024-06-20", &[], &[2, 4, 6]),
        Exception { conditions: vec![windows.into()], ..exception("windows", "2024-06-30", &[], &[]) },
    ];
    ReportSettings {
        policies,
        exceptions: if has_exceptions { exceptions } else { Vec::new() },
        facts: if has_facts { special_case_facts() } else { Facts::default() },
        labels: vec![OwnLabel::new("team".into(), "team:")],
        ..ReportSettings::default()
    }
}

pub(crate) fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let preset = PolicyPreset::CyberEssentials.policy("preset".into());
    let [release, first_seen] = special_case_policies();
    prop_oneof![
        Just(vec![release, first_seen.clone()]),
        Just(vec![first_seen]),
        Just(vec![preset]),
        Just(Vec::new())
    ]
}

/// Runs a test of futures within a property test.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(parameters);
    text.finish()
}

/// The fleets with every special case.
pub(crate) fn special_cases() -> Served {
    Served::new(&special_case_fleets(), &settings(special_case_policies().into(), true, false))
}
