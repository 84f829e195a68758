//! What a reader of any panel, and the people who provision the files, rely on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::dashboards::expression::{Picks, exported, family, known};
use crate::dashboards::grafana::Dashboard;
use crate::dashboards::queries::{self, panels, selectors};

/// Metrics that no dashboard shows, each with the reason.
const UNUSED: &[(&str, &str)] = &[];

/// Metrics that are made by Prometheus and not by a target.
const MADE_BY_PROMETHEUS: [&str; 1] = ["ALERTS"];

/// Fails with all that does not hold, and not with the first of it.
fn none_of(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Calls `look` with every panel that asks something and its name, and gathers what it does not like.
fn each_panel(mut look: impl FnMut(&Value, &mut dyn FnMut(&str))) {
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()) {
            if panel["type"] != "text" {
                look(&panel, &mut |problem| problems.push(format!("{file} / {}: {problem}", panel["title"])));
            }
        }
    }
    none_of(&problems);
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
    fn look(value: &Value, path: &str, problems: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let here = format!("{path}.{key}");
                    if key == "datasource" && value["uid"] != "${datasource}" {
                        problems.push(here.clone());
                    }
                    look(value, &here, problems);
                }
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, item)| look(item, &format!("{path}[{at}]"), problems));
            }
            _ => {}
        }
    }
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        let json = dashboard.json();
        look(&json, file, &mut problems);
        let first = &json["templating"]["list"][0];
        assert_eq!((&first["name"], &first["type"]), (&"datasource".into(), &"datasource".into()), "{file}");
    }
    none_of(&problems);
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    for (file, dashboard) in crate::dashboards::all() {
        let json = dashboard.json();
        let mut ids = BTreeSet::new();
        let rows = json["panels"].as_array().unwrap();
        let nested = rows.iter().flat_map(|row| row["panels"].as_array().into_iter().flatten());
        for panel in rows.iter().chain(nested) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {}", panel["id"]);
        }
        // Panels of a folded row lie where others do once it is open.
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
fn every_panel_says_what_good_looks_like() {
    each_panel(|panel, problem| {
        let description = panel["description"].as_str().unwrap_or_default();
        if description.len() < 80 || !description.contains("Good: ") {
            problem("its description does not say what good looks like");
        }
        if panel["title"].as_str().unwrap_or_default().is_empty() {
            problem("no title");
        }
    });
}

#[test]
fn every_panel_has_a_unit_and_says_when_it_knows_nothing() {
    let units = ["short", "percentunit", "s", "bytes", "reqps", "string"];
    each_panel(|panel, problem| {
        let defaults = &panel["fieldConfig"]["defaults"];
        let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
        let properties = overrides.iter().flat_map(|of| of["properties"].as_array().unwrap());
        let others = properties.filter(|property| property["id"] == "unit").map(|unit| &unit["value"]);
        for unit in others.chain([&defaults["unit"]]) {
            if !units.contains(&unit.as_str().unwrap_or_default()) {
                problem(&format!("unit {unit}"));
            }
        }
        if defaults["noValue"].as_str().unwrap_or_default().is_empty() {
            problem("nothing stands for no value");
        }
    });
}

