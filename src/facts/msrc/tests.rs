//! Release documents and their index, as Microsoft writes them and worse.

use serde_json::{Value, json};

use super::*;
use crate::facts::FixedBuild;
use crate::model::{CveId, CvssScore, FactsFailure, KbId, Restart, VendorSeverity};

fn id(text: &str) -> DocumentId {
    DocumentId::parse(text).unwrap()
}

fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

fn cve(text: &str) -> CveId {
    CveId::parse(text).unwrap()
}

fn document(vulnerabilities: &Value) -> Value {
    json!({
        "DocumentTitle": {"Value": "June 2026 Security Updates"},
        "DocumentTracking": {
            "Identification": {"ID": {"Value": "2026-Jun"}, "Alias": {"Value": "2026-Jun"}},
            "RevisionHistory": [{"Number": "9", "Date": "2026-06-10T07:00:00"}, {"Number": "1139"}],
            "InitialReleaseDate": "2026-06-09T07:00:00",
            "CurrentReleaseDate": "2026-07-07T07:00:00",
        },
        "Vulnerability": vulnerabilities,
    })
}

fn read(document: &Value) -> Document {
    read_document(document.to_string().as_bytes(), &id("2026-Jun")).unwrap()
}

fn threat(kind: u8, text: &str, products: &[&str]) -> Value {
    json!({"Type": kind, "Description": {"Value": text}, "ProductID": products, "Date": "0001-01-01T00:00:00"})
}

fn fix(number: &str, products: &[&str]) -> Value {
    json!({
        "Type": 2, "Description": {"Value": number}, "ProductID": products, "SubType": "Security Update",
        "Supercedence": "5087538", "RestartRequired": {"Value": "Yes"}, "FixedBuild": "10.0.17763.8880",
    })
}

#[test]
fn facts_of_a_document_are_read() {
    let document = read(&document(&json!([{
        "CVE": "CVE-2026-41108",
        "ReleaseDate": "0001-01-01T00:00:00",
        "Threats": [
            {"Type": 0, "Description": {"Value": "Elevation of Privilege"}, "ProductID": ["11568"]},
            {"Type": 3, "Description": {"Value": "Important"}, "ProductID": ["11568"]},
            {"Type": 1, "Description": {"Value": "Publicly Disclosed:No;Exploited:Yes"}},
        ],
        "CVSSScoreSets": [{"BaseScore": 7.8, "Vector": "CVSS:3.1/...", "ProductID": ["11568"]}],
        "Remediations": [fix("5094123", &["11568", "11571"]), fix("5094123", &["11568"])],
        "RevisionHistory": [
            {"Number": "2.0", "Date": "2026-06-17T14:41:10"},
            {"Number": "1.0", "Date": "2026-06-05T01:01:20"},
        ],
    }])));
    assert_eq!(document.id, id("2026-jun"));
    assert_eq!(&*document.title, "June 2026 Security Updates");
    assert_eq!(document.initial, "2026-06-09T07:00:00Z".parse().ok());
    assert_eq!(document.current, "2026-07-07T07:00:00Z".parse().ok());
    assert_eq!(document.revision, Some(1139));
    let published = "2026-06-05T01:01:20Z".parse().ok();
    let (severity, cvss) = (Some(VendorSeverity::Important), CvssScore::new(7.8));
    let expected = DocumentCve { published, exploited: true, severity, cvss };
    assert_eq!(document.cves, [(cve("CVE-2026-41108"), expected)].into());
    let products = ["11568", "11571"].map(|product| ProductId::parse(product).unwrap());
    let expected = DocumentKb {
        cves: vec![cve("CVE-2026-41108")],
        is_exploited: true,
        severity: Some(VendorSeverity::Important),
        cvss: CvssScore::new(7.8),
        supersedes: vec![kb(5_087_538)],
        builds: [(FixedBuild { build: 17_763, revision: 8880 }, products.into())].into(),
        restart: Some(Restart::Yes),
        is_hotpatch: false,
        is_servicing_stack: false,
    };
    assert_eq!(document.kbs, [(kb(5_094_123), expected)].into());
}

