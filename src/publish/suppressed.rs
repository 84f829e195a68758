//! The log lines about suppressed series.

use crate::metrics::SeriesBudget;
use crate::model::DetailLevel;

/// Logs when series begin to be suppressed, when other levels are affected than before, and when none is
/// suppressed any more.
#[derive(Debug, Default)]
pub(super) struct SuppressedLog {
    logged: Option<Suppressed>,
}

/// The extent of a suppression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suppressed {
    deepest: DetailLevel,
    /// True for each level of which series are suppressed.
    levels: [bool; DetailLevel::ALL.len()],
}

impl SuppressedLog {
    /// Compares `budget` with what was logged last, and logs a change.
    pub(super) fn update(&mut self, budget: &SeriesBudget) {
        let SeriesBudget { limit, wanted, deepest, series, suppressed } = budget;
        let left_out: u64 = suppressed.iter().sum();
        let total = left_out + series.iter().sum::<u64>();
        let levels = suppressed.map(|series| series > 0);
        let current = (left_out > 0).then_some(Suppressed { deepest: *deepest, levels });
        match current {
            _ if current == self.logged => {}
            Some(_) => tracing::warn!(
                limit,
                series = total,
                left_out,
                wanted = wanted.as_str(),
                served = deepest.as_str(),
                "series limit reached; suppressing series: raise `metrics.series_limit` or lower `metrics.detail`"
            ),
            None => tracing::info!(
                limit,
                series = total,
                served = deepest.as_str(),
                "all series are within the limit again; none is suppressed"
            ),
        }
        self.logged = current;
    }
}
