//! Facts about KBs that Defender does not give: severity, exploitation, release, supersedence.
//!
//! [`lookup`] holds the facts in use, as one value that is replaced as a whole.

pub mod lookup;

use std::sync::Arc;

use tokio::sync::watch;

pub use lookup::{Facts, FixedBuild, KbFacts, KnownExploited, ReleaseDocument};

/// Gives readers the newest [`Facts`].
pub type FactsReader = watch::Receiver<Arc<Facts>>;

/// A reader of facts that never change.
#[must_use]
pub fn fixed(facts: Facts) -> FactsReader {
    watch::Sender::new(Arc::new(facts)).subscribe()
}
