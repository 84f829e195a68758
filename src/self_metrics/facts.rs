//! Events of the facts stage.

use jiff::Timestamp;

use super::{SelfMetrics, number, seconds};
use crate::model::{FactsFailure, FactsOrigin, FactsSource};

const NONE: [&str; 0] = [];

/// The times of the data of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactsTimes {
    /// The source.
    pub source: FactsSource,
    /// The time at which the source published the data, when known.
    pub data_at: Option<Timestamp>,
    /// The time at which the data was fetched, when known.
    pub fetched_at: Option<Timestamp>,
}

impl SelfMetrics {
    /// Records that facts are on. All label sets of failures start at 0.
    pub fn facts_on(&self) {
        for origin in FactsOrigin::ALL {
            for reason in FactsFailure::ALL {
                self.families.facts_failures.with_label_values(&[origin.as_str(), reason.as_str()]);
            }
        }
        self.families.facts_updates.with_label_values(&NONE);
        self.families.facts_unknown_updates.with_label_values(&NONE);
    }

    /// Records that facts are off.
    pub fn facts_off(&self) {
        self.families.facts_failures.reset();
        self.families.facts_updates.reset();
        self.families.facts_unknown_updates.reset();
        self.families.facts_timestamp.reset();
        self.families.facts_last_success.reset();
    }

    /// Records the facts in use: the number of KBs, and the times of each source.
    pub fn facts_loaded(&self, kbs: usize, times: impl IntoIterator<Item = FactsTimes>) {
        self.families.facts_updates.with_label_values(&NONE).set(number(kbs as u64));
        for FactsTimes { source, data_at, fetched_at } in times {
            for (family, at) in
                [(&self.families.facts_timestamp, data_at), (&self.families.facts_last_success, fetched_at)]
            {
                match at {
                    Some(at) => family.with_label_values(&[source.as_str()]).set(seconds(at)),
                    // An error means that there is none.
                    None => drop(family.remove_label_values(&[source.as_str()])),
                }
            }
        }
    }

    /// Records the number of missing KBs without facts.
    pub fn facts_unknown(&self, kbs: usize) {
        self.families.facts_unknown_updates.with_label_values(&NONE).set(number(kbs as u64));
    }

    /// Counts a failure to fetch, read or write facts.
    pub fn facts_failed(&self, origin: FactsOrigin, reason: FactsFailure) {
        self.families.facts_failures.with_label_values(&[origin.as_str(), reason.as_str()]).inc();
    }
}
