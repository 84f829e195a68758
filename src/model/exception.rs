//! Accepted risks: missing updates that are accepted until a day.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::{Condition, FactsSource, Source, end_of_day};

/// Missing updates that a user accepts, with a reason and an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// Value of the label `exception`.
    pub name: Arc<str>,
    /// The reason, in the words of the user.
    pub reason: String,
    /// The last day on which it is in effect, in UTC.
    pub until: Date,
    /// The names of the tenants that it is limited to; empty for all.
    pub tenants: Vec<Arc<str>>,
    /// The conditions on a missing update and its machine, all of which have to hold. There may be several of one
    /// kind.
    pub conditions: Vec<Condition>,
    /// The conditions of `not`, which must not all hold together; empty without `not`.
    pub not: Vec<Condition>,
}

impl Exception {
    /// The time at which it ends: 00:00 UTC after its last day.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        end_of_day(self.until)
    }

    /// The seconds from 1970 to its end, which for the last days of the year 9999 is later than the latest
    /// [`Timestamp`]. 0 for an end before 1970.
    #[must_use]
    pub fn end_second(&self) -> u64 {
        let last_day = self.until.duration_since(date(1970, 1, 1)).as_secs();
        u64::try_from(last_day + 24 * 3600).unwrap_or(0)
    }

    /// Returns whether it is in effect at `now`.
    #[must_use]
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        now < self.ends_at()
    }

    /// Returns whether it covers machines of this tenant.
    #[must_use]
    pub fn names_tenant(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|name| **name == *tenant)
    }

    /// The sources of facts that the conditions need in a tenant with this source, in the order of
    /// [`FactsSource::ALL`]. Without one of them, it covers nothing there.
    pub fn needed_facts(&self, source: Source) -> impl Iterator<Item = FactsSource> {
        let needs = move |facts_source: &FactsSource| {
            let mut conditions = self.conditions.iter().chain(&self.not);
            conditions.any(|condition| condition.needed_facts(source).contains(facts_source))
        };
        FactsSource::ALL.into_iter().filter(needs)
    }

    /// Returns whether a condition depends on the update. Otherwise it covers whole machines.
    #[must_use]
    pub fn depends_on_update(&self) -> bool {
        let mut conditions = self.conditions.iter().chain(&self.not);
        conditions.any(|condition| matches!(condition, Condition::Update(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exception_ends_with_its_last_day_in_utc() {
        let exception = |until| Exception {
            name: "lab".into(),
            reason: "isolated".to_owned(),
            until,
            tenants: vec!["contoso".into()],
            conditions: Vec::new(),
            not: Vec::new(),
        };
        let lab = exception(date(2027, 1, 31));
        assert_eq!(lab.ends_at(), "2027-02-01T00:00:00Z".parse().unwrap());
        assert!(lab.is_in_effect("2027-01-31T23:59:59.999Z".parse().unwrap()));
        assert!(!lab.is_in_effect(lab.ends_at()));
        assert!(lab.names_tenant("contoso") && !lab.names_tenant("Contoso"));
        assert_eq!(lab.end_second(), lab.ends_at().as_second().unsigned_abs());
        assert_eq!(exception(Date::MAX).ends_at(), Timestamp::MAX);
        assert_eq!(exception(Date::MAX).end_second(), 253_402_300_800);
        assert_eq!(exception(date(1969, 12, 30)).end_second(), 0);
    }
}
