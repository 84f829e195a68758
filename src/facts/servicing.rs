//! The dates of end of servicing of endoflife.date.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::Date;

use super::lenient::{Lenient, Shape, object};
use super::{ParseError, date, input};

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
        date::day(text).map(ServicingEnd::On)
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
            end: self.end,
            extended_end: self.extended_end,
        })
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
            ]
        );
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
