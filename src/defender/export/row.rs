//! One line of a file: the fields that are used, borrowed from it.
//!
//! Files name their keys in `PascalCase` and leave null fields out; `camelCase` and nulls have been
//! seen too, and samples contradict the documentation about types
//! (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>). So
//! keys are told apart without regard to case, and a field of another type is one that is not there.
//! Two thirds of the fields are not used; they are passed over without being looked at.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::defender::json::Json;
use crate::defender::model::Reject;
use crate::fleet::KbId;

/// What a line says. Every field may be absent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row<'a> {
    /// `deviceId`
    pub device: Json<'a>,
    /// `softwareVendor`, as `microsoft`
    pub vendor: Json<'a>,
    /// `softwareName`, as `windows_10`
    pub product: Json<'a>,
    /// `cveId`
    pub cve: Json<'a>,
    /// `vulnerabilitySeverityLevel`
    pub severity: Json<'a>,
    /// `recommendedSecurityUpdate`, as `March 2020 Security Updates`
    pub title: Json<'a>,
    /// `recommendedSecurityUpdateId`, as `5065429`
    pub update: Json<'a>,
    /// `firstSeenTimestamp`
    pub first_seen: Json<'a>,
    /// `status`
    pub status: Json<'a>,
}

impl<'a> Row<'a> {
    /// The row that `line` holds.
    ///
    /// # Errors
    /// When it is no JSON, or no object.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Reject> {
        serde_json::from_slice(line).map_err(|error| {
            let is_json = error.is_data() && serde_json::from_slice::<IgnoredAny>(line).is_ok();
            if is_json { Reject::WrongType } else { Reject::Malformed }
        })
    }

    /// The KB that the update id names: six or seven digits, an optional `KB` in front. None inside when
    /// there is no id.
    ///
    /// # Errors
    /// When the id is no KB.
    pub(super) fn kb(&self) -> Result<Option<KbId>, Reject> {
        let (kb, digits) = match &self.update {
            Json::Null => return Ok(None),
            Json::Text(_) if self.update.text().is_empty() => return Ok(None),
            Json::Text(text) => (KbId::parse(text), text.bytes().filter(u8::is_ascii_digit).count()),
            Json::Number(number) => {
                let kb = number.as_u64().and_then(|number| KbId::new(u32::try_from(number).ok()?));
                (kb, kb.map_or(0, |kb| kb.number().max(1).ilog10() as usize + 1))
            }
            Json::Bool(_) | Json::List(_) | Json::Object(_) => (None, 0),
        };
        kb.filter(|_| (6..=7).contains(&digits)).map(Some).ok_or(Reject::BadKb)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
        let mut row = Row::default();
        while let Some(key) = map.next_key::<Key>()? {
            let field = match key {
                Key::Device => &mut row.device,
                Key::Vendor => &mut row.vendor,
                Key::Product => &mut row.product,
                Key::Cve => &mut row.cve,
                Key::Severity => &mut row.severity,
                Key::Title => &mut row.title,
                Key::Update => &mut row.update,
                Key::FirstSeen => &mut row.first_seen,
                Key::Status => &mut row.status,
                Key::Unused => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = map.next_value()?;
        }
        Ok(row)
    }
}

