//! Facts about KBs that Defender does not give: severity, exploitation, release, supersedence.
//!
//! [`lookup`] holds the facts in use, as one value that is replaced as a whole.
//! [`mod@file`] holds what was read from every source; the facts in use are made of it.
//! [`updater`] keeps both up to date: [`fetch`] sends requests, [`update`] fetches each source, and [`disk`] reads and
//! writes the file.
//! [`msrc`], [`kev`], [`epss`] and [`servicing`] read the data of one source each, [`folder`] all files of a folder;
//! [`merge`] makes facts by KB of them.

mod date;
pub mod disk;
mod documents;
pub mod epss;
mod error;
mod failure_log;
pub mod fetch;
pub mod file;
pub mod folder;
mod input;
mod job;
pub mod kev;
mod lenient;
pub mod lookup;
mod merge;
mod missing;
pub mod msrc;
mod parse_error;
mod schedule;
pub mod servicing;
mod servicing_table;
mod settings;
pub mod update;
mod updater;

use std::sync::Arc;

use tokio::sync::watch;

pub use crate::model::FixedBuild;
pub use error::SourceError;
pub use file::FactsFile;
pub use lookup::{CveFacts, Facts, KbFacts, KnownExploited, ReleaseDocument};
pub use missing::{MissingKbs, without_facts};
pub use parse_error::ParseError;
pub use servicing_table::{ServicingTable, VersionServicing, is_server};
pub use settings::FactsSettings;
pub use updater::{FactsControl, FactsUpdater, facts};

/// Gives readers the newest [`Facts`].
pub type FactsReader = watch::Receiver<Arc<Facts>>;

/// A reader of facts that never change.
#[must_use]
pub fn fixed(facts: Facts) -> FactsReader {
    watch::Sender::new(Arc::new(facts)).subscribe()
}

/// Feeds `data` to one of the readers of catalogues, selected by the first byte. A document must be equal after it was
/// written to a facts file and read. For the fuzzer.
#[cfg(fuzzing)]
pub fn read_anything(data: &[u8]) {
    use jiff::Timestamp;

    let Some((choice, body)) = data.split_first() else { return };
    let mut file = FactsFile::default();
    match choice % 6 {
        0 => drop(msrc::read_index(body)),
        1 => {
            let Ok(document) = msrc::read_any_document(body) else { return };
            file.put_document(document, Timestamp::UNIX_EPOCH).expect("there is no older document");
            let mut written = Vec::new();
            file.write(&mut written).expect("memory can be written");
            assert_eq!(FactsFile::read(&written[..]).expect("a file that was just written"), file);
            drop(file.facts());
        }
        2 => drop(kev::read(body)),
        3 => drop(epss::read(body, &|_| true)),
        4 => {
            let product = servicing::ServicedProduct::Windows;
            let Ok(servicing) = servicing::read(body, product) else { return };
            let fetched = file::Fetched { at: Timestamp::UNIX_EPOCH, data: servicing };
            file.servicing.insert(product, fetched);
            drop(file.facts());
        }
        _ => drop(FactsFile::read(body).map(|file| file.facts())),
    }
}
