//! The bulk export: a list of files, each with a part of the vulnerability data of the whole fleet.
//!
//! [`Client::export`] requests the list ([`list`]), fetches the files one after the other ([`download`]),
//! splits them into lines ([`lines`]), decodes the required fields ([`row`]) and collects them by machine and
//! KB ([`builder`]) into an [`Export`] ([`version`]). [`probe`] only verifies that this would work.
//!
//! Guarantees: an export is complete or an error. The list counts against the quota; the files do not, and
//! are fetched without the token. Memory depends on the number of missing updates, not on the size of the
//! files. Everything is bounded in size and time. Links are secrets and do not appear in logs and errors.
//!
//! The module does not remember export versions: the caller names the version that it has.

mod builder;
mod cves;
mod download;
mod lines;
mod list;
mod packed_timestamp;
mod probe;
mod row;
#[cfg(test)]
mod tests;
mod version;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use probe::ListedExport;
pub use version::Export;

use super::{ApiError, Client};
use crate::model::{ApiOperation, MachineId};
use builder::ExportBuilder;
use download::DownloadError;
use list::{FileList, LIST_BYTES};

/// The time limit of a whole export, including the wait for the quota. A large fleet has millions of rows of
/// 1 KB.
const TIME: Duration = Duration::from_hours(2);

/// The requested validity of links in hours, which is the maximum; the default is one hour.
const LINK_HOURS: &str = "6";

/// The number of lists that one export may request. Links that expired twice would expire again, and the API
/// allows few lists per hour.
const LISTS: u32 = 3;

/// The maximum number of files; a longer list is rejected.
const FILES: usize = 100_000;

/// The outcome of an export request.
#[derive(Debug)]
pub enum ExportOutcome {
    /// The newest version is the one that the caller has; nothing was downloaded.
    Unchanged,
    /// The list is of an older version than the one that the caller has; nothing was downloaded.
    Older {
        /// The time at which Defender built that version.
        generated_at: Timestamp,
    },
    /// A new version, complete.
    New(Export),
}

/// An export that is being downloaded.
struct ExportProgress {
    list: FileList,
    /// Paths of the files that were read completely.
    done: HashSet<String>,
    builder: ExportBuilder,
}

impl Client {
    /// Fetches the newest version of the bulk export: the missing updates of the machines in `scope`. `current`
    /// is the time at which the version that the caller has was built.
    ///
    /// # Errors
    /// Any [`ApiError`] except those of pagination (`PageLimit`, `ForeignLink`). A partial export is never
    /// returned. `Forbidden` and `NotFound` of a file mean that neither its link nor two new ones worked.
    pub async fn export(
        &self,
        scope: Arc<HashSet<MachineId>>,
        current: Option<Timestamp>,
    ) -> Result<ExportOutcome, ApiError> {
        let timeout = ApiError::Timeout { endpoint: ApiOperation::Export };
        tokio::time::timeout(TIME, self.read_export(&scope, current)).await.unwrap_or(Err(timeout))
    }

    async fn read_export(
        &self,
        scope: &HashSet<MachineId>,
        current: Option<Timestamp>,
    ) -> Result<ExportOutcome, ApiError> {
        let mut started: Option<ExportProgress> = None;
        let mut lists = 1;
        loop {
            let list = self.file_list().await?;
            // A list without a time counts as built now, and so does a list of the future; otherwise no later
            // version would be newer.
            let now = self.clock.now();
            let generated_at = list.generated_at.map_or(now, |at| at.min(now));
            match current {
                Some(current) if generated_at == current => return Ok(ExportOutcome::Unchanged),
                Some(current) if generated_at < current => return Ok(ExportOutcome::Older { generated_at }),
                _ => {}
            }
            let mut reading = match started.take() {
                Some(reading) if reading.list.is_same_version(&list) => ExportProgress { list, ..reading },
                _ => ExportProgress { list, done: HashSet::new(), builder: ExportBuilder::new(scope) },
            };
            match self.read_files(&mut reading).await {
                Ok(()) => return self.finished(reading.builder, generated_at),
                Err(DownloadError::Expired(_)) if lists < LISTS => {
                    tracing::debug!(tenant = self.metrics.name(), endpoint = %ApiOperation::Export, lists, "links expired; requesting new ones");
                    lists += 1;
                    started = Some(reading);
                }
                Err(
                    DownloadError::Expired(error)
                    | DownloadError::Transient(error, _)
                    | DownloadError::Lasting(error),
                ) => {
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

    /// Reads the files of the list that have not been read yet.
    async fn read_files(&self, reading: &mut ExportProgress) -> Result<(), DownloadError> {
        let ExportProgress { list, done, builder } = reading;
        let files = list.links.len();
        for (link, file) in list.links.iter().zip(1..) {
            if done.contains(link.path()) {
                continue;
            }
            let count = self.read_file(link, file, builder).await?;
            for (reason, lines) in count.rejected() {
                self.metrics.record_rejected(reason, lines);
            }
            if count.lines > 0 && count.rows == 0 {
                let (endpoint, records) = (ApiOperation::ExportFile, count.lines);
                return Err(DownloadError::Lasting(ApiError::Unusable { endpoint, records }));
            }
            tracing::debug!(tenant = self.metrics.name(), endpoint = %ApiOperation::ExportFile, file, files, rows = count.rows, "export file read");
            done.insert(link.path().to_owned());
        }
        Ok(())
    }

    fn finished(&self, builder: ExportBuilder, generated_at: Timestamp) -> Result<ExportOutcome, ApiError> {
        if builder.rows() == 0 {
            return Err(ApiError::Empty);
        }
        let (export, duplicates) = builder.finish(generated_at);
        self.metrics.duplicates_dropped(duplicates);
        Ok(ExportOutcome::New(export))
    }
}

/// Decodes `text` as a list, as a file, and as the content of a gzip file: at once and in pieces of `piece`
/// bytes, which must give equal results. For the fuzzer.
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
        let mut builder = ExportBuilder::new(&scope);
        let count = builder.read(BufReader::with_capacity(piece, &packed[..])).expect("whole gzip");
        let rejected: Vec<_> = count.rejected().collect();
        let (mut export, duplicates) = builder.finish(Timestamp::UNIX_EPOCH);
        let updates = scope.iter().next().and_then(|id| export.take(id));
        (rejected, duplicates, updates, export.rows())
    };
    assert_eq!(read(piece.max(1)), read(1 << 20));
}