#[test]
fn panels_are_of_known_types_and_ask_in_the_right_shape() {
    each_panel(|panel, problem| {
        let range = match panel["type"].as_str().unwrap_or_default() {
            "timeseries" | "state-timeline" => true,
            "stat" | "bargauge" | "table" => false,
            other => return problem(&format!("type {other}")),
        };
        let targets = panel["targets"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for target in targets {
            if target["range"] != range || target["instant"] == range {
                problem("asks over another time than it shows");
            }
            if (target["format"] == "table") != (panel["type"] == "table") {
                problem("asks in another format than it shows");
            }
            if !ids.insert(target["refId"].as_str().unwrap()) {
                problem("two queries of one name");
            }
        }
        if targets.is_empty() {
            problem("asks nothing");
        }
        if panel["type"] == "stat"
            && panel["options"]["reduceOptions"]["calcs"] != serde_json::json!(["lastNotNull"])
        {
            problem("does not say which value it shows");
        }
        // The names that Grafana gives to the values of one query and of several.
        let renamed = panel["transformations"][1]["options"]["renameByName"].as_object();
        let several = targets.len() > 1;
        for field in
            renamed.into_iter().flat_map(serde_json::Map::keys).filter(|name| name.starts_with("Value"))
        {
            let known = match field.strip_prefix("Value #") {
                Some(id) => several && ids.contains(id),
                None => !several,
            };
            if !known {
                problem(&format!("no query gives `{field}`"));
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
fn every_selector_names_an_exported_metric_and_carries_the_filters() {
    let known = known();
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for query in queries::all().iter().filter(|query| query.name.starts_with(file)) {
            let found = match selectors(&query.expression) {
                Ok(found) => found,
                Err(error) => {
                    problems.push(format!("{}: {error}", query.name));
                    continue;
                }
            };
            let (mut narrowed, mut can_be_narrowed) = (false, false);
            for selector in found.iter().filter(|selector| !MADE_BY_PROMETHEUS.contains(&&*selector.metric)) {
                let Some(metric) = family(&known, &selector.metric) else {
                    problems.push(format!("{}: `{}` is not exported", query.name, selector.metric));
                    continue;
                };
                for filter in dashboard.filters.iter().filter(|filter| metric.carries(filter.label)) {
                    let wanted = (filter.label.to_owned(), format!("${}", filter.variable));
                    let carried = selector.matchers.contains(&wanted);
                    if filter.picks == Picks::Machines {
                        can_be_narrowed = true;
                        narrowed |= carried;
                    } else if !carried {
                        problems.push(format!("{}: `{}` lacks {wanted:?}", query.name, selector.metric));
                    }
                }
                for (label, _) in &selector.matchers {
                    if label != "le" && !metric.carries(label) {
                        problems.push(format!("{}: `{}` has no `{label}`", query.name, selector.metric));
                    }
                }
            }
            // The description says so where all of a panel is about whole tenants.
            if can_be_narrowed && !narrowed && !query.description.contains("Counts whole tenants") {
                problems.push(format!("{}: no filter that picks machines", query.name));
            }
        }
    }
    none_of(&problems);
}

#[test]
fn counters_are_only_asked_for_their_increase() {
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
            problems.push(format!("{}: a rate over a fixed time", query.name));
        }
        if query.expression.contains("topk") && query.expression.contains("$__rate_interval") {
            problems.push(format!("{}: topk over time", query.name));
        }
    }
    none_of(&problems);
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
fn the_fleet_is_shown_without_the_machine_level() {
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
    assert!(folded, "its queries run though nobody asked for them");
}

/// The variables that `text` uses, Grafana's own left out.
fn variables_in(text: &str) -> BTreeSet<String> {
    let starts = text.split('$').skip(1).map(|rest| rest.trim_start_matches('{'));
    let name = |rest: &str| {
        let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    let own = |name: &String| {
        !name.is_empty() && !name.starts_with("__") && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    starts.map(name).filter(own).collect()
}

fn names(dashboard: &Dashboard) -> BTreeSet<String> {
    dashboard.variables.iter().map(|variable| variable.name.to_owned()).collect()
}

#[test]
fn every_variable_is_used_and_every_used_one_is_there() {
    for (file, dashboard) in crate::dashboards::all() {
        assert_eq!(variables_in(&dashboard.text()), names(&dashboard), "{file}");
    }
}

#[test]
fn every_link_leads_to_a_dashboard_and_sets_variables_that_it_has() {
    let known: BTreeMap<&str, BTreeSet<String>> =
        crate::dashboards::all().iter().map(|(_, dashboard)| (dashboard.uid, names(dashboard))).collect();
    let mut led_to = BTreeSet::new();
    for (file, dashboard) in crate::dashboards::all() {
        let text = dashboard.text();
        for url in text.split("\"url\": \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let Some((uid, query)) = url.strip_prefix("/d/").and_then(|path| path.split_once('?')) else {
                assert!(url.is_empty() || url.starts_with("https://"), "{file}: {url}");
                continue;
            };
            let variables = known.get(uid).unwrap_or_else(|| panic!("{file}: no dashboard {uid}"));
            for pair in query.split('&') {
                if let Some((variable, _)) = pair.strip_prefix("var-").and_then(|pair| pair.split_once('=')) {
                    assert!(variables.contains(variable), "{file}: {uid} has no {variable}");
                }
            }
            led_to.insert(uid.to_owned());
        }
    }
    assert_eq!(led_to.into_iter().collect::<Vec<_>>(), ["mde-exporter", "mde-fleet", "mde-machine"]);
}
