//! Lines as rows.

use proptest::prelude::*;

use super::*;

#[test]
fn both_spellings_and_any_other_case_are_read() {
    let pascal = r#"{"DeviceId":"a1","SoftwareVendor":"microsoft","SoftwareName":"windows_10","CveId":"CVE-2025-1","VulnerabilitySeverityLevel":"High","RecommendedSecurityUpdate":"t","RecommendedSecurityUpdateId":"5065429","FirstSeenTimestamp":"2025-09-09 17:30:00","Status":"New","OSPlatform":"Windows10","OSVersion":"10.0.19045.6093","CvssScore":7.8}"#;
    let row = ExportRow::parse(pascal.as_bytes()).unwrap();
    assert_eq!((row.device.text(), row.vendor.text(), row.product.text()), ("a1", "microsoft", "windows_10"));
    assert_eq!((row.cve.text(), row.severity.text(), row.title.text()), ("CVE-2025-1", "High", "t"));
    assert_eq!((row.first_seen.text(), row.status.text()), ("2025-09-09 17:30:00", "New"));
    assert_eq!((row.os_version.text(), row.cvss.cvss()), ("10.0.19045.6093", CvssScore::new(7.8)));
    assert_eq!(row.update.kb(), Ok(KbId::new(5_065_429)));
    assert!(matches!(row.device, RowField::Text(Cow::Borrowed("a1"))), "nothing is copied");

    let mut camel = pascal.to_owned();
    for key in
        ["Device", "Software", "Cve", "Cvss", "OSVersion", "Vulnerability", "Recommended", "First", "Status"]
    {
        let small = format!("\"{}{}", key[..1].to_ascii_lowercase(), &key[1..]);
        camel = camel.replace(&format!("\"{key}"), &small);
    }
    assert_ne!(camel, pascal);
    assert_eq!(ExportRow::parse(camel.as_bytes()), Ok(ExportRow::parse(pascal.as_bytes()).unwrap()));
    let shouted = r#"{"DEVICEID":"a1","cveid":"c","firstSEENtimestamp":"t","LASTSEENTIMESTAMP":"x"}"#;
    let row = ExportRow::parse(shouted.as_bytes()).unwrap();
    assert_eq!((row.device.text(), row.cve.text(), row.first_seen.text()), ("a1", "c", "t"));
}

#[test]
fn keys_of_equal_length_are_distinguished() {
    let line =
        r#"{"OSArchitecture":"x64","EventTimestamp":"2025","endOfSupportStatus":"none","deviceIds":"b"}"#;
    assert_eq!(ExportRow::parse(line.as_bytes()), Ok(ExportRow::default()));
}

#[test]
fn a_field_of_another_type_is_not_there() {
    let line = r#"{"deviceId":" a ","softwareVendor":{"x":[1,{}]},"softwareName":["y",[[]]],"cveId":null,
        "status":true,"firstSeenTimestamp":-1,"recommendedSecurityUpdate":1.5,"diskPaths":[[[{"a":1}]]]}"#;
    let row = ExportRow::parse(line.as_bytes()).unwrap();
    assert_eq!(row.device.text(), "a");
    for field in [&row.vendor, &row.product, &row.cve, &row.status, &row.first_seen, &row.title] {
        assert_eq!(field.text(), "");
    }
}

#[test]
fn escaped_text_is_read() {
    let row = ExportRow::parse(br#"{"device\u0049d":"\u0061","SoftwareName":"a\"b"}"#).unwrap();
    assert_eq!((row.device.text(), row.product.text()), ("a", "a\"b"));
}

#[test]
fn update_ids_are_six_or_seven_digits() {
    let kb = |id: &str| {
        let line = format!(r#"{{"RecommendedSecurityUpdateId":{id}}}"#);
        let row = ExportRow::parse(line.as_bytes()).unwrap();
        row.update.kb().map_err(Cow::into_owned)
    };
    for id in [
        r#""5065429""#,
        r#""KB5065429""#,
        r#"" kb5065429 ""#,
        r#""KB 5065429""#,
        r#""5065429 (x64)""#,
        "5065429",
    ] {
        assert_eq!(kb(id), Ok(KbId::new(5_065_429)), "{id}");
    }
    assert_eq!(kb(r#""890830""#), Ok(KbId::new(890_830)));
    for none in ["null", r#""""#, r#""  ""#] {
        assert_eq!(kb(none), Ok(None), "{none}");
    }
    for odd in [
        r#""RHSA-2024:9315""#,
        r#""USN-7663-1""#,
        r#""ADV 200002""#,
        r#""12345""#,
        r#""12345678""#,
        r#""KB""#,
        r#""KBKB5065429""#,
        "12345",
        "12345678",
        "99999999999999999999",
        "5065429.5",
        "-5065429",
        "true",
        "[5065429]",
    ] {
        assert!(kb(odd).is_err(), "{odd}");
    }
}

#[test]
fn lines_that_are_no_objects_are_rejected_by_reason() {
    let reason = |line: &[u8]| ExportRow::parse(line).err().map(|unreadable| unreadable.reason);
    for line in ["[]", "7", "null", r#""text""#, "[{}]", "true"] {
        assert_eq!(reason(line.as_bytes()), Some(RejectReason::WrongType), "{line}");
    }
    for line in ["{", r#"{"deviceId":"a""#, "{}{}", "[1,", "<html>", "\u{1}", r#"{"deviceId":"\ud800"}"#] {
        assert_eq!(reason(line.as_bytes()), Some(RejectReason::Malformed), "{line}");
    }
    assert_eq!(reason(b"{\"deviceId\":\"\xff\"}"), Some(RejectReason::Malformed));
}

#[test]
fn fields_before_a_defect_are_kept() {
    let line = br#"{"DeviceId":"a1","SoftwareVendor":"microsoft","CveId":"CVE-2"#;
    let unreadable = ExportRow::parse(line).unwrap_err();
    assert_eq!((unreadable.fields.device.text(), unreadable.fields.vendor.text()), ("a1", "microsoft"));
    assert_eq!(unreadable.fields.cve, RowField::Absent);
}

#[test]
fn deep_nesting_is_read_without_recursion() {
    let deep = format!("{{\"diskPaths\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ExportRow::parse(deep.as_bytes()), Ok(ExportRow::default()));
}

proptest! {
    #[test]
    fn any_bytes_as_a_line_do_not_panic(line: Vec<u8>, text in "[{}\\[\\]\",:a-zA-Z0-9\\\\ ]{0,60}") {
        drop(ExportRow::parse(&line));
        drop(ExportRow::parse(text.as_bytes()));
    }

    #[test]
    fn keys_are_read_in_any_case(upper: u32) {
        let key: String = "recommendedSecurityUpdateId".chars().enumerate().map(|(place, letter)| {
            if upper >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
        }).collect();
        let line = format!("{{\"{key}\":\"5065429\"}}");
        let row = ExportRow::parse(line.as_bytes()).unwrap();
        prop_assert_eq!(row.update.kb(), Ok(KbId::new(5_065_429)));
    }
}
