//! The bulk export: one list of files, each with a part of what Defender knows of the whole fleet.
//!
//! [`Client::export`] asks for the list ([`list`]), fetches the files one after the other
//! ([`download`]), splits them into lines ([`lines`]), reads the few fields that count ([`row`]) and
//! gathers them by machine and KB ([`gather`]) into an [`Export`] ([`snapshot`]). [`probe`] only looks
//! whether that would work.
//!
//! It promises: an export is whole or an error, never a part; the list counts against the quota, the
//! files do not and never see the token; memory depends on the number of findings, not on the size of
//! the files; everything is bounded in size and time; links are secrets and stay out of logs and errors.
//!
//! It does not remember snapshots: the caller says which one it has.

mod builder;
mod cves;
mod download;
mod lines;
mod list;
mod packed_timestamp;
mod probe;
mod row;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use lines::ExportFileError;
pub use probe::ListedExport;
pub use snapshot::Export;

use super::{ApiError, Client};
use crate::fleet::MachineId;
use crate::self_metrics::ApiOperation;
use builder::ExportBuilder;
use download::Failure;
use list::{FileList, LIST_BYTES};

/// Time for a whole export, waiting for the quota included: a large fleet has millions of rows of 1 KB.
const TIME: Duration = Duration::from_hours(2);

/// Links are good for so long, the most that can be asked for; the default is one hour.
const LINK_HOURS: &str = "6";

/// How many lists one export may ask for: links that expire twice in a row will expire again, and the
/// API allows few lists an hour.
const LISTS: u32 = 3;

/// More files than this are no export.
const FILES: usize = 100_000;

/// What an export brought.
#[derive(Debug)]
pub enum ExportOutcome {
    /// The newest snapshot is the one that is known; nothing was downloaded.
    Unchanged,
    /// The list names a snapshot older than the one that is known; nothing was downloaded.
    Older {
        /// When that was built.
        generated_at: Timestamp,
    },
    /// Another snapshot, whole.
    New(Export),
}

/// An export on its way.
struct Reading {
    list: FileList,
    /// Paths of the files that were read whole.
    done: HashSet<String>,
    gathering: ExportBuilder,
}

impl Client {
    /// The newest snapshot of the bulk export: the findings of the machines in `scope`. `known` is when
    /// the snapshot that is in force was built.
    ///
    /// # Errors
    /// Any [`ApiError`] but those of paging (`PageLimit`, `ForeignLink`). Part of an export is never
    /// returned. `Forbidden` and `NotFound` of a file mean that its link did not work, nor two new ones.
    pub async fn export(
        &self,
        scope: Arc<HashSet<MachineId>>,
        known: Option<Timestamp>,
    ) -> Result<ExportOutcome, ApiError> {
        let timeout = ApiError::Timeout { endpoint: ApiOperation::Export };
        tokio::time::timeout(TIME, self.read_export(&scope, known)).await.unwrap_or(Err(timeout))
    }

    async fn read_export(
        &self,
        scope: &HashSet<MachineId>,
        known: Option<Timestamp>,
    ) -> Result<ExportOutcome, ApiError> {
        let mut started: Option<Reading> = None;
        let mut lists = 1;
        loop {
            let list = self.file_list().await?;
            // A list that does not tell its time is as new as it can be: it was just given. One of a time to
            // come is no newer, or nothing after it would ever be.
            let now = self.clock.now();
            let generated_at = list.generated_at.map_or(now, |at| at.min(now));
            match known {
                Some(known) if generated_at == known => return Ok(ExportOutcome::Unchanged),
                Some(known) if generated_at < known => return Ok(ExportOutcome::Older { generated_at }),
                _ => {}
            }
            let mut reading = match started.take() {
                Some(reading) if reading.list.is_same_snapshot(&list) => Reading { list, ..reading },
                _ => Reading { list, done: HashSet::new(), gathering: ExportBuilder::new(scope) },
            };
            match self.read_files(&mut reading).await {
                Ok(()) => return self.finished(reading.gathering, generated_at),
                Err(Failure::Expired(_)) if lists < LISTS => {
                    tracing::debug!(tenant = self.metrics.name(), endpoint = %ApiOperation::Export, lists, "links expired, asking for new ones");
                    lists += 1;
                    started = Some(reading);
                }
                Err(Failure::Expired(error) | Failure::Transient(error, _) | Failure::Lasting(error)) => {
                    return Err(error);
                }
            }
        }
    }

    async fn file_list(&self) -> Result<FileList, ApiError> {
        let path = "/api/machines/SoftwareVulnerabilitiesExport";
        let url = self.url(path, &[("sasValidHours", LINK_HOURS)]);
        let body = self.get(ApiOperation::Export, &url, LIST_BYTES).await?;
        // The configuration allows http for loopback addresses only.
        let list = FileList::decode(&body, self.api_url.scheme() == "http")?;
        if list.links.len() > FILES {
            return Err(ApiError::TooLarge { endpoint: ApiOperation::Export, limit_bytes: LIST_BYTES });
        }
        Ok(list)
    }

    /// Reads the files of the list that were not read yet.
    async fn read_files(&self, reading: &mut Reading) -> Result<(), Failure> {
        let Reading { list, done, gathering } = reading;
        let files = list.links.len();
        for (link, file) in list.links.iter().zip(1..) {
            if done.contains(link.path()) {
                continue;
            }
            let count = self.read_file(link, file, gathering).await?;
            for (reason, lines) in count.rejected() {
                self.metrics.record_rejected(reason, lines);
            }
            if count.lines > 0 && count.rows == 0 {
                let (endpoint, records) = (ApiOperation::ExportFile, count.lines);
                return Err(Failure::Lasting(ApiError::Unusable { endpoint, records }));
            }
            tracing::debug!(tenant = self.metrics.name(), endpoint = %ApiOperation::ExportFile, file, files, rows = count.rows, "read a file");
            done.insert(link.path().to_owned());
        }
        Ok(())
    }

    fn finished(&self, gathering: ExportBuilder, generated_at: Timestamp) -> Result<ExportOutcome, ApiError> {
        if gathering.rows() == 0 {
            return Err(ApiError::Empty);
        }
        let (export, duplicates) = gathering.finish(generated_at);
        self.metrics.duplicates_dropped(duplicates);
        Ok(ExportOutcome::New(export))
    }
}

/// Reads `text` as a list, as a file, and packed as the text of a file: whole and in pieces of `piece`
/// bytes, which must come to the same. For the fuzzer.
#[cfg(fuzzing)]
pub(super) fn read_anything(text: &[u8], piece: usize) {
    use std::io::{BufReader, Write};

    drop(FileList::decode(text, true));
    let scope = HashSet::from_iter(MachineId::parse("ab"));
    drop(ExportBuilder::new(&scope).read(text));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(text).expect("Safe: memory takes it");
    let packed = packed.finish().expect("Safe: memory takes it");
    let read = |piece: usize| {
        let mut gathering = ExportBuilder::new(&scope);
        let count = gathering.read(BufReader::with_capacity(piece, &packed[..])).expect("whole gzip");
        let rejected: Vec<_> = count.rejected().collect();
        let (mut export, duplicates) = gathering.finish(Timestamp::UNIX_EPOCH);
        let findings = scope.iter().next().and_then(|id| export.take(id));
        (rejected, duplicates, findings, export.rows())
    };
    assert_eq!(read(piece.max(1)), read(1 << 20));
}
