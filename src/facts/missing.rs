//! The KBs that the fleets miss, and the documents that their titles name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Facts;
use crate::model::{KbId, MonthlyBatch};

/// The KBs that the fleets miss, each with the titles that Defender gives it.
pub type MissingKbs = BTreeMap<KbId, BTreeSet<Arc<str>>>;

/// The number of missing KBs without facts.
#[must_use]
pub fn without_facts(missing: &MissingKbs, facts: &Facts) -> usize {
    missing.keys().filter(|&&kb| facts.kb(kb).is_none()).count()
}

/// The months that the titles of missing KBs without facts name, the newest first.
pub(super) fn named_months(missing: &MissingKbs, facts: &Facts) -> Vec<MonthlyBatch> {
    let unknown = missing.iter().filter(|(kb, _)| facts.kb(**kb).is_none());
    let months = unknown.flat_map(|(_, titles)| titles).filter_map(|title| MonthlyBatch::of_title(title));
    months.collect::<BTreeSet<_>>().into_iter().rev().collect()
}

/// Returns whether `new` lacks more than half of the missing KBs that `old` knows.
pub(super) fn is_shrunken(missing: &MissingKbs, old: &Facts, new: &Facts) -> bool {
    let known = || missing.keys().filter(|&&kb| old.kb(kb).is_some());
    let lost = known().filter(|&&kb| new.kb(kb).is_none()).count();
    2 * lost > known().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::KbFacts;
    use crate::model::FactsSource;

    fn kbs(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = KbId> {
        numbers.into_iter().map(|number| KbId::new(number).unwrap())
    }

    fn facts(numbers: impl IntoIterator<Item = u32>) -> Facts {
        Facts::new([FactsSource::Msrc], kbs(numbers).map(|kb| (kb, KbFacts::default())))
    }

    fn missing(titles: &[(u32, &str)]) -> MissingKbs {
        titles
            .iter()
            .map(|(kb, title)| (KbId::new(*kb).unwrap(), BTreeSet::from([(*title).into()])))
            .collect()
    }

    #[test]
    fn months_are_those_of_kbs_without_facts() {
        let missing = missing(&[
            (5_000_001, "June 2026 Security Updates"),
            (5_000_002, "Microsoft may 2017 Security Updates"),
            (5_000_003, "March 2020 Security Updates"),
            (5_000_004, "Servicing Stack Update"),
            (5_000_005, "June 2026 Security Updates"),
        ]);
        let facts = facts([5_000_003, 5_000_009]);
        let months: Vec<_> = named_months(&missing, &facts).iter().map(ToString::to_string).collect();
        assert_eq!(months, ["2026-Jun", "2017-May"]);
        assert_eq!(without_facts(&missing, &facts), 4);
    }

    #[test]
    fn facts_are_shrunken_without_more_than_half_of_the_missing_kbs() {
        let missing = missing(&[1, 2, 3, 4, 5].map(|number| (5_000_000 + number, "")));
        let old = facts(5_000_001..5_000_005);
        for (kept, expected) in [(0, true), (1, true), (2, false), (3, false), (4, false)] {
            let new = facts((5_000_001..5_000_001 + kept).chain(5_000_100..5_000_200));
            assert_eq!(is_shrunken(&missing, &old, &new), expected, "{kept} of 4");
        }
        assert!(!is_shrunken(&missing, &Facts::default(), &Facts::default()), "nothing was known");
        assert!(!is_shrunken(&MissingKbs::new(), &old, &Facts::default()), "nothing is missing");
    }
}
