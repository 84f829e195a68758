//! A number of months of release documents.

use std::num::NonZeroU32;

/// The months of which release documents are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Months {
    /// This many months up to the newest one.
    Last(NonZeroU32),
    /// Every month.
    All,
}
