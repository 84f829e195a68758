//! Facts about KBs that Defender does not give: severity, exploitation, release, supersedence.
//!
//! [`lookup`] holds the facts in use, as one value that is replaced as a whole.
//! [`file`] holds what was read from every source; the facts in use are made of it.
//! [`msrc`], [`kev`], [`epss`] and [`servicing`] read the data of one source each, [`folder`] all files of a folder.

pub mod epss;
pub mod file;
pub mod folder;
pub mod kev;
pub mod lookup;
pub mod msrc;
mod parse_error;
pub mod servicing;

use std::sync::Arc;

use tokio::sync::watch;

pub use file::FactsFile;
pub use lookup::{Facts, FixedBuild, KbFacts, KnownExploited, ReleaseDocument};
pub use parse_error::ParseError;

/// Gives readers the newest [`Facts`].
pub type FactsReader = watch::Receiver<Arc<Facts>>;

/// A reader of facts that never change.
#[must_use]
pub fn fixed(facts: Facts) -> FactsReader {
    watch::Sender::new(Arc::new(facts)).subscribe()
}
