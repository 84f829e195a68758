//! Tests of properties that every dashboard and panel has.

mod presentation;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::dashboards::expression::{Picks, exported, family, queryable};
use crate::dashboards::queries::{self, panels, selectors};

/// Metrics that no dashboard shows, each with the reason.
const UNUSED: &[(&str, &str)] = &[(
    "mde_exporter_shard_info",
    "most installations have one shard; of several, MdeShardMissing tells what is wrong",
)];

/// Metrics that Prometheus generates.
const PROMETHEUS_METRICS: [&str; 1] = ["ALERTS"];

/// Fails with the list of all problems.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Calls `check` with every panel that has queries, and fails with the problems that it reports.
fn each_panel(mut check: impl FnMut(&Value, &mut dyn FnMut(&str))) {
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()) {
            if panel["type"] != "text" {
                check(&panel, &mut |problem| {
                    problems.push(format!("{file} / {}: {problem}", panel["title"]));
                });
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn each_file_can_be_provisioned_anywhere() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in crate::dashboards::all() {
        let json = dashboard.json();
        assert_eq!(json["schemaVersion"], 42, "{file}");
        assert_eq!(json["editable"], false, "{file}");
        assert_eq!(json["refresh"], "15m", "{file}");
        assert_eq!(json["tags"], serde_json::json!(["mde"]), "{file}");
        for key in ["__inputs", "__requires", "id", "version", "iteration"] {
            assert!(json.get(key).is_none(), "{file} has {key}");
        }
        let uid = dashboard.uid;
        assert!((8..=40).contains(&uid.len()) && uids.insert(uid), "{file}: {uid}");
        assert_eq!(Some(uid.trim_start_matches("mde-")), file.strip_suffix(".json"));
    }
}

#[test]
fn every_data_source_is_the_variable() {
    fn visit(value: &Value, path: &str, problems: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let here = format!("{path}.{key}");
                    if key == "datasource" && value["uid"] != "${datasource}" {
                        problems.push(here.clone());
                    }
                    visit(value, &here, problems);
                }
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, item)| visit(item, &format!("{path}[{at}]"), problems));
            }
            _ => {}
        }
    }
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        let json = dashboard.json();
        visit(&json, file, &mut problems);
        let first = &json["templating"]["list"][0];
        assert_eq!((&first["name"], &first["type"]), (&"datasource".into(), &"datasource".into()), "{file}");
    }
    assert_none(&problems);
}

#[test]
fn panels_have_unique_ids_and_do_not_overlap() {
    for (file, dashboard) in crate::dashboards::all() {
        let json = dashboard.json();
        let mut ids = BTreeSet::new();
        let rows = json["panels"].as_array().unwrap();
        let nested = rows.iter().flat_map(|row| row["panels"].as_array().into_iter().flatten());
        for panel in rows.iter().chain(nested) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {}", panel["id"]);
        }
        // Panels of a folded row may overlap those of other rows.
        let groups = rows.iter().filter_map(|row| row["panels"].as_array()).chain([rows]);
        for group in groups {
            let mut taken = BTreeSet::new();
            for panel in group {
                let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(place("x") + place("w") <= 24, "{file}: {} is too wide", panel["title"]);
                for x in place("x")..place("x") + place("w") {
                    for y in place("y")..place("y") + place("h") {
                        assert!(taken.insert((x, y)), "{file}: {} overlaps at {x}, {y}", panel["title"]);
                    }
                }
            }
        }
    }
}

#[test]
fn titles_are_used_once_in_a_dashboard() {
    for (file, dashboard) in crate::dashboards::all() {
        let mut titles = BTreeSet::new();
        for (_, panel) in panels(&dashboard.json()) {
            assert!(titles.insert(panel["title"].to_string()), "{file}: {}", panel["title"]);
        }
    }
}

#[test]
fn every_description_states_what_is_good() {
    each_panel(|panel, problem| {
        let description = panel["description"].as_str().unwrap_or_default();
        if description.len() < 80 || !description.contains("Good: ") {
            problem("its description does not state what is good");
        }
        if panel["title"].as_str().unwrap_or_default().is_empty() {
            problem("no title");
        }
    });
}

