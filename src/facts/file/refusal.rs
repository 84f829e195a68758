//! Data that is complete, but does not replace what there is.

use crate::model::FactsFailure;

/// The reason why new data of a source does not replace the earlier data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsRefusal {
    /// The document is of a lower revision.
    #[error("has a lower revision than the one in use, which stays")]
    Older,
    /// The data lacks more than half of what was there.
    #[error("holds {new} instead of {old} entries; the old data stays")]
    Shrunk {
        /// The number of entries in the new data.
        new: u64,
        /// The number of entries in the old data.
        old: u64,
    },
}

impl FactsRefusal {
    /// The reason as a label value.
    #[must_use]
    pub fn kind(self) -> FactsFailure {
        match self {
            Self::Older => FactsFailure::Older,
            Self::Shrunk { .. } => FactsFailure::Shrunk,
        }
    }

    /// Refuses `new` entries if they are less than half of `old`.
    pub(super) fn unless_half<N: TryInto<u64>>(new: N, old: N) -> Result<(), Self> {
        let [new, old] = [new, old].map(|count| count.try_into().unwrap_or(u64::MAX));
        if new < old.div_ceil(2) { Err(Self::Shrunk { new, old }) } else { Ok(()) }
    }
}