/// Which field a key names.
#[derive(Clone, Copy)]
enum Key {
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

impl Key {
    /// The length leaves at most one candidate, and the two spellings of the API differ in the first
    /// letter only; case is folded for others alone.
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

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(Key::of(name))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_spellings_and_any_other_case_are_read() {
        let pascal = r#"{"DeviceId":"a1","SoftwareVendor":"microsoft","SoftwareName":"windows_10","CveId":"CVE-2025-1","VulnerabilitySeverityLevel":"High","RecommendedSecurityUpdate":"t","RecommendedSecurityUpdateId":"5065429","FirstSeenTimestamp":"2025-09-09 17:30:00","Status":"New","OSPlatform":"Windows10"}"#;
        let row = Row::parse(pascal.as_bytes()).unwrap();
        assert_eq!(
            (row.device.text(), row.vendor.text(), row.product.text()),
            ("a1", "microsoft", "windows_10")
        );
        assert_eq!((row.cve.text(), row.severity.text(), row.title.text()), ("CVE-2025-1", "High", "t"));
        assert_eq!((row.first_seen.text(), row.status.text()), ("2025-09-09 17:30:00", "New"));
        assert_eq!(row.kb(), Ok(KbId::new(5_065_429)));
        assert!(matches!(row.device, Json::Text(Cow::Borrowed("a1"))), "nothing is copied");

        let mut camel = pascal.to_owned();
        for key in ["Device", "Software", "Cve", "Vulnerability", "Recommended", "First", "Status"] {
            let small = format!("\"{}{}", key[..1].to_ascii_lowercase(), &key[1..]);
            camel = camel.replace(&format!("\"{key}"), &small);
        }
        assert_ne!(camel, pascal);
        assert_eq!(Row::parse(camel.as_bytes()), Ok(Row::parse(pascal.as_bytes()).unwrap()));
        let shouted = r#"{"DEVICEID":"a1","cveid":"c","firstSEENtimestamp":"t","LASTSEENTIMESTAMP":"x"}"#;
        let row = Row::parse(shouted.as_bytes()).unwrap();
        assert_eq!((row.device.text(), row.cve.text(), row.first_seen.text()), ("a1", "c", "t"));
    }

    #[test]
    fn keys_of_the_same_length_are_told_apart() {
        let line =
            r#"{"OSArchitecture":"x64","EventTimestamp":"2025","endOfSupportStatus":"none","deviceIds":"b"}"#;
        assert_eq!(Row::parse(line.as_bytes()), Ok(Row::default()));
    }

    #[test]
    fn a_field_of_another_type_is_not_there() {
        let line = r#"{"deviceId":" a ","softwareVendor":{"x":[1,{}]},"softwareName":["y",[[]]],"cveId":null,
            "status":true,"firstSeenTimestamp":-1,"recommendedSecurityUpdate":1.5,"diskPaths":[[[{"a":1}]]]}"#;
        let row = Row::parse(line.as_bytes()).unwrap();
        assert_eq!(row.device.text(), "a");
        for field in [&row.vendor, &row.product, &row.cve, &row.status, &row.first_seen, &row.title] {
            assert_eq!(field.text(), "");
        }
    }

    #[test]
    fn escaped_text_is_read() {
        let row = Row::parse(br#"{"device\u0049d":"\u0061","SoftwareName":"a\"b"}"#).unwrap();
        assert_eq!((row.device.text(), row.product.text()), ("a", "a\"b"));
    }

    #[test]
    fn update_ids_are_six_or_seven_digits() {
        let kb = |id: &str| {
            let line = format!(r#"{{"RecommendedSecurityUpdateId":{id}}}"#);
            Row::parse(line.as_bytes()).unwrap().kb()
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
            assert_eq!(kb(odd), Err(Reject::BadKb), "{odd}");
        }
    }

    #[test]
    fn lines_that_are_no_objects_are_rejected_by_reason() {
        for line in ["[]", "7", "null", r#""text""#, "[{}]", "true"] {
            assert_eq!(Row::parse(line.as_bytes()), Err(Reject::WrongType), "{line}");
        }
        for line in ["{", r#"{"deviceId":"a""#, "{}{}", "[1,", "<html>", "\u{1}", r#"{"deviceId":"\ud800"}"#]
        {
            assert_eq!(Row::parse(line.as_bytes()), Err(Reject::Malformed), "{line}");
        }
        assert_eq!(Row::parse(b"{\"deviceId\":\"\xff\"}"), Err(Reject::Malformed));
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = format!("{{\"diskPaths\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Row::parse(deep.as_bytes()), Ok(Row::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_line_do_not_panic(line: Vec<u8>, text in "[{}\\[\\]\",:a-zA-Z0-9\\\\ ]{0,60}") {
            drop(Row::parse(&line));
            drop(Row::parse(text.as_bytes()));
        }

        #[test]
        fn keys_are_read_in_any_case(upper: u32) {
            let key: String = "recommendedSecurityUpdateId".chars().enumerate().map(|(place, letter)| {
                if upper >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
            }).collect();
            let line = format!("{{\"{key}\":\"5065429\"}}");
            prop_assert_eq!(Row::parse(line.as_bytes()).unwrap().kb(), Ok(KbId::new(5_065_429)));
        }
    }
}
