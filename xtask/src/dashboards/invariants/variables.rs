//! Tests of the variables and of the links that set them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::assert_none;
use crate::dashboards::expression::{Filter, Values};
use crate::dashboards::grafana::Dashboard;
use crate::dashboards::queries::panels;

/// The variables that `text` uses, without those of Grafana.
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

/// Every query in the JSON: those of panels, variables and annotations.
fn queries_in(json: &Value) -> Vec<&str> {
    match json {
        Value::Object(fields) => {
            let own =
                fields.iter().filter(|(key, _)| ["expr", "query", "definition"].contains(&key.as_str()));
            let own = own.filter_map(|(_, value)| value.as_str());
            own.chain(fields.values().flat_map(queries_in)).collect()
        }
        Value::Array(items) => items.iter().flat_map(queries_in).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn variables_are_exactly_those_that_are_used() {
    for (file, dashboard) in crate::dashboards::all() {
        assert_eq!(variables_in(&dashboard.text()), names(&dashboard), "{file}");
    }
}

#[test]
fn names_with_any_character_can_be_selected() {
    let mut problems = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for filter in dashboard.filters {
            let variable =
                dashboard.variables.iter().find(|variable| variable.name == filter.variable).unwrap();
            if variable.is_several() == (filter.values == Values::One) {
                problems.push(format!("{file}: {} has other values than its filter", filter.variable));
            }
        }
        // Every use of a variable in a query is the matcher of a filter, so that names need no escapes.
        let matchers: Vec<_> = dashboard.filters.iter().map(Filter::matcher).collect();
        for query in queries_in(&dashboard.json()) {
            let rest = matchers.iter().fold(query.to_owned(), |rest, matcher| rest.replace(matcher, ""));
            for variable in variables_in(&rest) {
                problems.push(format!("{file}: `{variable}` in another form than its filter in {query}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn links_lead_to_dashboards_that_have_their_variables() {
    let dashboards: BTreeMap<&str, BTreeSet<String>> =
        crate::dashboards::all().iter().map(|(_, dashboard)| (dashboard.uid, names(dashboard))).collect();
    let mut targets = BTreeSet::new();
    for (file, dashboard) in crate::dashboards::all() {
        let text = dashboard.text();
        for url in text.split("\"url\": \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let Some((uid, query)) = url.strip_prefix("/d/").and_then(|path| path.split_once('?')) else {
                assert!(url.is_empty() || url.starts_with("https://"), "{file}: {url}");
                continue;
            };
            let variables = dashboards.get(uid).unwrap_or_else(|| panic!("{file}: no dashboard {uid}"));
            for parameter in query.split('&') {
                if let Some((variable, _)) =
                    parameter.strip_prefix("var-").and_then(|rest| rest.split_once('='))
                {
                    assert!(variables.contains(variable), "{file}: {uid} has no {variable}");
                }
            }
            targets.insert(uid.to_owned());
        }
    }
    assert_eq!(targets, dashboards.keys().map(|uid| (*uid).to_owned()).collect());
}

#[test]
fn every_kb_and_machine_in_a_table_is_a_link() {
    let mut problems = Vec::new();
    let mut linked = BTreeSet::new();
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()).iter().filter(|(_, panel)| panel["type"] == "table") {
            let titles = panel["transformations"][1]["options"]["renameByName"].as_object().unwrap();
            for (field, uid) in [("kb", "mde-update"), ("by", "mde-update"), ("machine", "mde-machine")] {
                let Some(title) = titles.get(field) else { continue };
                let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
                let column = overrides.iter().find(|column| column["matcher"]["options"] == *title).unwrap();
                let has_link = column.to_string().contains(&format!("/d/{uid}?"));
                // The table with the properties of one object does not link to itself.
                let is_own_page = panel["title"] == *dashboard.title.rsplit(" / ").next().unwrap();
                if !(has_link || is_own_page && dashboard.uid == uid) {
                    problems.push(format!("{file} / {}: `{field}` has no link to {uid}", panel["title"]));
                }
                linked.extend(has_link.then_some(field));
            }
        }
    }
    assert_none(&problems);
    assert_eq!(linked.len(), 3, "{linked:?}");
}
