//! Ids of release documents.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The names of the months in ids, in lower case.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The id of a release document, such as `2026-Jun` or `2017-May-B`, as Microsoft writes it. Ids that differ only in
/// case are equal.
#[derive(Clone, Debug)]
pub struct DocumentId(Box<str>);

impl DocumentId {
    /// Parses four digits of the year, `-`, three letters of the month, and optionally `-` and more letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let is_letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphabetic());
        let [year, month, suffix @ ..] = &parts[..] else { return None };
        let fits = year.len() == 4
            && year.bytes().all(|byte| byte.is_ascii_digit())
            && month.len() == 3
            && is_letters(month)
            && suffix.len() <= 1
            && suffix.iter().all(|suffix| is_letters(suffix))
            && text.len() <= 32;
        fits.then(|| Self(text.into()))
    }

    /// The id as Microsoft writes it, for requests.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id in lower case, for comparisons.
    #[must_use]
    pub fn lower_case(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The year and the month from 1 to 12; none for an unknown name of a month.
    #[must_use]
    pub fn month(&self) -> Option<(u16, u8)> {
        let year = self.0[..4].parse().ok()?;
        let name = &self.0[5..8];
        let month = (1..)
            .zip(MONTHS)
            .find_map(|(number, known)| name.eq_ignore_ascii_case(known).then_some(number))?;
        Some((year, month))
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for DocumentId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for DocumentId {}

impl Ord for DocumentId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl PartialOrd for DocumentId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for DocumentId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        state.write_u8(0xff);
    }
}
