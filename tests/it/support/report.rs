//! Reports of fleets in memory, and an independent reader of CSV.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_exporter::config::{exceptions_section, expand};
use mde_exporter::facts::Facts;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::fleet::summary::UpdateCollector;
use mde_exporter::model::{Exception, Freshness, OwnLabel, Policy, ReportFormat, ServicingSettings};
use mde_exporter::report::csv::CsvWriter;
use mde_exporter::report::html::HtmlWriter;
use mde_exporter::report::json::JsonWriter;
use mde_exporter::report::metadata::FactsDates;
use mde_exporter::report::{ReportMetadata, ReportSummary, ReportTerms, RowWriter, TenantRows};

use super::fleets::now;

/// What a report is made with, beside the fleets.
#[derive(Clone, Default)]
pub(crate) struct ReportSettings {
    pub(crate) policies: Vec<Policy>,
    pub(crate) labels: Vec<OwnLabel>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) servicing: ServicingSettings,
    pub(crate) facts: Facts,
}

/// The report of `fleets` under the first policy.
pub(crate) fn report_text(
    fleets: &[Arc<TenantFleet>],
    settings: &ReportSettings,
    format: ReportFormat,
) -> String {
    let ReportSettings { policies, labels, exceptions, servicing, facts } = settings;
    let mut fleets: Vec<_> = fleets.iter().collect();
    fleets.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    let rules = (policies.first(), &**exceptions, servicing);
    let terms = ReportTerms::new(now(), Freshness::DEFAULT, facts, labels, rules);
    let metadata = ReportMetadata {
        time: now(),
        version: "0.0.0",
        state_saved_at: Some(now()),
        facts: Some(FactsDates::new(now(), facts)),
        policy: policies.first().map(|policy| policy.name.to_string()),
        tenants: fleets.iter().map(|fleet| fleet.tenant.to_string()).collect(),
        states: Vec::new(),
        warnings: Vec::new(),
        policies: expand(policies),
        exceptions: exceptions_section(exceptions),
    };
    let mut text = Vec::new();
    let mut writer: Box<dyn RowWriter + '_> = match format {
        ReportFormat::Csv => Box::new(CsvWriter::new(&mut text, labels).unwrap()),
        ReportFormat::Json => Box::new(JsonWriter::new(&mut text, labels, &metadata).unwrap()),
        ReportFormat::Html => Box::new(HtmlWriter::new(&mut text, labels, metadata)),
    };
    let mut summary = ReportSummary::default();
    for fleet in fleets {
        let mut machines: Vec<_> = fleet.machines.values().collect();
        machines
            .sort_by_key(|machine| (machine.facts.name.to_lowercase(), machine.facts.id.as_str().to_owned()));
        let mut collector = UpdateCollector::new(facts);
        for missing in machines.iter().filter_map(|machine| terms.assessed_updates(machine)).flatten() {
            collector.add(missing);
        }
        let updates = collector.finish();
        let mut rows = TenantRows::new(&terms, &fleet.tenant, fleet.source, &updates);
        for machine in machines {
            rows.of_machine(machine, |row| writer.row(row)).unwrap();
        }
        summary.tenants.push(rows.into_counts());
    }
    writer.finish(&summary).unwrap();
    String::from_utf8(text).unwrap()
}

/// The rows of CSV text, each by column. Every line has to end in CRLF.
pub(crate) fn csv_rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv_lines(text).into_iter();
    let header = lines.next().expect("a header");
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), header.len(), "{cells:?}");
        header.iter().cloned().zip(cells).collect()
    };
    lines.map(row).collect()
}

/// The lines of CSV text as cells, the header included.
pub(crate) fn csv_lines(text: &str) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    let (mut line, mut cell) = (Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => cell.push(character),
            ',' => line.push(std::mem::take(&mut cell)),
            '\r' => {
                assert_eq!(characters.next(), Some('\n'), "a CR outside of quotes ends a line");
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            '\n' => panic!("an LF without CR outside of quotes"),
            _ => cell.push(character),
        }
    }
    assert!(!is_quoted && line.is_empty() && cell.is_empty(), "the last line has no end");
    lines
}
