//! The built-in table, and the choice between it and the facts file.

use super::*;
use crate::facts::servicing;

/// A facts file with a document of clients.
fn file(modified: Option<&str>, fetched: &str, releases: &str) -> FactsFile {
    let modified = modified.map_or("null".to_owned(), |modified| format!("\"{modified}\""));
    let json = format!(
        r#"{{"last_modified": {modified}, "result": {{"name": "windows", "releases": [{releases}]}}}}"#
    );
    let mut file = FactsFile::default();
    let servicing = servicing::read(json.as_bytes(), ServicedProduct::Windows).unwrap();
    file.put_servicing(ServicedProduct::Windows, servicing, fetched.parse().unwrap()).unwrap();
    file
}

fn release(name: &str, build: u32, end: &str) -> String {
    format!(r#"{{"name": "{name}", "eolFrom": {end}, "latest": {{"name": "10.0.{build}"}}}}"#)
}

#[expect(clippy::unnecessary_wraps, reason = "ends are optional everywhere in this file")]
fn on(day: &str) -> Option<ServicingEnd> {
    Some(ServicingEnd::On(day.parse().unwrap()))
}

fn ends(table: &ServicingTable, platform: &str, build: u32) -> Vec<(ServicingEdition, Option<ServicingEnd>)> {
    let version = table.version(platform, build);
    version.into_iter().flat_map(|version| version.editions.clone()).collect()
}

#[test]
fn built_in_table_is_a_facts_file() {
    let file = FactsFile::read(BUILT_IN.as_bytes()).unwrap();
    assert_eq!(file.made_at.to_string(), "2026-08-22T00:00:00Z");
    assert_eq!(file.servicing.keys().copied().collect::<Vec<_>>(), ServicedProduct::ALL);
    assert_eq!(FactsFile::default().facts().servicing(), &ServicingTable::default());
}

#[test]
fn platform_decides_between_client_and_server() {
    use ServicingEdition::{Enterprise, IotLtsc, Ltsc, Pro, Server};

    let table = ServicingTable::default();
    for platform in ["WindowsServer2025", "windowsserver2025", "WINDOWSSERVER"] {
        assert_eq!(ends(&table, platform, 26_100), [(Server, on("2034-11-14"))], "{platform}");
    }
    assert_eq!(
        ends(&table, "Windows11", 26_100),
        [
            (Pro, on("2026-10-13")),
            (Enterprise, on("2027-10-12")),
            (Ltsc, on("2029-10-09")),
            (IotLtsc, on("2034-10-10"))
        ]
    );
    assert_eq!(ends(&table, "WindowsServer2019", 17_763), [(Server, on("2029-01-09"))], "not 1809");
    for (platform, build) in
        [("Windows11", 26_101), ("", 26_100), (" ", 26_100), ("WindowsServer2022", 22_631)]
    {
        assert_eq!(ends(&table, platform, build), [], "{platform} {build}");
    }
}

#[test]
fn newer_of_built_in_table_and_facts_file_counts() {
    use ServicingEdition::{Enterprise, Pro};

    let releases = [release("11-23h2-e", 22_631, r#""2030-01-01""#), release("12", 30_000, "null")].join(",");
    let fetched = "2026-12-01T00:00:00Z";
    for (modified, fetched, is_newer) in [
        (Some("2026-08-21T23:59:59Z"), fetched, false),
        (Some("2026-08-22T00:00:00Z"), fetched, true),
        (Some("2026-11-11T11:11:11Z"), fetched, true),
        (None, "2026-08-21T12:00:00Z", false),
        (None, "2026-08-22T12:00:00Z", true),
    ] {
        let facts = file(modified, fetched, &releases).facts();
        let table = facts.servicing();
        let enterprise = if is_newer { on("2030-01-01") } else { on("2026-11-10") };
        let expected = [(Pro, on("2025-11-11")), (Enterprise, enterprise)];
        assert_eq!(ends(table, "Windows11", 22_631), expected, "{modified:?} {fetched}");
        assert_eq!(ends(table, "Windows12", 30_000), [(Pro, None), (Enterprise, None)], "of either");
        assert_eq!(ends(table, "Windows11", 26_200).len(), 2, "of the built-in table");
        assert_eq!(ends(table, "WindowsServer2022", 20_348).len(), 1, "of the other product");
    }
}

#[test]
fn later_of_several_ends_counts() {
    use ServicingEnd::Passed;

    let day = "\"2026-01-01\"";
    for (one, other, expected) in [
        (day, "\"2025-12-31\"", on("2026-01-01")),
        (day, "true", on("2026-01-01")),
        (day, "false", Some(Passed(false))),
        (day, "null", None),
        ("true", "false", Some(Passed(false))),
        ("true", "true", Some(Passed(true))),
        ("true", "null", None),
    ] {
        for [one, other] in [[one, other], [other, one]] {
            let releases = [release("11-99h9-e", 40_000, one), release("11-99H9-E", 40_000, other)];
            let facts = file(None, "2026-09-01T00:00:00Z", &releases.join(",")).facts();
            let expected = [(ServicingEdition::Enterprise, expected)];
            assert_eq!(ends(facts.servicing(), "Windows11", 40_000), expected, "{one} {other}");
        }
    }
}

#[test]
fn newer_document_without_a_day_keeps_a_known_one() {
    use ServicingEnd::Passed;

    for (end, expected) in [
        ("null", on("2026-11-10")),
        ("\"2026-13-45\"", on("2026-11-10")),
        ("true", on("2026-11-10")),
        ("false", Some(Passed(false))),
        ("\"2026-12-08\"", on("2026-12-08")),
    ] {
        let file = |fetched| file(None, fetched, &release("11-23h2-e", 22_631, end));
        let enterprise = |fetched| {
            let ends = ends(file(fetched).facts().servicing(), "Windows11", 22_631);
            ends.into_iter().find(|(edition, _)| *edition == ServicingEdition::Enterprise).unwrap().1
        };
        assert_eq!(enterprise("2026-11-20T00:00:00Z"), expected, "{end}");
        if end == "true" {
            assert_eq!(
                enterprise("2026-11-10T12:00:00Z"),
                Some(Passed(true)),
                "before the known day has passed"
            );
        }
    }
}

#[test]
fn document_without_extended_updates_keeps_known_ones() {
    let table = |release: &str| {
        let file = file(Some("2026-12-01T00:00:00Z"), "2026-12-01T00:00:00Z", release);
        file.facts().servicing().version("Windows10", 19_045).unwrap().extended
    };
    assert_eq!(table(&release("10-22h2", 19_045, "\"2025-10-14\"")), on("2028-10-10"));
    let longer = release("10-22h2", 19_045, "true").replacen('{', r#"{"eoesFrom": "2030-10-08", "#, 1);
    assert_eq!(table(&longer), on("2030-10-08"));
}
