//! What the formats have in common, and what protects their readers.

use mde_exporter::model::{OwnLabel, ReportFormat};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::fleets::{any_fleets, special_case_facts, special_case_policies};
use crate::support::report::{ReportSettings, csv_lines, report_text};

/// The text of a JSON value as a cell of CSV.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The elements of the page.
const ELEMENTS: [&str; 31] = [
    "!doctype", "html", "head", "meta", "title", "link", "style", "body", "main", "h1", "h2", "h3", "p",
    "strong", "section", "div", "table", "caption", "thead", "tr", "th", "tbody", "td", "bdi", "dl", "dt",
    "dd", "pre", "span", "code", "br",
];

proptest! {
    #[test]
    fn csv_and_json_hold_the_same_cells(fleets in any_fleets()) {
        let settings = ReportSettings {
            policies: special_case_policies().into(),
            labels: vec![OwnLabel::new("team".into(), "")],
            facts: special_case_facts(),
            ..ReportSettings::default()
        };
        let lines = csv_lines(&report_text(&fleets, &settings, ReportFormat::Csv));
        let text = report_text(&fleets, &settings, ReportFormat::Json);
        let json: Value = serde_json::from_str(&text).unwrap();
        let rows = json["rows"].as_array().unwrap();
        prop_assert_eq!(rows.len(), lines.len() - 1);
        for (row, line) in rows.iter().zip(&lines[1..]) {
            let row = row.as_object().unwrap();
            prop_assert_eq!(row.len(), lines[0].len());
            for (column, found) in lines[0].iter().zip(line) {
                let expected = cell(&row[column]);
                let is_formula = expected.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
                let guard = if is_formula { "'" } else { "" };
                prop_assert_eq!(found, &format!("{guard}{expected}"));
            }
        }
        // Each row is on a line of its own, so that two reports can be compared line by line.
        prop_assert_eq!(text.lines().filter(|line| line.starts_with("{\"tenant\":")).count(), rows.len());
    }

    #[test]
    fn page_holds_no_markup_from_outside(fleets in any_fleets()) {
        let settings =
            ReportSettings { policies: special_case_policies().into(), ..ReportSettings::default() };
        let page = report_text(&fleets, &settings, ReportFormat::Html);
        for tag in page.split('<').skip(1) {
            let name = tag.trim_start_matches('/').split([' ', '>', '\n']).next().unwrap_or_default();
            prop_assert!(ELEMENTS.contains(&name.to_lowercase().as_str()), "<{}", tag);
        }
    }
}
