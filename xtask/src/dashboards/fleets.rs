//! Tests that the exporter could serve the modelled fleets of `panels/fleets.txt`.

use std::collections::BTreeSet;

use promql_parser::parser::{Expr, parse};

use crate::dashboards::expression::{family, queryable};

const FLEETS: &str = include_str!("panels/fleets.txt");

/// Series that Prometheus generates.
const PROMETHEUS_SERIES: [&str; 1] = ["ALERTS"];

/// The series of all fleets, without values.
fn series() -> impl Iterator<Item = &'static str> {
    let lines = FLEETS.lines().filter(|line| line.starts_with(|sign: char| sign.is_ascii_alphabetic()));
    lines.map(|line| {
        let end = line.find('}').map_or_else(|| line.find(' ').unwrap(), |end| end + 1);
        &line[..end]
    })
}

#[test]
fn every_modelled_series_has_the_labels_of_its_family() {
    let metrics = queryable();
    for text in series() {
        let Ok(Expr::VectorSelector(selector)) = parse(text) else { panic!("not a series: {text}") };
        let name = selector.name.unwrap();
        if PROMETHEUS_SERIES.contains(&&*name) {
            continue;
        }
        let family = family(&metrics, &name).unwrap_or_else(|| panic!("not exported: {text}"));
        let labels: BTreeSet<String> = selector
            .matchers
            .matchers
            .into_iter()
            .map(|matcher| matcher.name)
            .filter(|label| label != "le")
            .collect();
        assert_eq!(labels, family.labels.iter().cloned().collect(), "{text}");
    }
}

#[test]
fn no_series_is_modelled_twice_in_a_fleet() {
    for fleet in FLEETS.split("\n[").skip(1) {
        let lines = fleet.lines().filter(|line| line.starts_with(|sign: char| sign.is_ascii_alphabetic()));
        let mut seen = BTreeSet::new();
        for line in lines.skip(1) {
            assert!(seen.insert(line.rsplit_once('}').map_or(line, |(series, _)| series)), "{line}");
        }
    }
}
