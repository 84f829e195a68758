//! Alert rules, their tests, their runbooks and what is ready to copy belong together. Whether the rules
//! do what they say is for Prometheus to judge (`.ci/rules`); this holds that nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mde_exporter::config;
use mde_exporter::fleet::MachineState;
use mde_exporter::fleet::policy::PolicyState;
use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::self_metrics::{self, FAILURE_REASONS, REJECT_REASONS, SNAPSHOT_REASONS};
use promql_parser::label::Matcher;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The series of a rule file are those of the fleet level, or of the machine level too.
const FILES: [&str; 2] = ["fleet", "machine"];

/// Series that Prometheus makes for every target.
const OF_EVERY_TARGET: [&str; 3] = ["up", "scrape_samples_scraped", "scrape_duration_seconds"];

/// Ends of the names of the tests that every alert has. Only the first one fires without doubt.
const KINDS: [&str; 5] =
    ["fires", "at its threshold", "before its time", "without its series", "with two tenants"];

/// What an alert calls for when it is absence itself, so that two of its tests are the other way round.
const ABSENCE: &str = "MdeExporterAbsent";

const SECTIONS: [&str; 7] = [
    "Meaning",
    "Impact",
    "How to confirm",
    "Diagnosis",
    "Mitigation",
    "False alarms",
    "How to silence safely",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    r#for: Option<String>,
    #[serde(rename = "keep_firing_for")]
    _keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<TestGroup>,
}

#[derive(Deserialize)]
struct TestGroup {
    name: String,
    input_series: Vec<Series>,
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<ExprTest>,
}

