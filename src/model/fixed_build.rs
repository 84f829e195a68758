//! Windows builds.

use std::fmt;

/// A Windows build with an update, such as 10.0.26100.8655.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedBuild {
    /// The build, such as 26100.
    pub build: u32,
    /// The revision, such as 8655.
    pub revision: u32,
}

impl FixedBuild {
    /// Parses a version of four numbers, such as `10.0.26100.8655`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u32>> = text.trim().split('.').map(|number| number.parse().ok()).collect();
        let [_, _, build, revision] = numbers?[..] else { return None };
        Some(Self { build, revision })
    }

    /// Parses a version of Windows: 10.0, or 6.0 to 6.3 before Windows 10. Other software has versions of four numbers
    /// as well.
    #[must_use]
    pub fn of_windows(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, _] = parts[..] else { return None };
        let kernel = matches!((major, minor), ("10", "0") | ("6", "0" | "1" | "2" | "3"));
        let first_build = if major == "10" { Self::FIRST_OF_WINDOWS_10 } else { 6000 };
        kernel.then(|| Self::parse(text)).flatten().filter(|build| build.build >= first_build)
    }

    /// Returns whether it is a build of Windows 10 or later, of which every update contains all earlier ones.
    #[must_use]
    pub fn is_cumulative(self) -> bool {
        self.build >= Self::FIRST_OF_WINDOWS_10
    }

    /// The build of the first Windows 10.
    const FIRST_OF_WINDOWS_10: u32 = 10_240;
}

impl fmt::Display for FixedBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.build, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_is_a_version_of_four_numbers() {
        assert_eq!(FixedBuild::parse(" 10.0.26100.8655"), Some(FixedBuild { build: 26_100, revision: 8655 }));
        assert_eq!(FixedBuild::of_windows("10.0.26100.8655"), FixedBuild::parse("10.0.26100.8655"));
        assert_eq!(FixedBuild::of_windows("16.0.10417.20009"), None);
        for text in ["", "10.0.26100", "2.0.50727.9183 & 3.0.30729.9169", "10.0.26100.8655.1", "10.0.a.1"] {
            assert_eq!(FixedBuild::parse(text), None, "{text}");
        }
    }
}
