//! The facts about a missing update on one machine: the worst of its own and those of its links.
//!
//! A cumulative update lists only the CVEs of its own month. A machine that never installed the exploited update
//! of an earlier month still misses it, so the update that superseded it counts as exploited there.

use crate::facts::{Facts, KbFacts, KnownExploited};
use crate::model::{CvssScore, KbId, VendorSeverity};

/// The worst facts over several KBs. Each is none while no KB has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EffectiveFacts {
    /// True if a KB is exploited, none if that is unknown for one and no other is exploited.
    pub exploited: Option<bool>,
    /// The entries of the KEV catalogue, with the earliest days.
    pub known_exploited: Option<KnownExploited>,
    /// Microsoft's own rating.
    pub vendor_severity: Option<VendorSeverity>,
    /// The highest CVSS base score.
    pub cvss: Option<CvssScore>,
    /// The highest EPSS probability.
    pub epss: Option<f64>,
    /// True if there are facts about one of the KBs.
    pub is_known: bool,
}

impl From<&KbFacts> for EffectiveFacts {
    fn from(facts: &KbFacts) -> Self {
        let KbFacts { exploited, known_exploited, vendor_severity, cvss, epss, .. } = *facts;
        Self { exploited, known_exploited, vendor_severity, cvss, epss, is_known: true }
    }
}

impl EffectiveFacts {
    /// The worst facts over `kbs`.
    #[must_use]
    pub fn of(facts: &Facts, kbs: impl IntoIterator<Item = KbId>) -> Self {
        let of_each = kbs.into_iter().map(|kb| facts.kb(kb).map(Self::from).unwrap_or_default());
        of_each.reduce(Self::worst).unwrap_or_default()
    }

    /// The worst of both.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let exploited = match (self.exploited, other.exploited) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        };
        let known_exploited = match (self.known_exploited, other.known_exploited) {
            (Some(one), Some(two)) => Some(KnownExploited {
                cves: one.cves + two.cves,
                since: one.since.min(two.since),
                due: one.due.into_iter().chain(two.due).min(),
                ransomware: one.ransomware || two.ransomware,
            }),
            (one, two) => one.or(two),
        };
        let epss = match (self.epss, other.epss) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        };
        Self {
            exploited,
            known_exploited,
            vendor_severity: self.vendor_severity.max(other.vendor_severity),
            cvss: self.cvss.max(other.cvss),
            epss,
            is_known: self.is_known || other.is_known,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::FactsSource;

    fn kb(number: u32) -> KbId {
        KbId::new(number).unwrap()
    }

    fn known(cves: u32, since: i64, due: Option<i64>) -> KnownExploited {
        let at = |second| Timestamp::from_second(second).unwrap();
        KnownExploited { cves, since: at(since), due: due.map(at), ransomware: false }
    }

    #[test]
    fn facts_are_the_worst_of_all() {
        let june = KbFacts {
            exploited: Some(true),
            known_exploited: Some(known(1, 5, None)),
            vendor_severity: Some(VendorSeverity::Important),
            cvss: CvssScore::new(9.8),
            epss: Some(0.5),
            ..KbFacts::default()
        };
        let july = KbFacts {
            exploited: Some(false),
            known_exploited: Some(known(2, 3, Some(9))),
            vendor_severity: Some(VendorSeverity::Critical),
            cvss: CvssScore::new(7.5),
            ..KbFacts::default()
        };
        let facts = Facts::new([FactsSource::Msrc], [(kb(5_000_006), june), (kb(5_000_007), july)]);
        let expected = EffectiveFacts {
            exploited: Some(true),
            known_exploited: Some(known(3, 3, Some(9))),
            vendor_severity: Some(VendorSeverity::Critical),
            cvss: CvssScore::new(9.8),
            epss: Some(0.5),
            is_known: true,
        };
        assert_eq!(EffectiveFacts::of(&facts, [kb(5_000_007), kb(5_000_006), kb(5_000_001)]), expected);
        assert_eq!(EffectiveFacts::of(&facts, [kb(5_000_001)]), EffectiveFacts::default());
    }

    #[test]
    fn exploitation_is_unknown_if_one_update_is_unknown() {
        let of = |exploited| EffectiveFacts { exploited, ..EffectiveFacts::default() };
        for (one, two, worst) in [
            (Some(false), Some(false), Some(false)),
            (Some(false), None, None),
            (None, Some(true), Some(true)),
            (None, None, None),
        ] {
            assert_eq!(of(one).worst(of(two)).exploited, worst);
            assert_eq!(of(two).worst(of(one)).exploited, worst);
        }
    }
}