#[derive(Deserialize)]
struct Series {
    series: String,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    exp_labels: BTreeMap<String, String>,
    exp_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ExprTest {
    expr: String,
    #[serde(rename = "exp_samples")]
    _samples: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Alertmanager {
    inhibit_rules: Vec<InhibitRule>,
}

#[derive(Deserialize)]
struct InhibitRule {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    equal: Vec<String>,
}

#[derive(Deserialize)]
struct Prometheus {
    scrape_configs: Vec<ScrapeConfig>,
}

#[derive(Deserialize)]
struct ScrapeConfig {
    job_name: String,
    sample_limit: u64,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn read(path: &str) -> String {
    let path = folder().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml<T: DeserializeOwned>(path: &str) -> T {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the files of a folder without their extension.
fn names(path: &str, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder().join(path)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| !path.is_dir());
    let name = |path: PathBuf| {
        assert!(path.extension().is_some_and(|found| found == extension), "{}", path.display());
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.map(name).collect()
}

fn groups(file: &str) -> Vec<Group> {
    yaml::<RuleFile>(&format!("rules/{file}.yml")).groups
}

fn rules(file: &str) -> Vec<Rule> {
    groups(file).into_iter().flat_map(|group| group.rules).collect()
}

/// All alerts by their name.
fn alerts() -> BTreeMap<String, Rule> {
    let rules = FILES.into_iter().flat_map(rules);
    let alerts: Vec<_> = rules.filter_map(|rule| Some((rule.alert.clone()?, rule))).collect();
    let (count, by_name) = (alerts.len(), BTreeMap::from_iter(alerts));
    assert_eq!(by_name.len(), count, "an alert is there twice");
    by_name
}

fn records(file: &str) -> BTreeSet<String> {
    rules(file).into_iter().filter_map(|rule| rule.record).collect()
}

fn tests() -> Vec<TestGroup> {
    let files = names("rules/tests", "yml");
    files.iter().flat_map(|name| yaml::<TestFile>(&format!("rules/tests/{name}.yml")).tests).collect()
}

/// The selectors of a query.
fn selectors(query: &str) -> Vec<VectorSelector> {
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

/// The queries of a runbook.
fn queries(runbook: &str) -> Vec<&str> {
    let blocks = runbook.split("\n```promql\n").skip(1);
    blocks.map(|rest| rest.split_once("\n```\n").expect("a block that ends").0).collect()
}

fn runbooks() -> Vec<(String, String)> {
    let names = names("runbooks", "md");
    names.into_iter().map(|name| (name.clone(), read(&format!("runbooks/{name}.md")))).collect()
}

/// Every series that a query may name, with its labels; recorded ones keep what they keep.
struct Known {
    metrics: BTreeMap<String, Vec<String>>,
    records: BTreeSet<String>,
}

impl Known {
    /// What the exporter has, and what the rules of `files` record.
    fn with(files: &[&str]) -> Self {
        let tables = FLEET.iter().map(|family| family.header);
        let tables = tables.chain(MACHINE.iter().chain(UPDATE).map(|family| family.header));
        let owned = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        let tables = tables.map(|header| (header.name.to_owned(), owned(header.labels)));
        let own = self_metrics::families().into_iter().map(|family| (family.name, family.labels));
        let of_prometheus = OF_EVERY_TARGET.map(|name| (name.to_owned(), Vec::new()));
        let metrics = tables.chain(own).chain(of_prometheus).collect();
        Self { metrics, records: files.iter().copied().flat_map(records).collect() }
    }

    /// The labels of a series besides those of its target; none when there is no such series.
    fn labels(&self, name: &str) -> Option<&[String]> {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let found = [Some(name), base].into_iter().flatten().find_map(|name| self.metrics.get(name));
        found.map(Vec::as_slice).or_else(|| self.records.contains(name).then_some(&[]))
    }
}

/// Whether values of a matcher exist: those of labels with a closed list do or do not.
fn is_possible(matcher: &Matcher) -> bool {
    let values: Vec<&str> = match matcher.name.as_str() {
        "reason" => [&FAILURE_REASONS[..], &REJECT_REASONS, &SNAPSHOT_REASONS].concat(),
        "state" => {
            let machine = MachineState::ALL.map(MachineState::as_str);
            [&machine[..], &PolicyState::ALL.map(PolicyState::as_str)].concat()
        }
        "detail" => vec!["fleet", "machine", "update"],
        "job" => vec!["mde_exporter"],
        _ => return true,
    };
    matcher.value.split('|').all(|value| values.contains(&value))
}

/// Complains of every selector that names nothing the exporter or a recording rule has.
fn assert_exist(place: &str, query: &str, known: &Known) {
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

#[test]
fn alerts_and_runbooks_correspond() {
    assert_eq!(names("runbooks", "md"), alerts().into_keys().collect());
}

#[test]
fn names_of_alerts_and_groups_follow_the_mixin_style() {
    for file in FILES {
        for group in groups(file) {
            assert!(group.rules.len() <= 20, "{} has {} rules", group.name, group.rules.len());
            assert!(group.name.len() <= 40 && group.name.starts_with("mde-"), "{}", group.name);
        }
    }
    for name in alerts().keys() {
        assert!(name.starts_with("Mde") && name.len() <= 40, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{name}");
    }
}

#[test]
fn every_alert_has_a_severity_and_links() {
    for (name, rule) in alerts() {
        let labels: Vec<_> = rule.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert!(matches!(labels[..], [("severity", "critical" | "warning" | "info")]), "{name}: {labels:?}");
        assert!(rule.r#for.is_some(), "{name} has no `for`");
        let annotations: Vec<_> = rule.annotations.keys().collect();
        assert_eq!(annotations, ["dashboard_url", "description", "runbook_url", "summary"], "{name}");
        let summary = &rule.annotations["summary"];
        assert!(summary.starts_with(|first: char| first.is_ascii_uppercase()), "{name}: {summary}");
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: {summary}");
        let description = &rule.annotations["description"];
        assert!(description.contains("{{") && description.ends_with('.'), "{name}: {description}");
        let runbook = format!("https://runbooks.example.com/mde_exporter/{name}.md");
        assert_eq!(rule.annotations["runbook_url"], runbook);
        let dashboard = rule.annotations["dashboard_url"].strip_prefix("https://grafana.example.com/d/");
        let dashboard = dashboard.unwrap_or_else(|| panic!("{name}")).split('?').next().unwrap();
        assert!(["mde-fleet", "mde-machine", "mde-exporter"].contains(&dashboard), "{name}: {dashboard}");
    }
}

#[test]
fn values_in_links_are_escaped() {
    for (name, rule) in alerts() {
        let url = &rule.annotations["dashboard_url"];
        assert_eq!(url.matches("{{").count(), url.matches("| urlquery }}").count(), "{name}: {url}");
    }
}

#[test]
fn alerts_keep_tenant_instance_and_job() {
    for file in FILES {
        for rule in rules(file) {
            let place = rule.alert.or(rule.record).unwrap();
            // `by` would drop what the scrape configuration adds; `topk` would let alerts come and go.
            for word in [" by (", "topk", "bottomk"] {
                assert!(!rule.expr.contains(word), "{place} uses {word}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_test_of_each_kind() {
    let tests = tests();
    for name in alerts().keys() {
        for kind in KINDS {
            let wanted = format!("{name} {kind}");
            let found: Vec<_> = tests.iter().filter(|test| test.name == wanted).collect();
            let [test] = found[..] else { panic!("{} tests are called `{wanted}`", found.len()) };
            let [check] = &test.alert_rule_test[..] else { panic!("`{wanted}` is one look at one time") };
            let is_absence = name == ABSENCE;
            let fires = match kind {
                "fires" => true,
                "without its series" => is_absence,
                "with two tenants" => !is_absence,
                _ => false,
            };
            assert_eq!(check.exp_alerts.len(), usize::from(fires), "`{wanted}`");
            if kind == "with two tenants" {
                let of = |test: &&str| test.contains("fabrikam") || test.contains("two:");
                let second = test.input_series.iter().map(|input| input.series.as_str()).filter(of).count();
                assert!(second > 0 && second < test.input_series.len(), "`{wanted}` has not two");
            }
        }
    }
}

#[test]
fn rule_tests_expect_all_annotations_of_existing_alerts() {
    let alerts = alerts();
    for test in tests() {
        for check in test.alert_rule_test {
            let rule = alerts.get(&check.alertname).unwrap_or_else(|| panic!("no alert {}", check.alertname));
            let subject = test.name.split(' ').next();
            assert_eq!(subject, Some(check.alertname.as_str()), "`{}` is about another alert", test.name);
            for expected in check.exp_alerts {
                assert_eq!(expected.exp_labels["severity"], rule.labels["severity"], "{}", test.name);
                let keys: Vec<_> = expected.exp_annotations.keys().collect();
                assert_eq!(keys, rule.annotations.keys().collect::<Vec<_>>(), "{}", test.name);
            }
        }
    }
}

#[test]
fn every_recorded_series_is_tested() {
    let tested: BTreeSet<String> =
        tests().into_iter().flat_map(|test| test.promql_expr_test).map(|test| test.expr).collect();
    assert_eq!(tested, FILES.into_iter().flat_map(records).collect());
}

#[test]
fn rules_use_existing_metrics_of_their_level() {
    let is_deeper = |name: &str| name.starts_with("mde_machine_");
    for (file, recorded_by) in [("fleet", &FILES[..1]), ("machine", &FILES[..])] {
        let known = Known::with(recorded_by);
        let mut uses_machines = false;
        for rule in rules(file) {
            let place = rule.alert.or(rule.record).unwrap();
            assert_exist(&place, &rule.expr, &known);
            let used = selectors(&rule.expr).into_iter().filter_map(|selector| selector.name);
            uses_machines |= used.into_iter().any(|name| is_deeper(&name));
        }
        assert_eq!(uses_machines, file == "machine", "{file}.yml");
    }
}

#[test]
fn runbooks_have_every_section_and_valid_queries() {
    let known = Known::with(&FILES);
    for (name, text) in runbooks() {
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{name}");
        for section in text.split("\n## ").skip(1) {
            let words = section.split_whitespace().count();
            assert!(words > 12, "{name}: little is said under {:?}", section.lines().next());
        }
        assert!(!text.contains("TODO"), "{name}");
        let queries = queries(&text);
        assert!(!queries.is_empty(), "{name} has no query");
        for query in queries {
            assert_exist(&name, query, &known);
        }
    }
}

/// Words of a text that look like a metric of the exporter.
fn words_like_metrics(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(move |c| !is_part(c)).map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.contains("mde_") && !word.ends_with('_') && *word != "mde_exporter")
}

#[test]
fn runbooks_name_existing_metrics_and_alerts() {
    let known = Known::with(&FILES);
    let alerts = alerts();
    let pages = names("../docs", "md").into_iter().map(|name| format!("../docs/{name}.md"));
    let pages = pages
        .chain(["README.md".to_owned(), "../README.md".to_owned()])
        .map(|path| (path.clone(), read(&path)));
    for (name, text) in runbooks().into_iter().chain(pages) {
        for word in words_like_metrics(&text) {
            assert!(known.labels(word).is_some(), "{name}: no metric {word}");
        }
        for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.starts_with("Mde")) {
            assert!(alerts.contains_key(word), "{name}: no alert {word}");
        }
    }
}

#[test]
fn log_messages_in_runbooks_exist_in_the_code() {
    fn collect(folder: &Path, code: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, code);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut code = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    // A literal may be broken by a backslash at the end of a line.
    let code = spaced(&code.replace("\\\n", " "));
    let mut found = 0;
    for (name, text) in runbooks() {
        let text = spaced(&text);
        for message in text.split("message=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(code.contains(message), "{name}: nothing logs `{message}`");
            found += 1;
        }
    }
    assert!(found > 10, "only {found} log messages");
}

/// The alerts that a matcher of the form `alertname = "A"` or `alertname =~ "A|B"` means.
fn meant(matchers: &[String]) -> Vec<&str> {
    let [matcher] = matchers else { panic!("one matcher is enough: {matchers:?}") };
    let value = matcher.strip_prefix("alertname = ").or_else(|| matcher.strip_prefix("alertname =~ "));
    value.unwrap_or_else(|| panic!("{matcher}")).trim_matches('"').split('|').collect()
}

#[test]
fn inhibition_compares_labels_that_both_alerts_have() {
    let tests = tests();
    let labels = |alert: &str| -> BTreeSet<&String> {
        let fires = format!("{alert} fires");
        let test = tests.iter().find(|test| test.name == fires).unwrap_or_else(|| panic!("no {alert}"));
        test.alert_rule_test[0].exp_alerts[0].exp_labels.keys().collect()
    };
    for InhibitRule { source_matchers, target_matchers, equal } in
        yaml::<Alertmanager>("provisioning/alertmanager.yml").inhibit_rules
    {
        let (sources, targets) = (meant(&source_matchers), meant(&target_matchers));
        for alert in sources.iter().chain(&targets) {
            for label in &equal {
                assert!(labels(alert).contains(label), "{alert} has no {label}");
            }
        }
        // An alert that is both is never held back by another that is both.
        assert!(!sources.iter().any(|source| targets.contains(source)), "{sources:?} and {targets:?}");
    }
}

#[test]
fn sample_limit_exceeds_the_series_limit() {
    let example = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yml")).unwrap();
    let config = config::parse(Path::new("config.example.yml"), &example).unwrap().config;
    let jobs = yaml::<Prometheus>("provisioning/prometheus.yml").scrape_configs;
    let [job] = &jobs[..] else { panic!("one job") };
    assert_eq!(job.job_name, "mde_exporter");
    assert_eq!(job.sample_limit, config.metrics.series_limit + 5_000);
    let monitor = read("provisioning/kubernetes/servicemonitor.yaml");
    assert!(monitor.contains(&format!("sampleLimit: {}\n", job.sample_limit)));
}
