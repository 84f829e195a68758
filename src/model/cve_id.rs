//! Keys of vulnerabilities.

use std::fmt;

/// The number of a CVE, such as `CVE-2026-41108` (<https://cve.mitre.org/cve/identifiers/syntaxchange.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CveId {
    year: u16,
    number: u32,
}

impl CveId {
    /// Parses `CVE-`, four digits of the year, `-`, and four to nine digits, in any case and with white space around
    /// it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, rest) = text.trim().split_at_checked(4)?;
        let (year, number) = rest.split_once('-')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = prefix.eq_ignore_ascii_case("cve-") && year.len() == 4 && (4..=9).contains(&number.len());
        (fits && is_number(year) && is_number(number))
            .then(|| Some(Self { year: year.parse().ok()?, number: number.parse().ok()? }))
            .flatten()
    }
}

impl fmt::Display for CveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CVE-{:04}-{:04}", self.year, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_ids_are_parsed_and_displayed() {
        for (text, expected) in [
            ("CVE-2026-41108", "CVE-2026-41108"),
            (" cve-1999-0001\t", "CVE-1999-0001"),
            ("CVE-2026-123456789", "CVE-2026-123456789"),
            ("CVE-0026-0001", "CVE-0026-0001"),
        ] {
            assert_eq!(CveId::parse(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            "ADV990001",
            "CVE-26-41108",
            "CVE-2026-123",
            "CVE-2026-1234567890",
            "CVE-2026-12a4",
            "CVE-2026",
            "€",
        ] {
            assert_eq!(CveId::parse(text), None, "{text}");
        }
    }
}