#[test]
fn rating_is_that_of_the_products_beside_the_kb() {
    let document = read(&document(&json!([
        {
            "CVE": "CVE-2026-41108",
            "Threats": [
                threat(3, "Critical", &["1"]),
                threat(3, "Moderate", &["2"]),
                threat(3, "Low", &["3"]),
                threat(3, "None", &["4"]),
                threat(3, "", &["5"]),
                threat(0, "Critical", &["2"]),
            ],
            "CVSSScoreSets": [
                {"BaseScore": 9.8, "ProductID": ["1"]},
                {"BaseScore": "5.5", "ProductID": ["2"]},
                {"BaseScore": 0, "ProductID": ["3"]},
                {"BaseScore": 11, "ProductID": ["4"]},
            ],
            "Remediations": [
                fix("5000001", &["1"]), fix("5000002", &["2"]), fix("5000023", &["2", "3"]), fix("5000004", &["4"]),
                fix("5000005", &["5", "6"]), fix("5000000", &[]),
            ],
        },
        {
            "CVE": "CVE-2026-41109",
            "Threats": [threat(3, "Important", &["3"])],
            "CVSSScoreSets": [{"BaseScore": 7, "ProductID": ["3"]}],
            "Remediations": [fix("5000023", &["3"])],
        },
    ])));
    let facts = |number: u32| {
        let kb = &document.kbs[&kb(number)];
        (kb.severity, kb.cvss.map(|score| score.to_string()))
    };
    let score = |text: &str| Some(text.to_owned());
    assert_eq!(facts(5_000_001), (Some(VendorSeverity::Critical), score("9.8")));
    assert_eq!(facts(5_000_002), (Some(VendorSeverity::Moderate), score("5.5")));
    assert_eq!(facts(5_000_023), (Some(VendorSeverity::Important), score("7.0")));
    assert_eq!(facts(5_000_004), (None, None));
    assert_eq!(facts(5_000_005), (None, None));
    assert_eq!(facts(5_000_000), (Some(VendorSeverity::Critical), score("9.8")), "no products: all of them");
}

#[test]
fn only_vendor_fixes_with_a_number_are_kbs() {
    let other =
        |kind: u8, number: &str| json!({"Type": kind, "Description": {"Value": number}, "SubType": number});
    let document = read(&document(&json!([{
        "CVE": "CVE-2026-41108",
        "Remediations": [
            other(2, "5000002"), other(2, "890830"), other(2, "Click to Run"), other(2, "Release Notes"),
            other(2, "CBL-Mariner Releases"), other(2, "Commit"), other(2, ""), other(2, "50185"),
            other(0, "5000003"), other(1, "5000003"), other(3, "5000003"), other(6, "5000003"),
            {"Type": 2}, {"Type": 2, "Description": {}}, {"Type": 2, "Description": null}, {"Type": "3"},
            {"Description": {"Value": "5000003"}}, {"Type": "2", "Description": 5_000_004},
        ],
    }])));
    assert_eq!(document.kbs.into_keys().collect::<Vec<_>>(), [kb(890_830), kb(5_000_002), kb(5_000_004)]);
}

#[test]
fn advisory_rates_a_kb_without_being_a_cve() {
    let advisory = |name: Value| {
        json!({
            "CVE": name,
            "Threats": [threat(3, "Critical", &[]), threat(1, "Exploited:Yes", &[])],
            "Remediations": [fix("5000001", &["1"])],
        })
    };
    for name in [json!("ADV990001"), json!(""), json!(null), json!(7)] {
        let document = read(&document(&json!([advisory(name)])));
        let facts = &document.kbs[&kb(5_000_001)];
        assert!(facts.cves.is_empty() && document.cves.is_empty() && facts.is_exploited);
        assert_eq!(facts.severity, Some(VendorSeverity::Critical));
    }
}

#[test]
fn absent_exploit_status_is_no_exploitation() {
    for threats in [json!(null), json!([]), json!([threat(1, "DOS:N/A", &[])]), json!([{"Type": 1}])] {
        let vulnerability =
            json!({"CVE": "CVE-2026-41108", "Threats": threats, "Remediations": [fix("5000001", &[])]});
        let document = read(&document(&json!([vulnerability])));
        assert!(!document.cves[&cve("CVE-2026-41108")].exploited);
    }
}

#[test]
fn first_publication_is_revision_1_0() {
    let published = |revisions: Value| {
        let vulnerability = json!({
            "CVE": "CVE-2026-41108", "RevisionHistory": revisions, "Remediations": [fix("5000001", &[])],
        });
        read(&document(&json!([vulnerability]))).cves[&cve("CVE-2026-41108")].published
    };
    let time = |text: &str| text.parse().ok();
    assert_eq!(published(json!([{"Number": "1.1", "Date": "2026-06-01T07:00:00"}])), None);
    assert_eq!(published(json!([])), None);
    let later = json!({"Number": 1, "Date": "2026-06-03T07:00:00Z"});
    let first = json!({"Number": "1.0", "Date": "2026-06-02T07:00:00"});
    assert_eq!(published(json!([later, first])), time("2026-06-02T07:00:00Z"));
    assert_eq!(published(json!([{"Number": "1.0", "Date": "0001-01-01T00:00:00"}])), None);
}

