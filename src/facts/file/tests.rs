//! The facts file on its way to disk and back, and the acceptance of new parts.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::*;
use crate::facts::kev::KevEntry;
use crate::facts::servicing::{ServicingEnd, ServicingRelease};
use crate::facts::{epss, kev, msrc, servicing};
use crate::model::{FactsFailure, KbId};

fn now() -> Timestamp {
    "2026-07-08T09:10:11Z".parse().unwrap()
}

fn document_id() -> DocumentId {
    DocumentId::parse("2026-Jun").unwrap()
}

fn document() -> Document {
    let fix = |number: &str, products: Value, kind: &str, build: &str, superseded: Value| {
        json!({
            "Type": 2, "Description": {"Value": number}, "ProductID": products, "SubType": kind,
            "FixedBuild": build, "Supercedence": superseded, "RestartRequired": {"Value": "Yes"},
        })
    };
    let json = json!({
        "DocumentTitle": {"Value": "June 2026 Security Updates"},
        "DocumentTracking": {
            "Identification": {"ID": {"Value": "2026-Jun"}},
            "RevisionHistory": [{"Number": "12"}],
            "InitialReleaseDate": "2026-06-09T07:00:00",
            "CurrentReleaseDate": "2026-07-07T07:00:00",
        },
        "Vulnerability": [
            {
                "CVE": "CVE-2026-41108",
                "Threats": [
                    {"Type": 3, "Description": {"Value": "Critical"}, "ProductID": ["11571"]},
                    {"Type": 1, "Description": {"Value": "Publicly Disclosed:No;Exploited:Yes"}},
                ],
                "CVSSScoreSets": [{"BaseScore": 9.8, "ProductID": ["11571"]}],
                "RevisionHistory": [{"Number": "1.0", "Date": "2026-06-09T07:00:00"}],
                "Remediations": [
                    fix("5094123", json!(["11571", "11568"]), "Security Update", "10.0.17763.8880", json!("5087538")),
                    fix("5094999", json!(["11571"]), "AzureHotpatch", "10.0.17763.8890", json!(null)),
                ],
            },
            {
                "CVE": "CVE-2026-41109",
                "Remediations": [fix("5094123", json!(["11571"]), "Security Update", "", json!("5087538"))],
            },
            {
                "CVE": "ADV990001",
                "Threats": [{"Type": 1, "Description": {"Value": "Exploited:Yes"}}],
                "Remediations": [fix("5094000", json!([]), "Servicing Stack Update", "", json!("None"))],
            },
        ],
    });
    msrc::read_document(json.to_string().as_bytes(), &document_id()).unwrap()
}

fn kev() -> Kev {
    let json = json!({
        "dateReleased": "2026-06-30T17:02:45Z",
        "vulnerabilities": [
            {"cveID": "CVE-2026-41108", "dateAdded": "2026-06-12", "dueDate": "2026-06-26",
             "knownRansomwareCampaignUse": "Known"},
            {"cveID": "CVE-2020-0601"},
        ],
    });
    kev::read(json.to_string().as_bytes()).unwrap()
}

fn scores() -> Epss {
    let csv =
        "#score_date:2026-07-07T00:00:00+0000\nCVE-2026-41108,0.93412,0.99\nCVE-2026-41109,0.00043,0.1\n";
    epss::read(csv.as_bytes(), &|_| true).unwrap()
}

fn servicing() -> Servicing {
    let json = json!({
        "last_modified": "2026-06-22T08:52:34+00:00",
        "result": {"name": "windows", "releases": [
            {"name": "10-22h2", "eolFrom": "2025-10-14", "eoesFrom": false, "latest": {"name": "10.0.19045"}},
            {"name": "10-21h2-e-lts", "isLts": true, "eolFrom": true, "latest": {"name": "10.0.19044"}},
        ]},
    });
    servicing::read(json.to_string().as_bytes(), ServicedProduct::Windows).unwrap()
}

fn whole_file() -> FactsFile {
    let mut file = FactsFile { made_at: now(), index_fetched_at: Some(now()), ..FactsFile::default() };
    file.put_document(document(), now()).unwrap();
    file.put_kev(kev(), now()).unwrap();
    file.put_epss(scores(), now()).unwrap();
    file.put_servicing(ServicedProduct::Windows, servicing(), now()).unwrap();
    file
}

fn written(file: &FactsFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.write(&mut bytes).unwrap();
    bytes
}

fn gzip(json: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn json_of(file: &FactsFile) -> Value {
    serde_json::from_reader(flate2::read::GzDecoder::new(&written(file)[..])).unwrap()
}

/// The format that the documentation promises.
#[test]
fn file_has_the_documented_form() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&json_of(&whole_file())).unwrap());
}

#[test]
fn file_is_read_as_it_was_written() {
    for file in [FactsFile::default(), whole_file()] {
        assert_eq!(FactsFile::read(&written(&file)[..]).unwrap(), file);
        let plain = json_of(&file).to_string();
        assert_eq!(FactsFile::read(plain.as_bytes()).unwrap(), file, "plain JSON is read too");
    }
}

