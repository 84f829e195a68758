//! Alert rules, their tests and their runbooks, and the series that their queries may select.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mde_exporter::fleet::MachineState;
use mde_exporter::fleet::policy::PolicyState;
use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::model::{FailureReason, RejectReason, ServicingState, SnapshotRejectReason};
use mde_exporter::self_metrics;
use promql_parser::label::Matcher;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The rule files: `fleet` uses only series of the fleet level, `machine` also those of the machine level.
pub(crate) const FILES: [&str; 2] = ["fleet", "machine"];

/// Series that Prometheus adds for every target.
const OF_EVERY_TARGET: [&str; 3] = ["up", "scrape_samples_scraped", "scrape_duration_seconds"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) alert: Option<String>,
    pub(crate) record: Option<String>,
    pub(crate) expr: String,
    pub(crate) r#for: Option<String>,
    #[serde(rename = "keep_firing_for")]
    _keep_firing_for: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<TestGroup>,
}

#[derive(Deserialize)]
pub(crate) struct TestGroup {
    pub(crate) name: String,
    pub(crate) input_series: Vec<Series>,
    #[serde(default)]
    pub(crate) alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    pub(crate) promql_expr_test: Vec<ExprTest>,
}

#[derive(Deserialize)]
pub(crate) struct Series {
    pub(crate) series: String,
}

#[derive(Deserialize)]
pub(crate) struct AlertTest {
    pub(crate) alertname: String,
    pub(crate) exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedAlert {
    pub(crate) exp_labels: BTreeMap<String, String>,
    pub(crate) exp_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct ExprTest {
    pub(crate) expr: String,
    #[serde(rename = "exp_samples")]
    _samples: Vec<IgnoredAny>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

pub(crate) fn read(path: &str) -> String {
    let path = folder().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn yaml<T: DeserializeOwned>(path: &str) -> T {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the files of a folder without their extension.
pub(crate) fn names(path: &str, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder().join(path)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| !path.is_dir());
    let name = |path: PathBuf| {
        assert!(path.extension().is_some_and(|found| found == extension), "{}", path.display());
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.map(name).collect()
}

pub(crate) fn groups(file: &str) -> Vec<Group> {
    yaml::<RuleFile>(&format!("rules/{file}.yml")).groups
}

pub(crate) fn rules(file: &str) -> Vec<Rule> {
    groups(file).into_iter().flat_map(|group| group.rules).collect()
}

/// All alerts by their name.
pub(crate) fn alerts() -> BTreeMap<String, Rule> {
    let rules = FILES.into_iter().flat_map(rules);
    let alerts: Vec<_> = rules.filter_map(|rule| Some((rule.alert.clone()?, rule))).collect();
    let (count, by_name) = (alerts.len(), BTreeMap::from_iter(alerts));
    assert_eq!(by_name.len(), count, "duplicate alert");
    by_name
}

pub(crate) fn records(file: &str) -> BTreeSet<String> {
    rules(file).into_iter().filter_map(|rule| rule.record).collect()
}

pub(crate) fn tests() -> Vec<TestGroup> {
    let files = names("rules/tests", "yml");
    files.iter().flat_map(|name| yaml::<TestFile>(&format!("rules/tests/{name}.yml")).tests).collect()
}

/// The selectors of a query.
pub(crate) fn selectors(query: &str) -> Vec<VectorSelector> {
    struct Collector(Vec<VectorSelector>);
    impl ExprVisitor for Collector {
        type Error = std::convert::Infallible;

        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
            match expr {
                Expr::VectorSelector(selector) => self.0.push(selector.clone()),
                Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let expr = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut collector = Collector(Vec::new());
    let Ok(_) = walk_expr(&mut collector, &expr);
    collector.0
}

pub(crate) fn runbooks() -> Vec<(String, String)> {
    let names = names("runbooks", "md");
    names.into_iter().map(|name| (name.clone(), read(&format!("runbooks/{name}.md")))).collect()
}

/// The series that queries may use, with their labels; labels of recorded series are not checked.
pub(crate) struct KnownSeries {
    metrics: BTreeMap<String, Vec<String>>,
    records: BTreeSet<String>,
}

impl KnownSeries {
    /// The series of the exporter, and those that the rules of `files` record.
    pub(crate) fn with(files: &[&str]) -> Self {
        let tables = FLEET.iter().map(|family| family.descriptor);
        let tables = tables.chain(MACHINE.iter().chain(UPDATE).map(|family| family.descriptor));
        let owned = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        let tables = tables.map(|header| (header.name.to_owned(), owned(header.labels)));
        let own = self_metrics::families().into_iter().map(|family| (family.name, family.labels));
        let of_prometheus = OF_EVERY_TARGET.map(|name| (name.to_owned(), Vec::new()));
        let metrics = tables.chain(own).chain(of_prometheus).collect();
        Self { metrics, records: files.iter().copied().flat_map(records).collect() }
    }

    /// The labels of a series without those of its target; none for an unknown series.
    pub(crate) fn labels(&self, name: &str) -> Option<&[String]> {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let labels = [Some(name), base].into_iter().flatten().find_map(|name| self.metrics.get(name));
        labels.map(Vec::as_slice).or_else(|| self.records.contains(name).then_some(&[]))
    }
}

/// Returns whether the values of a matcher exist, for labels with a closed list of values.
fn is_possible(matcher: &Matcher) -> bool {
    let values: Vec<&str> = match matcher.name.as_str() {
        "reason" => FailureReason::ALL
            .map(FailureReason::as_str)
            .into_iter()
            .chain(RejectReason::ALL.map(RejectReason::as_str))
            .chain(SnapshotRejectReason::ALL.map(SnapshotRejectReason::as_str))
            .collect(),
        "state" => {
            let machine = MachineState::ALL.map(MachineState::as_str);
            [&machine[..], &PolicyState::ALL.map(PolicyState::as_str)].concat()
        }
        "servicing" => ServicingState::ALL.map(ServicingState::as_str).to_vec(),
        "detail" => vec!["fleet", "machine", "update"],
        "job" => vec!["mde_exporter"],
        _ => return true,
    };
    matcher.value.split('|').all(|value| values.contains(&value))
}

/// Asserts that each selector uses series and labels of the exporter or of a recording rule.
pub(crate) fn assert_exist(place: &str, query: &str, known: &KnownSeries) {
    for selector in selectors(query) {
        let Some(name) = &selector.name else {
            assert_eq!(selector.matchers.matchers[0].name, "__name__", "{place}: selects everything");
            continue;
        };
        let labels = known.labels(name).unwrap_or_else(|| panic!("{place}: no metric {name}"));
        for matcher in &selector.matchers.matchers {
            let has_label = matcher.name == "job" || labels.contains(&matcher.name);
            assert!(has_label && is_possible(matcher), "{place}: {name} has no {matcher:?}");
        }
    }
}
