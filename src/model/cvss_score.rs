//! CVSS scores and the rating that follows from one.

use std::fmt;

use super::Severity;

/// A CVSS base score above 0, in tenths: 0.1 to 10.0. A score of 0.0 rates nothing (CVSS v3.1, section 5) and is
/// no score here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CvssScore(u8);

impl CvssScore {
    /// The score, or none if it is not a number above 0 and up to 10. Further decimals are rounded.
    #[must_use]
    pub fn new(score: f64) -> Option<Self> {
        let tenths = (score * 10.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 100")]
        (1.0..=100.0).contains(&tenths).then_some(Self(tenths as u8))
    }

    /// The score in tenths, from 1 to 100.
    #[must_use]
    pub fn tenths(self) -> u8 {
        self.0
    }

    /// The score of a number of tenths, or none if it is not from 1 to 100.
    #[must_use]
    pub fn from_tenths(tenths: u8) -> Option<Self> {
        (1..=100).contains(&tenths).then_some(Self(tenths))
    }

    /// The qualitative rating of the score (CVSS v3.1, section 5).
    #[must_use]
    pub fn severity(self) -> Severity {
        match self.0 {
            90.. => Severity::Critical,
            70.. => Severity::High,
            40.. => Severity::Medium,
            _ => Severity::Low,
        }
    }
}

impl fmt::Display for CvssScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_has_the_rating_of_its_range() {
        for (score, rating) in [
            (0.1, "low"),
            (3.9, "low"),
            (4.0, "medium"),
            (6.9, "medium"),
            (7.0, "high"),
            (8.9, "high"),
            (9.0, "critical"),
            (10.0, "critical"),
        ] {
            let parsed = CvssScore::new(score).unwrap();
            assert_eq!(parsed.severity().as_str(), rating, "{score}");
            assert_eq!(parsed.to_string(), format!("{score:.1}"));
        }
    }

    #[test]
    fn number_out_of_range_is_no_score() {
        for score in [0.0, -1.0, 10.1, f64::NAN, f64::INFINITY] {
            assert_eq!(CvssScore::new(score), None, "{score}");
        }
        assert_eq!(CvssScore::from_tenths(0), None);
        assert_eq!(CvssScore::from_tenths(101), None);
    }
}