#[test]
fn file_of_a_later_version_is_a_distinct_error() {
    let text = r#"{"documents": "another form", "version": 2, "format": "mde_exporter facts"}"#;
    let error = FactsFile::read(&gzip(text)[..]).unwrap_err();
    assert_eq!(error.kind(), FactsFailure::Newer);
    assert_eq!(error.to_string(), "has version 2 of the format; this exporter reads versions up to 1");
}

#[test]
fn unknown_members_are_skipped() {
    fn add(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(add);
                // The keys of these two are CVEs.
                let has_cves = members.keys().any(|key| key.starts_with("CVE-"));
                if !has_cves {
                    members.insert("later".to_owned(), json!({"a": [1, null]}));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    let mut json = json_of(&whole_file());
    add(&mut json);
    let mut product = json["servicing"][0].clone();
    product["product"] = json!("macos");
    json["servicing"].as_array_mut().unwrap().push(product);
    assert_eq!(FactsFile::read(json.to_string().as_bytes()).unwrap(), whole_file());
}

#[test]
fn damaged_file_is_an_error() {
    let bytes = written(&whole_file());
    for end in (0..bytes.len()).step_by(11) {
        assert_eq!(FactsFile::read(&bytes[..end]).unwrap_err().kind(), FactsFailure::Decode);
    }
    for text in [
        "{}",
        "[]",
        "null",
        r#"{"format": "other", "version": 1}"#,
        r#"{"format": "mde_exporter facts", "made_at": "2026-07-08T09:10:11Z"}"#,
        r#"{"format": "mde_exporter facts", "version": 1}"#,
        r#"{"format": "mde_exporter facts", "version": 1, "made_at": "yesterday"}"#,
        r#"{"format": "mde_exporter facts", "version": 1, "made_at": "2026-07-08T09:10:11Z", "kev": []}"#,
    ] {
        assert_eq!(FactsFile::read(text.as_bytes()).unwrap_err().kind(), FactsFailure::Decode, "{text}");
    }
}

#[test]
fn file_that_decompresses_without_end_is_an_error() {
    let member = gzip(&" ".repeat(1 << 20));
    let error = FactsFile::read(&member.repeat(65)[..]).unwrap_err();
    assert_eq!(error.kind(), FactsFailure::TooLarge);
}

#[test]
fn lower_revision_is_refused() {
    let mut file = whole_file();
    let revised = |revision: Option<u32>| Document { revision, title: "new".into(), ..document() };
    let error = file.put_document(revised(Some(11)), now()).unwrap_err();
    assert_eq!((error, error.kind()), (FactsRefusal::Older, FactsFailure::Older));
    assert_ne!(&*file.documents[&document_id()].data.title, "new");
    for revision in [Some(12), Some(13), None, Some(1)] {
        file.put_document(revised(revision), now()).unwrap();
        assert_eq!(file.documents[&document_id()].data.revision, revision);
    }
}

#[test]
fn part_with_less_than_half_is_refused() {
    let kbs = |count: u32| {
        let kbs =
            (0..count).map(|number| (KbId::new(5_000_000 + number).unwrap(), msrc::DocumentKb::default()));
        Document { kbs: kbs.collect(), ..document() }
    };
    let entries = |count: u32| {
        let cves = (0..count).map(|number| CveId::parse(&format!("CVE-2026-{:04}", number + 1000)).unwrap());
        Kev { released: None, entries: cves.map(|cve| (cve, KevEntry::default())).collect() }
    };
    let rows = |rows: u32| Epss { rows: rows.into(), ..Epss::default() };
    let releases = |count: u32| {
        let release =
            ServicingRelease { end: Some(ServicingEnd::Passed(true)), ..ServicingRelease::default() };
        Servicing { modified: None, releases: vec![release; count as usize] }
    };
    let put = |file: &mut FactsFile, count: u32| {
        [
            file.put_document(kbs(count), now()),
            file.put_kev(entries(count), now()),
            file.put_epss(rows(count), now()),
            file.put_servicing(ServicedProduct::WindowsServer, releases(count), now()),
        ]
    };
    for (old, new, is_accepted) in
        [(5, 3, true), (5, 2, false), (4, 2, true), (4, 1, false), (1, 0, false), (0, 9, true)]
    {
        let mut file = FactsFile::default();
        assert!(put(&mut file, old).iter().all(Result::is_ok), "without an old part");
        let before = file.clone();
        for outcome in put(&mut file, new) {
            let expected = FactsRefusal::Shrunk { new: new.into(), old: old.into() };
            assert_eq!(outcome, if is_accepted { Ok(()) } else { Err(expected) });
        }
        assert_eq!(file != before, is_accepted);
    }
}

#[test]
fn scores_are_wanted_for_the_cves_of_documents() {
    let cves: Vec<_> =
        [41108, 41109].map(|number| CveId::parse(&format!("CVE-2026-{number}")).unwrap()).into();
    assert_eq!(whole_file().wanted_cves(), cves.into_iter().collect());
}
