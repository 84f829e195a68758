//! Tests of units, colours, widths and titles.

use serde_json::Value;

use super::each_panel;
use crate::dashboards::grafana::width_of_text;
use crate::dashboards::queries::panels;

/// The width of a dashboard in pixels in a window of 1280 pixels, without the margins of the page.
const PAGE: f64 = 1280.0 - 32.0;

/// The space between two columns of the grid.
const SPACE: f64 = 8.0;

/// The pixels that the content of a panel can take, without borders and a scroll bar.
fn content_width(panel: &Value) -> f64 {
    let columns = panel["gridPos"]["w"].as_f64().unwrap();
    columns * (PAGE + SPACE) / 24.0 - SPACE - 20.0
}

/// The properties of each override with the name that it matches.
fn overrides(panel: &Value) -> Vec<(&str, &Vec<Value>)> {
    let all = panel["fieldConfig"]["overrides"].as_array().unwrap().iter();
    all.map(|of| (of["matcher"]["options"].as_str().unwrap(), of["properties"].as_array().unwrap())).collect()
}

/// The value of a property.
fn property<'a>(properties: &'a [Value], id: &str) -> Option<&'a Value> {
    properties.iter().find(|property| property["id"] == id).map(|property| &property["value"])
}

#[test]
fn every_panel_has_a_unit_and_a_text_for_no_value() {
    let units = [
        "short",
        "locale",
        "none",
        "percentunit",
        "s",
        "suffix:h",
        "suffix:d",
        "bytes",
        "reqps",
        "string",
        "time:YYYY-MM-DD",
    ];
    each_panel(|panel, problem| {
        let defaults = &panel["fieldConfig"]["defaults"];
        let columns = overrides(panel);
        let others = columns.iter().filter_map(|(_, properties)| property(properties, "unit"));
        for unit in others.chain([&defaults["unit"]]) {
            if !units.contains(&unit.as_str().unwrap_or_default()) {
                problem(&format!("unit {unit}"));
            }
        }
        if defaults["noValue"].as_str().unwrap_or_default().is_empty() {
            problem("no text for a missing value");
        }
    });
}

/// Ages in seconds, which are minutes or hours.
const SHORT_AGES: [&str; 2] = ["Next poll in", "Token valid for"];

#[test]
fn ages_are_in_days_or_hours_and_not_in_weeks() {
    let divisor = |unit: &Value| match unit.as_str() {
        Some("suffix:d") => "/ 86400",
        Some("suffix:h") => "/ 3600",
        _ => "",
    };
    each_panel(|panel, problem| {
        let targets = panel["targets"].as_array().unwrap();
        let titles = panel["transformations"][1]["options"]["renameByName"].as_object();
        for target in targets {
            let (id, query) = (target["refId"].as_str().unwrap(), target["expr"].as_str().unwrap());
            let field = if targets.len() > 1 { format!("Value #{id}") } else { "Value".to_owned() };
            let title = titles.and_then(|titles| titles.get(&field)).and_then(Value::as_str);
            let column =
                title.and_then(|title| overrides(panel).into_iter().find(|(name, _)| *name == title));
            let unit = match &column {
                Some((_, properties)) => property(properties, "unit").unwrap(),
                None if panel["type"] == "table" => continue,
                None => &panel["fieldConfig"]["defaults"]["unit"],
            };
            let shown = divisor(unit);
            if !query.contains(shown) {
                problem(&format!("unit {unit} without `{shown}` in {query}"));
            }
            // A query that returns an age begins with it. Others only compare ages.
            let is_age = query.starts_with("(time() - ") || query.contains("- time()) / ");
            if is_age && shown.is_empty() {
                problem(&format!("an age in {unit}: {query}"));
            }
            let is_short = title.is_some_and(|title| SHORT_AGES.contains(&title));
            let bare = query.starts_with("time() - ") || query.ends_with("- time()");
            if bare && !is_short {
                problem(&format!("an age in seconds: {query}"));
            }
        }
    });
}

#[test]
fn the_palette_colours_nothing_but_series() {
    each_panel(|panel, problem| {
        let of_series = matches!(panel["type"].as_str(), Some("timeseries" | "trend"));
        if !of_series && panel.to_string().contains("palette-classic") {
            problem("the palette paints a value green that may be bad");
        }
        if panel["options"]["colorMode"] == "value"
            && panel["fieldConfig"]["defaults"]["color"]["mode"] != "thresholds"
        {
            problem("the colour of a value does not follow its thresholds");
        }
    });
}

