//! Keys of machines and updates.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Key of a machine: Defender's device id, lower case. 40 hex characters in practice; 1 to 128 ASCII
/// letters, digits, `-` and `_` are accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(Arc<str>);

impl MachineId {
    /// Parses an id, ignoring case and surrounding white space.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets a map be searched by the text of an id, in lower case.
impl Borrow<str> for MachineId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Number of a KB article; displayed as digits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KbId(u32);

impl KbId {
    /// Parses up to nine digits with an optional `KB` in front, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("kb") => &text[2..],
            _ => text,
        };
        let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// Returns the KB with this number, or none for a number of more than nine digits.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number < 1_000_000_000).then_some(Self(number))
    }

    /// The number, below 1,000,000,000.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