#[test]
fn kb_never_supersedes_itself() {
    let mut fix = fix("5002191", &["1"]);
    fix["Supercedence"] = json!("5002191; 5002190, 5002189<br><br>5002190");
    let document = read(&document(&json!([{"CVE": "CVE-2026-41108", "Remediations": [fix]}])));
    assert_eq!(document.kbs[&kb(5_002_191)].supersedes, [kb(5_002_189), kb(5_002_190)]);
}

#[test]
fn kind_and_restart_of_a_fix_are_read() {
    let with = |member: &str, value: Value| {
        let mut fix = fix("5000001", &["1"]);
        fix[member] = value;
        read(&document(&json!([{"CVE": "CVE-2026-41108", "Remediations": [fix]}]))).kbs[&kb(5_000_001)]
            .clone()
    };
    assert!(with("SubType", json!("Azure Hotpatch")).is_hotpatch);
    assert!(with("SubType", json!("Servicing Stack Update")).is_servicing_stack);
    for (value, expected) in [
        (json!({"Value": "Maybe"}), Some(Restart::Maybe)),
        (json!({"Value": ""}), None),
        (json!({}), None),
        (json!(null), None),
    ] {
        assert_eq!(with("RestartRequired", value).restart, expected);
    }
    assert_eq!(with("FixedBuild", json!("10.0.26100.8655; 10.0.26200.8655")).builds.len(), 2);
    assert!(with("FixedBuild", json!("https://aka.ms/OfficeSecurityReleases")).builds.is_empty());
}

#[test]
fn order_of_members_does_not_matter() {
    let whole = document(&json!([{"CVE": "CVE-2026-41108", "Remediations": [fix("5000001", &["1"])]}]));
    let member = |name: &str| format!("{}:{}", json!(name), whole[name]);
    let mut members = ["DocumentTitle", "DocumentTracking", "Vulnerability"].map(member);
    let expected = read(&whole);
    for _ in 0..members.len() {
        members.rotate_left(1);
        let text = format!("\u{feff}{{{}}}\r\n", members.join(","));
        assert_eq!(read_document(text.as_bytes(), &id("2026-JUN")).unwrap(), expected);
    }
}

#[test]
fn wrong_types_cost_only_what_they_are_in() {
    let wrong =
        [json!(null), json!(7), json!("x"), json!(true), json!([]), json!([[1]]), json!({"Value": [1]})];
    for wrong in wrong {
        let mut vulnerabilities = vec![wrong.clone()];
        for member in
            ["CVE", "Threats", "CVSSScoreSets", "RevisionHistory", "Title", "ProductStatuses", "Notes"]
        {
            let mut vulnerability =
                json!({"CVE": "CVE-2026-41108", "Remediations": [fix("5000001", &["1"])]});
            vulnerability[member] = wrong.clone();
            vulnerabilities.push(vulnerability);
        }
        for member in
            ["ProductID", "Supercedence", "FixedBuild", "SubType", "RestartRequired", "AffectedFiles"]
        {
            let mut fix = fix("5000002", &["1"]);
            fix[member] = wrong.clone();
            vulnerabilities.push(json!({"CVE": "CVE-2026-41109", "Remediations": [wrong.clone(), fix]}));
        }
        vulnerabilities.push(json!({"CVE": "CVE-2026-41110", "Remediations": wrong}));
        let document = read(&document(&vulnerabilities.into()));
        assert_eq!(document.cves.len(), 2, "{wrong}");
        assert_eq!(
            document.kbs.keys().copied().collect::<Vec<_>>(),
            [kb(5_000_001), kb(5_000_002)],
            "{wrong}"
        );
    }
}

#[test]
fn document_without_dates_or_vulnerabilities_is_read() {
    let mut whole = document(&json!(null));
    whole["DocumentTracking"] =
        json!({"Identification": {"ID": {"Value": "2026-Jun"}}, "RevisionHistory": null});
    let document = read(&whole);
    assert_eq!((document.initial, document.current, document.revision), (None, None, None));
    assert!(document.kbs.is_empty());
}

#[test]
fn early_document_has_no_release_date() {
    let mut whole = document(&json!([]));
    whole["DocumentTitle"]["Value"] = json!("October 2026 Early Security Updates");
    assert_eq!(read(&whole).initial, None);
    assert!(read(&whole).current.is_some());
}

