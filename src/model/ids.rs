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
    /// Parses an update id that names a KB: six or seven digits, after an optional `KB` (`KB5036892`,
    /// `KB 5036892`, `KB-5036892`), before an optional remark in parentheses (`5036892 (x64)`), in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = match text.split_at_checked(2) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("kb") => {
                rest.strip_prefix([' ', '-']).unwrap_or(rest)
            }
            _ => text,
        };
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, remark) = number.split_at(digits);
        let remark = remark.trim_start();
        let is_remark =
            remark.len() >= 2 && remark.starts_with('(') && remark.ends_with(')') && !remark.contains('\n');
        let is_kb = (6..=7).contains(&digits.len()) && (remark.is_empty() || is_remark);
        is_kb.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// Returns the KB with this number, or none for a number of more than nine digits. A state file of an earlier
    /// release may hold any of them.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_name_a_kb_are_parsed() {
        for id in [
            "5036892",
            "KB5036892",
            "kb5036892",
            "Kb 5036892",
            "KB-5036892",
            " 5036892\t",
            "5036892 (x64)",
            "5036892(x64)",
            "KB 5036892  (x64) (Windows 10)",
            "5036892 ()",
            "\u{a0}5036892",
        ] {
            assert_eq!(KbId::parse(id), KbId::new(5_036_892), "{id}");
        }
        assert_eq!(KbId::parse("890830"), KbId::new(890_830));
        assert_eq!(KbId::parse("0000001"), KbId::new(1));
    }

    #[test]
    fn other_ids_are_no_kbs() {
        for id in [
            "",
            " ",
            "KB",
            "Click to Run",
            "ADV200002",
            "5036892;5036893",
            "5036892, 5036893",
            "5036892 5036893",
            "KB5036892x64",
            "5036892 x64",
            "5036892 (x64",
            "5036892 x64)",
            "5036892 (x64) x",
            "5036892 (x\ny)",
            "5036892 (",
            "KB  5036892",
            "KB--5036892",
            "KBKB5036892",
            "K5036892",
            "12345",
            "12345678",
            "-5036892",
            "5036892.0",
            "５０３６８９２",
            "äb5036892",
        ] {
            assert_eq!(KbId::parse(id), None, "{id}");
        }
    }
}
