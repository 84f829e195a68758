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

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{CvssScore, KbId, RejectReason};

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
    /// `cvssScore`
    pub cvss: RowField<'a>,
    /// `osVersion`, as `10.0.19045.6093`
    pub os_version: RowField<'a>,
    /// `recommendedSecurityUpdate`, as `March 2020 Security Updates`
    pub title: RowField<'a>,
    /// `recommendedSecurityUpdateId`, as `5065429`
    pub update: RowField<'a>,
    /// `firstSeenTimestamp`
    pub first_seen: RowField<'a>,
    /// `status`
    pub status: RowField<'a>,
}

/// A line that is no row, with the fields before its defect.
#[derive(Debug, PartialEq)]
pub(super) struct UnreadableRow<'a> {
    /// The reason under which it is counted.
    pub reason: RejectReason,
    /// The fields before the defect.
    pub fields: Box<ExportRow<'a>>,
}

impl<'a> ExportRow<'a> {
    /// Parses `line`.
    ///
    /// # Errors
    /// Returns the reason and the fields before the defect if the line is not JSON, or not an object.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, UnreadableRow<'a>> {
        let mut fields = Self::default();
        let mut json = serde_json::Deserializer::from_slice(line);
        let parsed = ExportRowVisitor(&mut fields).deserialize(&mut json).and_then(|()| json.end());
        match parsed {
            Ok(()) => Ok(fields),
            Err(error) => {
                let is_json = error.is_data() && serde_json::from_slice::<IgnoredAny>(line).is_ok();
                let reason = if is_json { RejectReason::WrongType } else { RejectReason::Malformed };
                Err(UnreadableRow { reason, fields: Box::new(fields) })
            }
        }
    }

    /// Returns whether the row names a vendor that has no KBs. A name with a broken character may be any.
    pub(super) fn is_of_another_vendor(&self) -> bool {
        let vendor = self.vendor.text();
        !vendor.is_empty() && !self.is_of_microsoft() && !vendor.contains(['?', '\u{fffd}'])
    }

    /// Returns whether the row is about a product of Microsoft.
    pub(super) fn is_of_microsoft(&self) -> bool {
        self.vendor.text().eq_ignore_ascii_case("microsoft")
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
    /// Another number.
    Decimal(f64),
    /// Anything else.
    Other,
}

impl RowField<'_> {
    /// The KB that an update id names. `None` if there is no id.
    ///
    /// # Errors
    /// Returns the id if it is not a KB.
    pub(super) fn kb(&self) -> Result<Option<KbId>, Cow<'_, str>> {
        let id = match self {
            Self::Absent => "".into(),
            Self::Text(_) => Cow::Borrowed(self.text()),
            Self::Number(number) => number.to_string().into(),
            Self::Decimal(_) | Self::Other => return Err("(id of a wrong type)".into()),
        };
        match KbId::parse(&id) {
            Some(kb) => Ok(Some(kb)),
            None if id.is_empty() => Ok(None),
            None => Err(id),
        }
    }

    /// The string without surrounding white space; empty for any other value.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text.trim_ascii(),
            Self::Absent | Self::Number(_) | Self::Decimal(_) | Self::Other => "",
        }
    }

    /// The CVSS score: a number, or a string with one.
    pub(super) fn cvss(&self) -> Option<CvssScore> {
        let score = match self {
            Self::Number(number) => f64::from(u8::try_from(*number).ok()?),
            Self::Decimal(number) => *number,
            Self::Text(_) => self.text().parse().ok()?,
            Self::Absent | Self::Other => return None,
        };
        CvssScore::new(score)
    }
}

/// Reads an object into the fields of a row.
struct ExportRowVisitor<'a, 'de>(&'a mut ExportRow<'de>);

impl<'de> DeserializeSeed<'de> for ExportRowVisitor<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ExportRowVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let row = self.0;
        while let Some(key) = map.next_key::<RowKey>()? {
            let field = match key {
                RowKey::Device => &mut row.device,
                RowKey::Vendor => &mut row.vendor,
                RowKey::Product => &mut row.product,
                RowKey::Cve => &mut row.cve,
                RowKey::Severity => &mut row.severity,
                RowKey::Cvss => &mut row.cvss,
                RowKey::OsVersion => &mut row.os_version,
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
        Ok(())
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
    Cvss,
    OsVersion,
    Title,
    Update,
    FirstSeen,
    Status,
    Unused,
}

impl RowKey {
    /// The length and the first letter leave at most one candidate, and most keys differ in the first letter only
    /// between the two spellings of the API; other spellings are compared without regard to case.
    fn of(name: &str) -> Self {
        let (key, spelling) = match name.len() {
            5 => (Self::Cve, "cveId"),
            6 => (Self::Status, "status"),
            8 => (Self::Device, "deviceId"),
            9 if name.starts_with(['c', 'C']) => (Self::Cvss, "cvssScore"),
            9 => (Self::OsVersion, "osVersion"),
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

    fn visit_f64<E>(self, number: f64) -> Result<RowField<'de>, E> {
        Ok(RowField::Decimal(number))
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
mod tests;