#[test]
fn a_value_that_is_not_there_has_no_colour() {
    each_panel(|panel, problem| {
        let is_neutral = |mappings: &Value| mappings.to_string().contains("\"match\":\"null+nan\"");
        if panel["type"] == "stat" && !is_neutral(&panel["fieldConfig"]["defaults"]["mappings"]) {
            problem("a missing value gets the colour of a threshold");
        }
        for (name, properties) in overrides(panel) {
            let has_bounds = property(properties, "thresholds").is_some();
            if has_bounds && !property(properties, "mappings").is_some_and(is_neutral) {
                problem(&format!("a missing value of `{name}` gets the colour of a threshold"));
            }
        }
    });
}

#[test]
fn areas_and_bars_start_at_zero() {
    each_panel(|panel, problem| {
        let defaults = &panel["fieldConfig"]["defaults"];
        if defaults["custom"]["stacking"]["mode"] == "normal" && defaults["min"] != 0.0 {
            problem("its areas do not start at 0");
        }
        for (name, properties) in overrides(panel) {
            let is_bar =
                property(properties, "custom.cellOptions").is_some_and(|cell| cell["type"] == "gauge");
            let has_range = property(properties, "max").is_some()
                || property(properties, "fieldMinMax").is_some_and(|own| *own == true);
            if is_bar && !(has_range && property(properties, "min").is_some_and(|min| *min == 0)) {
                problem(&format!("the bars of `{name}` have the range of other columns"));
            }
        }
    });
}

#[test]
fn a_line_has_no_fill() {
    each_panel(|panel, problem| {
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        let is_stacked = custom["stacking"]["mode"] == "normal";
        if custom["drawStyle"] == "line" && !is_stacked && custom["fillOpacity"] != 0 {
            problem("its lines have a fill");
        }
        for (name, properties) in overrides(panel) {
            let is_line = property(properties, "custom.drawStyle").is_some_and(|style| style == "line");
            if is_line && property(properties, "custom.fillOpacity").is_none_or(|fill| *fill != 0) {
                problem(&format!("the line `{name}` inherits a fill"));
            }
        }
    });
}

#[test]
fn the_columns_of_a_table_fit_at_1280_pixels() {
    each_panel(|panel, problem| {
        if panel["type"] != "table" {
            return;
        }
        let (mut total, mut growing) = (0.0, 0);
        for (name, properties) in overrides(panel) {
            if property(properties, "custom.hidden").is_some() {
                continue;
            }
            let fixed = property(properties, "custom.width");
            let least = property(properties, "custom.minWidth");
            growing += i32::from(least.is_some());
            match fixed.or(least).and_then(Value::as_f64) {
                Some(width) if width < f64::from(width_of_text(name)) + 16.0 => {
                    problem(&format!("the title `{name}` does not fit"));
                }
                Some(width) => total += width,
                None => problem(&format!("no width for `{name}`")),
            }
        }
        if growing != 1 {
            problem(&format!("{growing} columns take the rest of the width"));
        }
        if total > content_width(panel) {
            problem(&format!("its columns need {total} of {} pixels", content_width(panel)));
        }
    });
}

#[test]
fn every_column_of_a_table_is_described() {
    each_panel(|panel, problem| {
        let Some(organized) =
            panel["transformations"][1]["options"].as_object().filter(|_| panel["type"] == "table")
        else {
            return;
        };
        for target in panel["targets"].as_array().unwrap() {
            let id = target["refId"].as_str().unwrap();
            let single = panel["targets"].as_array().unwrap().len() == 1;
            let field = if single { "Value".to_owned() } else { format!("Value #{id}") };
            let is_named = organized["renameByName"].get(&field).is_some();
            if is_named == organized["excludeByName"].get(&field).is_some() {
                problem(&format!("`{field}` is neither a column nor hidden, or both"));
            }
        }
    });
}

#[test]
fn titles_fit_into_their_panels() {
    each_panel(|panel, problem| {
        // The icon of the description and that of a link follow the title.
        let icons = 24.0 + if panel["links"].is_array() { 24.0 } else { 0.0 };
        let width = f64::from(width_of_text(panel["title"].as_str().unwrap())) + icons;
        if width > content_width(panel) {
            problem(&format!("its title needs {width} of {} pixels", content_width(panel)));
        }
    });
}

#[test]
fn the_fleet_dashboard_starts_with_the_main_answers() {
    let (_, dashboard) = &crate::dashboards::all()[0];
    let shown = panels(&dashboard.json());
    let titles: Vec<_> = shown.iter().take(4).map(|(_, panel)| panel["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Within deadline", "Overdue", "Exploited and missing", "Not judged"]);
    assert!(shown.iter().take(4).all(|(_, panel)| panel["gridPos"]["y"] == 1), "they are in one line");
}
