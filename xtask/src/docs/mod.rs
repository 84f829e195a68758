//! The page `docs/metrics.md`, generated from the metric tables of the exporter.
//!
//! The prose of the page is in the text files beside this module: an introduction, and notes below each table.

use mde_exporter::exposition::FamilyDescriptor;
use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::self_metrics;

use crate::generated::GeneratedFile;

const INTRODUCTION: &str = include_str!("introduction.txt");
const FLEET_NOTES: &str = include_str!("fleet.txt");
const MACHINE_NOTES: &str = include_str!("machine.txt");
const UPDATE_NOTES: &str = include_str!("update.txt");
const EXPORTER_NOTES: &str = include_str!("exporter.txt");

/// The sentence at the end of each help text of fleet data. The introduction of the page contains it once.
const COMMON_HELP: &str = " Data is cached and polled in the background.";

/// A row of a table.
struct MetricRow {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    has_own_labels: bool,
    help: String,
}

impl From<&FamilyDescriptor> for MetricRow {
    fn from(header: &FamilyDescriptor) -> Self {
        Self {
            name: header.name.to_owned(),
            kind: header.metric_type.as_str(),
            labels: header.labels.iter().map(|&label| label.to_owned()).collect(),
            has_own_labels: header.has_own_labels,
            help: header.help.trim_end_matches(COMMON_HELP).to_owned(),
        }
    }
}

/// The generated files in `docs/`.
pub(crate) fn files() -> Vec<GeneratedFile> {
    let fleet = FLEET.iter().map(|family| MetricRow::from(&family.descriptor));
    let machine = MACHINE.iter().map(|family| MetricRow::from(&family.descriptor));
    let update = UPDATE.iter().map(|family| MetricRow::from(&family.descriptor));
    let exporter = self_metrics::families().into_iter().map(|family| MetricRow {
        name: family.name,
        kind: family.kind,
        labels: family.labels,
        has_own_labels: false,
        help: family.help,
    });
    let sections = [
        INTRODUCTION.to_owned(),
        section("Fleet", fleet, FLEET_NOTES),
        section("Machine", machine, MACHINE_NOTES),
        section("Update", update, UPDATE_NOTES),
        section("The exporter itself", exporter, EXPORTER_NOTES),
    ];
    vec![GeneratedFile { path: "docs/metrics.md".to_owned(), text: sections.join("\n") }]
}

/// A heading, a table and the notes on its metrics.
fn section(title: &str, rows: impl Iterator<Item = MetricRow>, notes: &str) -> String {
    let rows: Vec<String> = rows.map(|row| table_row(&row)).collect();
    format!(
        "## {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n{}\n{notes}",
        rows.concat()
    )
}

fn table_row(MetricRow { name, kind, labels, has_own_labels, help }: &MetricRow) -> String {
    let mut labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    labels.extend(has_own_labels.then(|| "own labels".to_owned()));
    format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), help.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_name_type_labels_and_meaning() {
        let row = MetricRow {
            name: "mde_x".to_owned(),
            kind: "gauge",
            labels: vec!["a".to_owned(), "b".to_owned()],
            has_own_labels: false,
            help: "1 | 2.".to_owned(),
        };
        assert_eq!(table_row(&row), "| `mde_x` | gauge | `a`, `b` | 1 \\| 2. |\n");
        let row = MetricRow { has_own_labels: true, ..row };
        assert_eq!(table_row(&row), "| `mde_x` | gauge | `a`, `b`, own labels | 1 \\| 2. |\n");
    }

    #[test]
    fn the_common_sentence_of_the_help_texts_is_removed() {
        let page = &files()[0].text;
        assert_eq!(page.matches(COMMON_HELP.trim()).count(), 0);
        assert!(FLEET.iter().all(|family| family.descriptor.help.ends_with(COMMON_HELP)));
    }

    #[test]
    fn every_metric_of_the_notes_exists() {
        let page = &files()[0].text;
        for word in page.split('`').filter(|word| word.starts_with("mde_")) {
            let name = word.split('{').next().unwrap();
            assert!(page.contains(&format!("\n| `{name}` |")), "{word}");
        }
    }
}