#[test]
fn queries_have_the_shape_that_the_panel_type_needs() {
    each_panel(|panel, problem| {
        let range = match panel["type"].as_str().unwrap_or_default() {
            "timeseries" | "state-timeline" => true,
            "stat" | "bargauge" | "table" | "trend" => false,
            other => return problem(&format!("type {other}")),
        };
        let targets = panel["targets"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for target in targets {
            if target["range"] != range || target["instant"] == range {
                problem("its query has another time range than its panel type");
            }
            if (target["format"] == "table") != matches!(panel["type"].as_str(), Some("table" | "trend")) {
                problem("its query has another format than its panel type");
            }
            if !ids.insert(target["refId"].as_str().unwrap()) {
                problem("two queries have the same id");
            }
        }
        if targets.is_empty() {
            problem("it has no query");
        }
        if panel["type"] == "stat"
            && panel["options"]["reduceOptions"]["calcs"] != serde_json::json!(["lastNotNull"])
        {
            problem("it does not show the last value");
        }
        // Grafana names the values of a single query `Value`, those of several queries `Value #id`.
        let renamed = panel["transformations"][1]["options"]["renameByName"].as_object();
        let several = targets.len() > 1;
        for field in
            renamed.into_iter().flat_map(serde_json::Map::keys).filter(|name| name.starts_with("Value"))
        {
            let exists = match field.strip_prefix("Value #") {
                Some(id) => several && ids.contains(id),
                None => !several,
            };
            if !exists {
                problem(&format!("no query returns `{field}`"));
            }
        }
    });
}

#[test]
fn legends_name_labels_that_the_query_keeps() {
    each_panel(|panel, problem| {
        for target in panel["targets"].as_array().unwrap() {
            let (legend, query) =
                (target["legendFormat"].as_str().unwrap(), target["expr"].as_str().unwrap());
            for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                let grouped = query.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
                let kept = grouped.into_iter().any(|labels| labels.split(", ").any(|kept| kept == label));
                if !kept && (label != "instance" || query.contains(" by (")) {
                    problem(&format!("`{label}` of the legend is not in {query}"));
                }
            }
        }
    });
}

#[test]
fn every_selector_names_an_exported_metric_and_has_its_filters() {
    let metrics = queryable();
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for query in queries::all().iter().filter(|query| query.name.starts_with(file)) {
            let parsed = match selectors(&query.expression) {
                Ok(parsed) => parsed,
                Err(error) => {
                    problems.push(format!("{}: {error}", query.name));
                    continue;
                }
            };
            let mut is_filtered = false;
            let mut can_be_filtered = false;
            for selector in parsed.iter().filter(|selector| !PROMETHEUS_METRICS.contains(&&*selector.metric))
            {
                let Some(metric) = family(&metrics, &selector.metric) else {
                    problems.push(format!("{}: `{}` is not exported", query.name, selector.metric));
                    continue;
                };
                for filter in dashboard.filters.iter().filter(|filter| metric.has_label(filter.label)) {
                    let wanted = (filter.label.to_owned(), filter.value());
                    let has_matcher = selector.matchers.contains(&wanted);
                    if filter.picks == Picks::Machines {
                        can_be_filtered = true;
                        is_filtered |= has_matcher;
                    } else if !has_matcher {
                        problems.push(format!("{}: `{}` lacks {wanted:?}", query.name, selector.metric));
                    }
                }
                for (label, _) in &selector.matchers {
                    if label != "le" && !metric.has_label(label) {
                        problems.push(format!("{}: `{}` has no `{label}`", query.name, selector.metric));
                    }
                }
            }
            // The description of a panel about whole tenants states it.
            if can_be_filtered && !is_filtered && !query.description.contains("Counts whole tenants") {
                problems.push(format!("{}: no filter that selects machines", query.name));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn counters_are_only_used_for_their_increase() {
    let mut problems = Vec::new();
    for query in queries::all() {
        for selector in selectors(&query.expression).unwrap() {
            let parts = ["_total", "_bucket", "_sum", "_count"];
            let counts = parts.iter().any(|part| selector.metric.ends_with(part));
            let increase = matches!(selector.function, Some("rate" | "increase"));
            if counts != increase {
                problems.push(format!("{}: `{}` in {:?}", query.name, selector.metric, selector.function));
            }
        }
        if query.expression.contains("rate(") && !query.expression.contains("[$__rate_interval]") {
            problems.push(format!("{}: a rate over a fixed duration", query.name));
        }
        if query.expression.contains("topk") && query.expression.contains("$__rate_interval") {
            problems.push(format!("{}: topk over time", query.name));
        }
    }
    assert_none(&problems);
}

#[test]
fn every_exported_metric_is_shown_or_listed_with_a_reason() {
    let exported = exported();
    let mut shown = BTreeSet::new();
    for query in queries::all() {
        for selector in selectors(&query.expression).unwrap() {
            shown.extend(family(&exported, &selector.metric).map(|metric| metric.name.clone()));
        }
    }
    let unused: BTreeMap<_, _> = UNUSED.iter().copied().collect();
    for metric in &exported {
        let name = metric.name.as_str();
        assert!(shown.contains(name) != unused.contains_key(name), "{name} is shown or listed, and not both");
    }
    assert!(unused.keys().all(|name| exported.iter().any(|metric| metric.name == *name)));
}

#[test]
fn the_fleet_dashboard_works_without_the_machine_level() {
    let (file, dashboard) = &crate::dashboards::all()[0];
    assert_eq!(*file, "fleet.json");
    let mut rows = BTreeSet::new();
    for (row, panel) in panels(&dashboard.json()) {
        if panel["targets"].to_string().contains("mde_machine_") {
            rows.insert(row);
        }
    }
    let rows: Vec<_> = rows.iter().map(String::as_str).collect();
    assert_eq!(rows, ["Machine level: which machines?"]);
    let folded = dashboard.json()["panels"]
        .as_array()
        .unwrap()
        .iter()
        .any(|row| row["title"] == rows[0] && row["collapsed"] == true);
    assert!(folded, "the row is not folded, so its queries always run");
}
