//! The dates of end of servicing of endoflife.date.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::Date;

use super::lenient::{Lenient, Shape, object};
use super::{ParseError, date, input};
use crate::model::ServicingEdition;

/// The largest size of a document in bytes. In 2026 it has 0.03 MiB.
const MAX_BYTES: u64 = 16 << 20;

/// A product of endoflife.date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicedProduct {
    /// `windows`
    Windows,
    /// `windows-server`
    WindowsServer,
}

impl ServicedProduct {
    /// Every product.
    pub const ALL: [Self; 2] = [Self::Windows, Self::WindowsServer];

    /// The name, as it is in URLs and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::WindowsServer => "windows-server",
        }
    }
}

/// The releases of one product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servicing {
    /// The time of the last change.
    pub modified: Option<Timestamp>,
    /// The releases, in the order of the source.
    pub releases: Vec<ServicingRelease>,
}

/// One release of a product, such as `11-24h2-e`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicingRelease {
    /// The name.
    pub name: Box<str>,
    /// The build of Windows, such as 26100.
    pub build: Option<u32>,
    /// True for a release with long-term servicing.
    pub is_lts: bool,
    /// The end of servicing.
    pub end: Option<ServicingEnd>,
    /// The end of Extended Security Updates.
    pub extended_end: Option<ServicingEnd>,
}

/// An end of servicing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicingEnd {
    /// The last day.
    On(Date),
    /// Whether it has passed, without a day.
    Passed(bool),
}

object! {
    struct ProductDocument {
        modified: Option<Box<str>> = "last_modified",
        result: ProductShape = "result",
    }
}

object! {
    struct ProductShape {
        name: Option<Box<str>> = "name",
        releases: Vec<ReleaseShape> = "releases",
    }
}

object! {
    struct ReleaseShape {
        name: Option<Box<str>> = "name",
        is_lts: Option<bool> = "isLts",
        has_ended: Option<bool> = "isEol",
        end: Option<ServicingEnd> = "eolFrom",
        extended_end: Option<ServicingEnd> = "eoesFrom",
        latest: LatestShape = "latest",
    }
}

object! {
    struct LatestShape { name: Option<Box<str>> = "name", }
}

/// A day or a boolean, as endoflife.date writes both.
impl Shape for Option<ServicingEnd> {
    fn of_text(text: &str) -> Self {
        let flag = || text.trim().to_ascii_lowercase().parse().ok().map(ServicingEnd::Passed);
        date::day(text).map(ServicingEnd::On).or_else(flag)
    }

    fn of_flag(flag: bool) -> Self {
        Some(ServicingEnd::Passed(flag))
    }
}

/// Reads the document of a product. A release without a name is skipped.
///
/// # Errors
/// Returns an error if `input` is no complete document, is about another product, or has no release.
pub fn read(input: impl Read, product: ServicedProduct) -> Result<Servicing, ParseError> {
    let Lenient(document): Lenient<ProductDocument> = input::json(input, MAX_BYTES)?;
    let found = document.result.name.unwrap_or_default();
    if !found.eq_ignore_ascii_case(product.as_str()) {
        return Err(ParseError::OtherDocument { expected: product.as_str().into(), found });
    }
    let releases: Vec<_> = document.result.releases.into_iter().filter_map(ReleaseShape::release).collect();
    if releases.is_empty() {
        return Err(ParseError::Shape("is no document of a product: it lists no release"));
    }
    Ok(Servicing { modified: document.modified.and_then(|text| date::time(&text)), releases })
}

impl ReleaseShape {
    fn release(self) -> Option<ServicingRelease> {
        Some(ServicingRelease {
            name: self.name.filter(|name| !name.trim().is_empty())?,
            build: self.latest.name.and_then(|version| build(&version)),
            is_lts: self.is_lts.unwrap_or_default(),
            end: self.end.or((self.has_ended == Some(true)).then_some(ServicingEnd::Passed(true))),
            extended_end: self.extended_end,
        })
    }
}

impl ServicingRelease {
    /// The editions of a Windows client to which it applies, by the end of its name, such as `-e-lts`. A name without
    /// an edition is for Pro and Enterprise. Empty for an edition that is not known.
    #[must_use]
    pub fn client_editions(&self) -> &'static [ServicingEdition] {
        use ServicingEdition::{Enterprise, IotLtsc, Ltsc, Pro};

        let name = self.name.trim().to_ascii_lowercase();
        let mut edition: Vec<_> = name.split('-').collect();
        // The version comes first, and has digits: `11-24h2`, `7-sp1`.
        let version = edition.iter().rposition(|word| word.contains(|c: char| c.is_ascii_digit()));
        edition.drain(..=version.unwrap_or_default());
        let is_named_lts = edition.pop_if(|word| matches!(*word, "lts" | "ltsc" | "ltsb")).is_some();
        match (edition.as_slice(), is_named_lts || self.is_lts) {
            ([], _) if !is_named_lts => &[Pro, Enterprise],
            (["w"], _) => &[Pro],
            (["e"], false) => &[Enterprise],
            ([] | ["e"], true) => &[Ltsc],
            (["iot"] | ["iot", "e"], true) => &[IotLtsc],
            _ => &[],
        }
    }
}

