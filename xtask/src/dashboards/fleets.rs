//! The modelled fleets of `panels/fleets.txt` hold what the exporter could serve.

use std::collections::BTreeSet;

use promql_parser::parser::{Expr, parse};

use crate::dashboards::expression::{family, known};

const FLEETS: &str = include_str!("panels/fleets.txt");

/// Those that Prometheus makes and not the exporter.
const OF_PROMETHEUS: [&str; 1] = ["ALERTS"];

/// Lines with a series, without its values.
fn series() -> impl Iterator<Item = &'static str> {
    let lines = FLEETS.lines().filter(|line| line.starts_with(|sign: char| sign.is_ascii_alphabetic()));
    lines.map(|line| {
        let end = line.find('}').map_or_else(|| line.find(' ').unwrap(), |end| end + 1);
        &line[..end]
    })
}

#[test]
fn every_modelled_series_has_the_labels_of_its_family() {
    let known = known();
    for text in series() {
        let Ok(Expr::VectorSelector(selector)) = parse(text) else { panic!("no series: {text}") };
        let name = selector.name.unwrap();
        if OF_PROMETHEUS.contains(&&*name) {
            continue;
        }
        let family = family(&known, &name).unwrap_or_else(|| panic!("not exported: {text}"));
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
