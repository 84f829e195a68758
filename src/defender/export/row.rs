//! One line of a file: the fields that are used, borrowed from it.
//!
//! Files name their keys in `PascalCase` and leave null fields out; `camelCase` and nulls have been
//! seen too, and samples contradict the documentation about types
//! (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>). So
//! keys are told apart without regard to case, and a field of another type is one that is not there.
//! Two thirds of the fields are not used; they are passed over without being looked at. A field is less
//! than any JSON value can be (`defender::json`): with that one, reading millions of rows takes longer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::defender::model::Reject;
use crate::fleet::KbId;

/// What a line says. Every field may be absent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row<'a> {
    /// `deviceId`
    pub device: Field<'a>,
    /// `softwareVendor`, as `microsoft`
    pub vendor: Field<'a>,
    /// `softwareName`, as `windows_10`
    pub product: Field<'a>,
    /// `cveId`
    pub cve: Field<'a>,
    /// `vulnerabilitySeverityLevel`
    pub severity: Field<'a>,
    /// `recommendedSecurityUpdate`, as `March 2020 Security Updates`
    pub title: Field<'a>,
    /// `recommendedSecurityUpdateId`, as `5065429`
    pub update: Field<'a>,
    /// `firstSeenTimestamp`
    pub first_seen: Field<'a>,
    /// `status`
    pub status: Field<'a>,
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
}

/// A field as it came.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Field<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// Text, also an empty one.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(u64),
    /// Anything else.
    Other,
}

impl Field<'_> {
    /// The KB that an update id names: six or seven digits, an optional `KB` in front. None inside when
    /// there is no id.
    ///
    /// # Errors
    /// When the id is no KB.
    pub(super) fn kb(&self) -> Result<Option<KbId>, Reject> {
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
        kb.filter(|_| (6..=7).contains(&digits)).map(Some).ok_or(Reject::BadKb)
    }

    /// The text without outer white space; empty when there is none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text.trim_ascii(),
            Self::Absent | Self::Number(_) | Self::Other => "",
        }
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

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(row.update.kb(), Ok(KbId::new(5_065_429)));
        assert!(matches!(row.device, Field::Text(Cow::Borrowed("a1"))), "nothing is copied");

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
            Row::parse(line.as_bytes()).unwrap().update.kb()
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
            prop_assert_eq!(Row::parse(line.as_bytes()).unwrap().update.kb(), Ok(KbId::new(5_065_429)));
        }
    }
}