impl ServicingEnd {
    /// The later of two ends. One that has not passed, without a day, is the latest; one that has passed, the earliest.
    pub(super) fn later(self, other: Self) -> Self {
        match (self, other) {
            (Self::On(one), Self::On(other)) => Self::On(one.max(other)),
            (Self::Passed(false), _) | (Self::On(_), Self::Passed(true)) => self,
            _ => other,
        }
    }
}

/// The third number of a version such as `10.0.26100`.
fn build(version: &str) -> Option<u32> {
    version.trim().split('.').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::model::FactsFailure;

    const JSON: &str = r#"{
        "schema_version": "1.2.0",
        "result": {
            "releases": [
                {"name": "11-24h2-e-lts", "isLts": true, "eolFrom": "2029-10-09", "latest": {"name": "10.0.26100"}},
                {"name": "10-22h2", "isLts": false, "eolFrom": "2025-10-14", "eoesFrom": "2028-10-10",
                 "latest": {"name": "10.0.19045", "date": null}},
                {"name": "8", "eolFrom": true, "eoesFrom": false, "latest": null},
                {"name": "7", "eolFrom": null, "latest": {"name": "6.1"}},
                {"name": "6", "eolFrom": null, "isEol": true, "latest": {}},
                {"name": "5", "eolFrom": "2014-04-08", "isEol": false, "isEoes": true, "eoesFrom": null},
                {"name": "4.5", "eolFrom": " True", "eoesFrom": "2029-10-09T00:00:00Z", "latest": {"name": 10}},
                {"name": "4", "eolFrom": "soon", "isEol": false, "eoesFrom": {}, "latest": "10.0.1"},
                {"label": "without a name"}, null, "x"
            ],
            "name": "windows"
        },
        "last_modified": "2026-08-22T08:52:34+00:00"
    }"#;

    #[test]
    fn ends_are_days_or_booleans_or_unknown() {
        let servicing = read(JSON.as_bytes(), ServicedProduct::Windows).unwrap();
        assert_eq!(servicing.modified, "2026-08-22T08:52:34Z".parse().ok());
        let release = |name: &str, build, end, extended_end| ServicingRelease {
            name: name.into(),
            build,
            is_lts: name.ends_with("-lts"),
            end,
            extended_end,
        };
        let on = |year, month, day| Some(ServicingEnd::On(date(year, month, day)));
        assert_eq!(
            servicing.releases,
            [
                release("11-24h2-e-lts", Some(26_100), on(2029, 10, 9), None),
                release("10-22h2", Some(19_045), on(2025, 10, 14), on(2028, 10, 10)),
                release("8", None, Some(ServicingEnd::Passed(true)), Some(ServicingEnd::Passed(false))),
                release("7", None, None, None),
                release("6", None, Some(ServicingEnd::Passed(true)), None),
                release("5", None, on(2014, 4, 8), None),
                release("4.5", None, Some(ServicingEnd::Passed(true)), on(2029, 10, 9)),
                release("4", None, None, None),
            ]
        );
    }

    #[test]
    fn end_of_the_name_tells_the_edition() {
        use ServicingEdition::{Enterprise, IotLtsc, Ltsc, Pro};

        for (name, is_lts, expected) in [
            ("11-24h2-w", false, &[Pro][..]),
            ("11-24h2-e", false, &[Enterprise]),
            ("11-24h2-e", true, &[Ltsc]),
            ("11-24h2-e-lts", true, &[Ltsc]),
            ("11-24h2-e-lts", false, &[Ltsc]),
            ("11-24h2-iot-lts", true, &[IotLtsc]),
            (" 11-24H2-IoT-LTS ", true, &[IotLtsc]),
            ("10-22h2", false, &[Pro, Enterprise]),
            ("10-1511", false, &[Pro, Enterprise]),
            ("7-sp1", false, &[Pro, Enterprise]),
            ("8.1", true, &[Pro, Enterprise]),
            ("vista", false, &[Pro, Enterprise]),
            ("10-1507-iot", false, &[]),
            ("11-25h2-se", false, &[]),
            ("11-25h2-w-e-x", false, &[]),
        ] {
            let release = ServicingRelease { name: name.into(), is_lts, ..ServicingRelease::default() };
            assert_eq!(release.client_editions(), expected, "{name} {is_lts}");
        }
    }

    #[test]
    fn other_product_or_document_is_an_error() {
        let other = read(JSON.as_bytes(), ServicedProduct::WindowsServer).unwrap_err();
        assert_eq!(other.to_string(), "is the document `windows` instead of `windows-server`");
        for json in ["", "{}", r#"{"result": {"name": "windows", "releases": []}}"#, &JSON[..JSON.len() - 1]]
        {
            let error = read(json.as_bytes(), ServicedProduct::Windows).unwrap_err();
            assert_eq!(error.kind(), FactsFailure::Decode, "{json}");
        }
    }
}
