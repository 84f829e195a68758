//! The data collected from files, and the messages for damaged files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufReader, Write};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::builder::FileCount;
use super::*;
use crate::defender::ExportFileError;
use crate::fleet::DatedUpdate;
use crate::model::{FixedBuild, KbId, Severity};

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The lines of `text` as a reader of files sees them: a line feed ends a line and begins none.
pub(super) fn unpacked(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line))
}

fn id(text: &str) -> MachineId {
    MachineId::parse(text).unwrap()
}

fn scope(ids: &[&str]) -> HashSet<MachineId> {
    ids.iter().map(|text| id(text)).collect()
}

fn now() -> Timestamp {
    "2026-03-10T17:00:00Z".parse().unwrap()
}

/// A row of a file with these fields changed.
fn row(changes: Value) -> Value {
    let mut row = json!({
        "Id": "a1_microsoft_windows_10_10.0.19045_CVE-2025-1111", "DeviceId": "a1", "RbacGroupId": 140,
        "OSPlatform": "Windows10", "SoftwareVendor": "microsoft", "SoftwareName": "windows_10",
        "CveId": "CVE-2025-1111", "VulnerabilitySeverityLevel": "Medium", "CvssScore": 7.8,
        "RecommendedSecurityUpdate": "September 2025 Security Updates",
        "RecommendedSecurityUpdateId": "5065429", "DiskPaths": [], "SecurityUpdateAvailable": true,
        "FirstSeenTimestamp": "2025-09-09 17:30:00", "LastSeenTimestamp": "2025-09-10 11:07:15",
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    row.as_object_mut().unwrap().extend(changes);
    row
}

fn text(rows: &[Value]) -> String {
    rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect()
}

/// Reads one file for these machines. Returns the export, the counts and the number of duplicates.
fn read(ids: &[&str], text: &str) -> (Export, FileCount, u64) {
    let mut builder = ExportBuilder::new(&scope(ids));
    let count = builder.read(&*gzip(text.as_bytes())).unwrap();
    let (export, duplicates) = builder.finish(now());
    (export, count, duplicates)
}

fn taken(export: &mut Export, machine: &str) -> Option<Vec<DatedUpdate>> {
    export.take(&id(machine)).map(|answer| answer.updates)
}

fn only(updates: Vec<DatedUpdate>) -> DatedUpdate {
    let [dated] = updates.try_into().unwrap();
    dated
}

fn rejected(count: &FileCount) -> BTreeMap<&'static str, u64> {
    count.rejected().filter(|(_, lines)| *lines > 0).map(|(reason, lines)| (reason.as_str(), lines)).collect()
}

#[test]
fn rows_of_one_machine_and_kb_are_one_missing_update() {
    let rows = [
        row(json!({})),
        row(json!({"CveId": "CVE-2025-2222", "VulnerabilitySeverityLevel": "Critical",
            "FirstSeenTimestamp": "2025-09-09 17:29:59.5"})),
        row(json!({"CveId": "CVE-2025-3333", "SoftwareName": "edge", "VulnerabilitySeverityLevel": null,
            "FirstSeenTimestamp": "0001-01-01 00:00:00"})),
        row(json!({"RecommendedSecurityUpdateId": "KB5000802", "RecommendedSecurityUpdate": "March 2021"})),
    ];
    let (mut export, count, duplicates) = read(&["A1", "b2"], &text(&rows));
    assert_eq!((export.rows(), export.machines(), duplicates), (4, 1, 0));
    assert_eq!((count.lines, count.rows, rejected(&count)), (4, 4, BTreeMap::new()));
    assert!(export.contains(&id("a1")) && !export.contains(&id("b2")));
    let updates = taken(&mut export, "a1").unwrap();
    let [older, newer] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(
        (older.update.kb, newer.update.kb),
        (KbId::new(5_000_802).unwrap(), KbId::new(5_065_429).unwrap())
    );
    assert_eq!((older.update.cves, newer.update.cves), (Some(1), Some(3)));
    assert_eq!(newer.update.severity, Some(Severity::Critical));
    assert_eq!(newer.update.facts.title, "September 2025 Security Updates");
    assert_eq!(newer.update.facts.products, ["edge", "windows_10"]);
    assert_eq!(newer.update.reported_machines, None);
    assert_eq!(newer.first_seen, Some("2025-09-09T17:29:59.5Z".parse().unwrap()));
}

#[test]
fn highest_score_of_all_rows_counts() {
    let score = |scores: &[Value]| {
        let rows: Vec<_> = scores.iter().map(|score| row(json!({"CvssScore": score}))).collect();
        let (mut export, ..) = read(&["a1"], &text(&rows));
        only(taken(&mut export, "a1").unwrap()).update.cvss.map(|score| score.to_string())
    };
    for (scores, expected) in [
        (vec![json!(7.8), json!(9), json!(3.1)], Some("9.0")),
        (vec![json!("8.8"), json!(7)], Some("8.8")),
        (vec![json!(null), json!(" 5.5 ")], Some("5.5")),
        (vec![json!(0), json!(0.0), json!(11), json!(-1), json!("high"), json!([9.8]), json!(1e300)], None),
    ] {
        assert_eq!(score(&scores).as_deref(), expected, "{scores:?}");
    }
}

#[test]
fn highest_build_of_all_rows_counts() {
    let build = |versions: &[Value]| {
        let rows: Vec<_> = versions.iter().map(|version| row(json!({"OSVersion": version}))).collect();
        let (mut export, ..) = read(&["a1"], &text(&rows));
        export.take(&id("a1")).unwrap().build
    };
    let expected = Some(FixedBuild { build: 19_045, revision: 6_093 });
    assert_eq!(build(&[json!("10.0.19045.6093")]), expected);
    assert_eq!(
        build(&[json!("10.0.19045.5011"), json!(null), json!("10.0.19045.6093"), json!("10")]),
        expected
    );
    assert_eq!(build(&[json!("10.0.19045.6093"), json!("10.0.19045.5011")]), expected);
    assert_eq!(build(&[json!("enterprise_linux_9.4"), json!(10.0), json!("10.0.19045")]), None);
    let camel = text(&[row(json!({"osVersion": "10.0.19045.6093", "cvssScore": 9.8}))]);
    assert_eq!(read(&["a1"], &camel).0.take(&id("a1")).unwrap().build, expected);
}

#[test]
fn a_machine_is_taken_once() {
    let (mut export, ..) = read(&["a1"], &text(&[row(json!({}))]));
    assert!(export.take(&id("a1")).is_some());
    assert!(export.take(&id("a1")).is_none() && !export.contains(&id("a1")));
    assert_eq!(export.machines(), 1);
}

#[test]
fn a_row_without_an_update_makes_its_machine_known() {
    for changes in [
        json!({"RecommendedSecurityUpdateId": null}),
        json!({"RecommendedSecurityUpdateId": "", "CveId": null}),
        json!({"Status": "fixed"}),
        json!({"SoftwareVendor": "vmware", "RecommendedSecurityUpdateId": null}),
    ] {
        let (mut export, count, _) = read(&["a1"], &text(&[row(changes.clone())]));
        assert_eq!(taken(&mut export, "a1"), Some(vec![]), "{changes}");
        assert_eq!((count.rows, rejected(&count)), (1, BTreeMap::new()), "{changes}");
    }
}

#[test]
fn an_update_that_is_no_kb_is_counted_and_makes_its_machine_known() {
    for changes in [
        json!({"RecommendedSecurityUpdateId": "RHSA-2024:9315", "SoftwareVendor": "red_hat"}),
        json!({"RecommendedSecurityUpdateId": "ADV 200002"}),
        json!({"SoftwareVendor": "vmware"}),
        json!({"SoftwareVendor": null}),
    ] {
        let (mut export, count, _) = read(&["a1"], &text(&[row(changes.clone())]));
        assert_eq!(taken(&mut export, "a1"), Some(vec![]), "{changes}");
        assert_eq!((count.rows, rejected(&count)), (1, [("bad_kb", 1)].into()), "{changes}");
    }
}

#[test]
fn status_other_than_fixed_is_a_missing_update() {
    for status in [json!("New"), json!("Updated"), json!(""), json!(null), json!(7)] {
        let (mut export, ..) =
            read(&["a1"], &text(&[row(json!({"Status": status, "SoftwareVendor": "MicroSoft"}))]));
        assert_eq!(taken(&mut export, "a1").unwrap().len(), 1, "{status}");
    }
}

#[test]
fn missing_update_needs_no_cve_and_nothing_else() {
    let bare =
        json!({"deviceId": "a1", "softwareVendor": "microsoft", "recommendedSecurityUpdateId": 5_065_429});
    let (mut export, _, duplicates) = read(&["a1"], &text(&[bare.clone(), bare]));
    let dated = only(taken(&mut export, "a1").unwrap());
    assert_eq!((dated.update.cves, dated.update.severity, dated.first_seen), (Some(0), None, None));
    assert_eq!((dated.update.facts.title.as_str(), dated.update.facts.products.len()), ("", 0));
    assert_eq!(duplicates, 0, "without a CVE there is no duplicate");
}

#[test]
fn machines_out_of_scope_are_counted_and_dropped() {
    let rows = [row(json!({})), row(json!({"DeviceId": "B2"})), row(json!({"DeviceId": "c3"}))];
    let (mut export, count, _) = read(&["b2"], &text(&rows));
    assert_eq!((export.rows(), export.machines(), count.rows), (3, 1, 3));
    assert!(export.take(&id("a1")).is_none());
    assert_eq!(taken(&mut export, "b2").unwrap().len(), 1);
}

#[test]
fn the_same_machine_kb_and_cve_count_once() {
    let again = row(json!({"SoftwareVersion": "2", "CveId": "cve-2025-1111", "DeviceId": "A1"}));
    let other = row(json!({"CveId": "CVE-2025-2222"}));
    let (mut export, _, duplicates) = read(&["a1"], &text(&[row(json!({})), again, other, row(json!({}))]));
    assert_eq!(duplicates, 2);
    assert_eq!(only(taken(&mut export, "a1").unwrap()).update.cves, Some(2));
}

#[test]
fn what_cannot_be_used_is_counted_by_reason() {
    let long = format!("{{\"DeviceId\":\"a1\",\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let lines = [
        &row(json!({"DeviceId": null})).to_string(),
        &row(json!({"DeviceId": " "})).to_string(),
        &row(json!({"DeviceId": "../etc"})).to_string(),
        &row(json!({"DeviceId": 7})).to_string(),
        "[]",
        "{",
        &long,
        "",
        " \r",
        &format!("{}\r", row(json!({}))),
    ];
    let (export, count, _) = read(&["a1"], &lines.join("\n"));
    let expected = [("no_id", 2), ("bad_id", 1), ("wrong_type", 2), ("malformed", 1), ("too_long", 1)].into();
    assert_eq!(rejected(&count), expected);
    assert_eq!((count.lines, count.rows, export.rows()), (8, 1, 1));
}

#[test]
fn every_machine_shares_the_facts_of_a_kb() {
    let rows = [
        row(json!({"RecommendedSecurityUpdate": "Z", "SoftwareName": "x".repeat(5000)})),
        row(json!({"DeviceId": "b2", "RecommendedSecurityUpdate": "y".repeat(5000)})),
    ];
    let (mut export, ..) = read(&["a1", "b2"], &text(&rows));
    let first = only(taken(&mut export, "a1").unwrap()).update.facts;
    assert!(Arc::ptr_eq(&first, &only(taken(&mut export, "b2").unwrap()).update.facts));
    assert_eq!(first.title, "y".repeat(1024));
    assert_eq!(first.products, ["windows_10".to_owned(), "x".repeat(1024)]);
}

#[test]
fn the_products_of_a_kb_are_bounded_whatever_their_order() {
    let rows: Vec<_> =
        (0..150).map(|n| row(json!({"SoftwareName": format!("product {:03}", n * 7 % 150)}))).collect();
    let (mut export, ..) = read(&["a1"], &text(&rows));
    let expected: Vec<_> = (0..100).map(|n| format!("product {n:03}")).collect();
    assert_eq!(only(taken(&mut export, "a1").unwrap()).update.facts.products, expected);
}

#[test]
fn a_file_that_is_read_again_after_a_break_counts_once() {
    let rows = [row(json!({})), row(json!({"CveId": "CVE-2025-2222"})), json!(7)];
    let file = gzip(text(&rows).as_bytes());
    let mut builder = ExportBuilder::new(&scope(&["a1"]));
    assert_eq!(builder.read(&file[..file.len() - 1]), Err(ExportFileError::EndsEarly));
    assert_eq!(builder.rows(), 0);
    let count = builder.read(&*file).unwrap();
    assert_eq!((count.rows, rejected(&count)), (2, [("wrong_type", 1)].into()));
    let (mut export, duplicates) = builder.finish(now());
    assert_eq!((export.rows(), duplicates), (2, 0));
    assert_eq!(only(taken(&mut export, "a1").unwrap()).update.cves, Some(2));
}

#[test]
fn messages_name_the_file_and_never_its_link() {
    let chain = |error: ApiError| crate::error::Chain(&error).to_string();
    insta::assert_snapshot!(chain(ApiError::Incomplete { file: 3, damage: ExportFileError::EndsEarly }), @"file 3 of the export is corrupt: its gzip stream ends early");
    insta::assert_snapshot!(chain(ApiError::Incomplete { file: 3, damage: ExportFileError::NotGzip }), @"file 3 of the export is corrupt: it is not gzip, or damaged");
    insta::assert_snapshot!(chain(ApiError::UnusableLink { file: 3 }), @"the link of file 3 of the export is not an https URL without a user");
    insta::assert_snapshot!(chain(ApiError::Empty), @"the export is empty");
    insta::assert_snapshot!(chain(ApiError::TooLarge { endpoint: ApiOperation::ExportFile, limit_bytes: 67_108_864 }), @"the reply of `exportfile` is larger than 67108864 bytes");
    insta::assert_snapshot!(chain(ApiError::Unusable { endpoint: ApiOperation::ExportFile, records: 5 }), @"none of the 5 records in the reply of `exportfile` can be used");
}

/// One machine's updates in a form that compares.
type Plain = BTreeMap<u32, (Option<u32>, Option<Severity>, Option<Timestamp>, String, Vec<String>)>;

fn plain(updates: Vec<DatedUpdate>) -> Plain {
    let comparable = |dated: DatedUpdate| {
        let update = dated.update;
        let facts = (update.facts.title.clone(), update.facts.products.clone());
        (update.kb.number(), (update.cves, update.severity, dated.first_seen, facts.0, facts.1))
    };
    updates.into_iter().map(comparable).collect()
}

/// Machine, KB, CVE, severity, hour of the first sight, product.
type Fact = (u8, u8, u16, u8, u8, u8);

fn fact_row((machine, kb, cve, severity, hour, product): Fact) -> Value {
    let severity = ["Low", "Medium", "High", "Critical", "None"][usize::from(severity)];
    row(json!({
        "DeviceId": format!("m{machine}"), "RecommendedSecurityUpdateId": format!("50000{kb:02}"),
        "CveId": format!("CVE-2025-{cve:04}"), "VulnerabilitySeverityLevel": severity,
        "FirstSeenTimestamp": format!("2025-09-09 {hour:02}:00:00"), "SoftwareName": format!("p{product}"),
    }))
}

/// The expected result, computed by a reader that holds everything.
fn naive(facts: &[Fact]) -> (BTreeMap<String, Plain>, u64) {
    let mut cves: BTreeMap<(u8, u8), BTreeSet<u16>> = BTreeMap::new();
    let mut machines: BTreeMap<String, Plain> = BTreeMap::new();
    let mut duplicates = 0;
    for &(machine, kb, cve, severity, hour, _) in facts {
        let set = cves.entry((machine, kb)).or_default();
        duplicates += u64::from(!set.insert(cve));
        let products: BTreeSet<_> =
            facts.iter().filter(|fact| fact.1 == kb).map(|fact| format!("p{}", fact.5)).collect();
        let severity = match severity {
            0 => Some(Severity::Low),
            1 => Some(Severity::Medium),
            2 => Some(Severity::High),
            3 => Some(Severity::Critical),
            _ => None,
        };
        let seen: Timestamp = format!("2025-09-09T{hour:02}:00:00Z").parse().unwrap();
        let title = "September 2025 Security Updates".to_owned();
        let missing = machines.entry(format!("m{machine}")).or_default().entry(5_000_000 + u32::from(kb));
        let missing = missing.or_insert((None, None, Some(seen), title, products.into_iter().collect()));
        missing.0 = u32::try_from(set.len()).ok();
        missing.1 = missing.1.max(severity);
        missing.2 = missing.2.min(Some(seen));
    }
    (machines, duplicates)
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec((0..4u8, 0..4u8, 0..300u16, 0..5u8, 0..24u8, 0..3u8), 1..80)
}

proptest! {
    #[test]
    fn order_files_and_pieces_do_not_change_the_result(
        facts in facts(),
        cuts in prop::collection::vec(0..80usize, 0..4),
        piece in 1..200usize,
        breaks: bool,
    ) {
        let ids: Vec<_> = (0..4).map(|machine| format!("m{machine}")).collect();
        let mut builder = ExportBuilder::new(&ids.iter().map(|text| id(text)).collect());
        let mut rest: Vec<_> = facts.iter().copied().map(fact_row).collect();
        for cut in cuts.iter().chain([&0]) {
            let file = gzip(text(&rest.split_off((*cut).min(rest.len()))).as_bytes());
            if breaks {
                drop(builder.read(&file[..file.len() - 1]));
            }
            builder.read(BufReader::with_capacity(piece, &*file)).unwrap();
        }
        let (mut export, duplicates) = builder.finish(now());
        let (expected, expected_duplicates) = naive(&facts);
        prop_assert_eq!((export.rows(), duplicates), (facts.len() as u64, expected_duplicates));
        prop_assert_eq!(export.machines(), expected.len());
        for text in ids {
            let updates = taken(&mut export, &text);
            let kbs = updates.iter().flatten().map(|dated| dated.update.kb);
            prop_assert!(kbs.is_sorted());
            prop_assert_eq!(updates.map(plain), expected.get(&text).cloned());
        }
    }

    #[test]
    fn any_bytes_in_a_file_do_not_panic(bytes: Vec<u8>) {
        drop(ExportBuilder::new(&scope(&["a1"])).read(&*gzip(&bytes)));
        drop(ExportBuilder::new(&scope(&["a1"])).read(&*bytes));
    }
}
