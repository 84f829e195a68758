//! One line of an export file: the required fields, borrowed from it.
//!
//! Files have keys in `PascalCase` and omit null fields; `camelCase` and nulls have been observed too, and
//! samples contradict the documentation about types
//! (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>). Therefore
//! keys match without regard to case, and a field of another type counts as absent. Two thirds of the fields
//! are not used and are skipped. [`RowField`] is simpler than a JSON value (`defender::json`), with which
//! reading millions of rows takes longer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{KbId, RejectReason};

/// The fields of a line, each of which may be absent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ExportRow<'a> {
    /// `deviceId`
    pub device: RowField<'a>,
    /// `softwareVendor`, as `microsoft`
    pub vendor: RowField<'a>,
    /// `softwareName`, as `windows_10`
    pub product: RowField<'a>,
    /// `cveId`
    pub cve: RowField<'a>,
    /// `vulnerabilitySeverityLevel`
    pub severity: RowField<'a>,
    /// `recommendedSecurityUpdate`, as `March 2020 Security Updates`
    pub title: RowField<'a>,
    /// `recommendedSecurityUpdateId`, as `5065429`
    pub update: RowField<'a>,
    /// `firstSeenTimestamp`
    pub first_seen: RowField<'a>,
    /// `status`
    pub status: RowField<'a>,
}

impl<'a> ExportRow<'a> {
    /// Parses `line`.
    ///
    /// # Errors
    /// Returns the reason if the line is not JSON, or not an object.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, RejectReason> {
        serde_json::from_slice(line).map_err(|error| {
            let is_json = error.is_data() && serde_json::from_slice::<IgnoredAny>(line).is_ok();
            if is_json { RejectReason::WrongType } else { RejectReason::Malformed }
        })
    }
}

/// The value of a field.
#[derive(Debug, Default, PartialEq)]
pub(super) enum RowField<'a> {
    /// Missing or null.
    #[default]
    Absent,
    /// A string, possibly empty.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(u64),
    /// Anything else.
    Other,
}

impl RowField<'_> {
    /// Parses an update id: six or seven digits with an optional prefix `KB`. `None` if there is no id.
    ///
    /// # Errors
    /// Returns the reason if the id is not a KB.
    pub(super) fn kb(&self) -> Result<Option<KbId>, RejectReason> {
        let (kb, digits) = match self {
            Self::Absent => return Ok(None),
            Self::Text(_) if self.text().is_empty() => return Ok(None),
            Self::Text(text) => (KbId::parse(text), text.bytes().filter(u8::is_ascii_digit).count()),
            Self::Number(number) => {
                let kb = u32::try_from(*number).ok().and_then(KbId::new);
                (kb, kb.map_or(0, |kb| kb.number().max(1).ilog10() as usize + 1))
            }
            Self::Other => (None, 0),
        };
        kb.filter(|_| (6..=7).contains(&digits)).map(Some).ok_or(RejectReason::BadKb)
    }

    /// The string without surrounding white space; empty for any other value.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text.trim_ascii(),
            Self::Absent | Self::Number(_) | Self::Other => "",
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ExportRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExportRowVisitor)
    }
}

struct ExportRowVisitor;

impl<'de> Visitor<'de> for ExportRowVisitor {
    type Value = ExportRow<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExportRow<'de>, A::Error> {
        let mut row = ExportRow::default();
        while let Some(key) = map.next_key::<RowKey>()? {
            let field = match key {
                RowKey::Device => &mut row.device,
                RowKey::Vendor => &mut row.vendor,
                RowKey::Product => &mut row.product,
                RowKey::Cve => &mut row.cve,
                RowKey::Severity => &mut row.severity,
                RowKey::Title => &mut row.title,
                RowKey::Update => &mut row.update,
                RowKey::FirstSeen => &mut row.first_seen,
                RowKey::Status => &mut row.status,
                RowKey::Unused => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = map.next_value()?;
        }
        Ok(row)
    }
}

/// The field that a key names.
#[derive(Clone, Copy)]
enum RowKey {
    Device,
    Vendor,
    Product,
    Cve,
    Severity,
    Title,
    Update,
    FirstSeen,
    Status,
    Unused,
}