#[test]
fn cut_or_other_document_is_an_error() {
    let text =
        document(&json!([{"CVE": "CVE-2026-41108", "Remediations": [fix("5000001", &["1"])]}])).to_string();
    for end in (0..text.len()).step_by(7) {
        let error = read_document(&text.as_bytes()[..end], &id("2026-Jun")).unwrap_err();
        assert_eq!(error.kind(), FactsFailure::Decode, "{error}");
    }
    let error = read_document(text.as_bytes(), &id("2026-May")).unwrap_err();
    assert_eq!(error.to_string(), "is the document `2026-Jun` instead of `2026-May`");
    for text in ["{}", "[]", "null", "<html>", r#"{"DocumentTracking": {"Identification": {"ID": "../x"}}}"#]
    {
        let error = read_document(text.as_bytes(), &id("2026-Jun")).unwrap_err();
        assert_eq!(error.kind(), FactsFailure::Decode, "{text}");
    }
}

#[test]
fn document_with_too_many_kbs_is_an_error() {
    let fixes: Vec<Value> = (0..=10_000).map(|number| fix(&format!("{}", 5_000_000 + number), &[])).collect();
    let whole = document(&json!([{"CVE": "CVE-2026-41108", "Remediations": fixes}])).to_string();
    let error = read_document(whole.as_bytes(), &id("2026-Jun")).unwrap_err();
    assert!(error.to_string().contains("too many KBs or CVEs"), "{error}");
}

#[test]
fn ids_are_years_and_months_with_a_letter_or_words() {
    for text in ["2026-Jun", "2018-FEB", "2017-May-B", "2026-Aug-OOB"] {
        assert_eq!(id(text).as_str(), text);
        assert_eq!(id(text), id(&text.to_lowercase()));
        assert_eq!(id(text).cmp(&id(&text.to_uppercase())), std::cmp::Ordering::Equal);
    }
    assert_eq!(id("2017-May-B").month(), Some((2017, 5)));
    assert_eq!(id("2017-Mai").month(), None);
    for text in [
        "",
        "2026",
        "26-Jun",
        "2026-June",
        "2026-J",
        "2026-Jun-",
        "2026-Jun-1",
        "2026-Jun-B-C",
        "../2026-Jun",
        "2026-Jun/..",
        "2026-Jun?x",
        "2026-Jun ",
        "Oct-OOB",
        "２０２６-Jun",
        "2026-Ju\u{308}",
    ] {
        assert!(DocumentId::parse(text).is_none(), "{text}");
    }
}

#[test]
fn index_has_the_months_since_april_2016() {
    let entry = |id: &str, title: &str, initial: &str| {
        json!({
            "ID": id, "DocumentTitle": title, "InitialReleaseDate": initial, "Severity": null,
            "CurrentReleaseDate": "2026-10-10T07:00:00ZZ", "CvrfUrl": "https://attacker.example/cvrf/2026-Jun",
        })
    };
    let index = json!({"@odata.context": "x", "value": [
        entry("2018-FEB", "February 2018 Security Updates", "2018-02-13T08:00:00ZZ"),
        entry("2026-Oct", "October 2026 Early Security Updates", "2026-10-13T07:00:00Z"),
        entry("2016-Apr", "April 2016 Security Updates", "2016-04-12T07:00:00"),
        entry("2016-Mar", "March 2016 Security Updates", "2016-03-08T08:00:00"),
        entry("2000-Feb", "Release notes", "2000-02-01T00:00:00"),
        entry("2026-Aug-OOB", "August 2026 Security Updates", "0001-01-01T00:00:00"),
        entry("2026-Xyz", "", ""), entry("../x", "", ""), entry("Oct-OOB", "", ""),
        {"ID": null}, {}, null, "2026-Jun", {"ID": "2026-Sep"},
    ]});
    let entries = read_index(index.to_string().as_bytes()).unwrap();
    let initial = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let found: Vec<_> = entries.iter().map(|entry| (entry.id.as_str(), entry.initial)).collect();
    assert_eq!(
        found,
        [
            ("2026-Oct", None),
            ("2026-Sep", None),
            ("2026-Aug-OOB", None),
            ("2018-FEB", initial("2018-02-13T08:00:00Z")),
            ("2016-Apr", initial("2016-04-12T07:00:00Z")),
        ]
    );
    assert_eq!(entries[0].current, initial("2026-10-10T07:00:00Z"));
    for text in ["", "{}", r#"{"value": null}"#, r#"{"value": ["#, "<html>"] {
        assert_eq!(read_index(text.as_bytes()).unwrap_err().kind(), FactsFailure::Decode, "{text}");
    }
    assert!(read_index(&br#"{"value": []}"#[..]).unwrap().is_empty());
}