impl RowKey {
    /// The length leaves at most one candidate, and the two spellings of the API differ in the first letter
    /// only; other spellings are compared without regard to case.
    fn of(name: &str) -> Self {
        let (key, spelling) = match name.len() {
            5 => (Self::Cve, "cveId"),
            6 => (Self::Status, "status"),
            8 => (Self::Device, "deviceId"),
            12 => (Self::Product, "softwareName"),
            14 => (Self::Vendor, "softwareVendor"),
            18 => (Self::FirstSeen, "firstSeenTimestamp"),
            25 => (Self::Title, "recommendedSecurityUpdate"),
            26 => (Self::Severity, "vulnerabilitySeverityLevel"),
            27 => (Self::Update, "recommendedSecurityUpdateId"),
            _ => return Self::Unused,
        };
        let (name, spelling) = (name.as_bytes(), spelling.as_bytes());
        let is_same = name[0].eq_ignore_ascii_case(&spelling[0])
            && (name[1..] == spelling[1..] || name.eq_ignore_ascii_case(spelling));
        if is_same { key } else { Self::Unused }
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(RowKeyVisitor)
    }
}

struct RowKeyVisitor;

impl Visitor<'_> for RowKeyVisitor {
    type Value = RowKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<RowKey, E> {
        Ok(RowKey::of(name))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RowField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowFieldVisitor)
    }
}

struct RowFieldVisitor;

impl<'de> Visitor<'de> for RowFieldVisitor {
    type Value = RowField<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<RowField<'de>, E> {
        Ok(RowField::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<RowField<'de>, E> {
        Ok(RowField::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<RowField<'de>, E> {
        Ok(RowField::Number(number))
    }

    fn visit_unit<E>(self) -> Result<RowField<'de>, E> {
        Ok(RowField::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<RowField<'de>, E> {
        Ok(RowField::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RowField<'de>, E> {
        Ok(RowField::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RowField<'de>, E> {
        Ok(RowField::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RowField<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RowField::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RowField<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(RowField::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_spellings_and_any_other_case_are_read() {
        let pascal = r#"{"DeviceId":"a1","SoftwareVendor":"microsoft","SoftwareName":"windows_10","CveId":"CVE-2025-1","VulnerabilitySeverityLevel":"High","RecommendedSecurityUpdate":"t","RecommendedSecurityUpdateId":"5065429","FirstSeenTimestamp":"2025-09-09 17:30:00","Status":"New","OSPlatform":"Windows10"}"#;
        let row = ExportRow::parse(pascal.as_bytes()).unwrap();
        assert_eq!(
            (row.device.text(), row.vendor.text(), row.product.text()),
            ("a1", "microsoft", "windows_10")
        );
        assert_eq!((row.cve.text(), row.severity.text(), row.title.text()), ("CVE-2025-1", "High", "t"));
        assert_eq!((row.first_seen.text(), row.status.text()), ("2025-09-09 17:30:00", "New"));
        assert_eq!(row.update.kb(), Ok(KbId::new(5_065_429)));
        assert!(matches!(row.device, RowField::Text(Cow::Borrowed("a1"))), "nothing is copied");

        let mut camel = pascal.to_owned();
        for key in ["Device", "Software", "Cve", "Vulnerability", "Recommended", "First", "Status"] {
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
            ExportRow::parse(line.as_bytes()).unwrap().update.kb()
        };
        for id in [r#""5065429""#, r#""KB5065429""#, r#"" kb5065429 ""#, "5065429"] {
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
            assert_eq!(kb(odd), Err(RejectReason::BadKb), "{odd}");
        }
    }

    #[test]
    fn lines_that_are_no_objects_are_rejected_by_reason() {
        for line in ["[]", "7", "null", r#""text""#, "[{}]", "true"] {
            assert_eq!(ExportRow::parse(line.as_bytes()), Err(RejectReason::WrongType), "{line}");
        }
        for line in ["{", r#"{"deviceId":"a""#, "{}{}", "[1,", "<html>", "\u{1}", r#"{"deviceId":"\ud800"}"#]
        {
            assert_eq!(ExportRow::parse(line.as_bytes()), Err(RejectReason::Malformed), "{line}");
        }
        assert_eq!(ExportRow::parse(b"{\"deviceId\":\"\xff\"}"), Err(RejectReason::Malformed));
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
            prop_assert_eq!(ExportRow::parse(line.as_bytes()).unwrap().update.kb(), Ok(KbId::new(5_065_429)));
        }
    }
}
