//! One file: fetched without the token, read while it comes, tried again when it breaks off.
//!
//! Chunks go through a short channel to a thread that unpacks and reads them, so a file is never held
//! and a slow reader slows the download. Links are secrets: a file goes by its number here, and what a
//! storage host says about a refusal is not looked at, since it may repeat the link.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout};

use super::builder::{ExportBuilder, FileCount};
use super::lines::ExportFileError;
use super::list::Link;
use crate::defender::request::{PATIENCE, broken, whole_seconds};
use crate::defender::retry::retry_after;
use crate::defender::{ApiError, Client, Detail};
use crate::self_metrics::ApiOperation;

const ENDPOINT: ApiOperation = ApiOperation::ExportFile;

/// Chunks between the download and the thread that reads them; each has at most some 100 KB.
const CHUNKS: usize = 8;

/// A download that brings less than this in `http.timeout` has stalled.
const STALLED_BYTES: usize = 1 << 10;

/// Why a file was not read.
pub(super) enum Failure {
    /// The link is not good any more; a new one may be.
    Expired(ApiError),
    /// May work next time; the host may say when.
    Transient(ApiError, Option<Duration>),
    /// Will not work next time.
    Lasting(ApiError),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Expired(error) | Failure::Transient(error, _) | Failure::Lasting(error) => error,
        }
    }
}

impl Client {
    /// Reads the file behind `link`, number `file` of its list, into `gathering`.
    pub(super) async fn read_file(
        &self,
        link: &Link,
        file: usize,
        gathering: &mut ExportBuilder,
    ) -> Result<FileCount, Failure> {
        let mut attempt = 1;
        loop {
            let (error, hint) = match self.try_file(link, file, gathering).await {
                Err(Failure::Transient(error, hint)) => (error, hint.unwrap_or_default()),
                ended => return ended,
            };
            let Some(wait) = self.retry.wait(attempt, self.random()).filter(|_| hint <= PATIENCE) else {
                return Err(Failure::Lasting(error));
            };
            let wait = wait.max(hint);
            tracing::debug!(tenant = self.metrics.name(), endpoint = %ENDPOINT, file, attempt, wait_ms = wait.as_millis(), reason = error.kind(), "asking again");
            self.metrics.request_retried();
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn try_file(
        &self,
        link: &Link,
        file: usize,
        gathering: &mut ExportBuilder,
    ) -> Result<FileCount, Failure> {
        let started = Instant::now();
        let mut response = self.open_file(link).await?;
        let (sender, chunks) = chunks();
        let mut gathered = std::mem::take(gathering);
        let reading = tokio::task::spawn_blocking(move || {
            let count = gathered.read(chunks);
            (gathered, count)
        });
        let moved = transfer(&mut response, sender, self.stall).await;
        let (gathered, count) = reading.await.expect("Safe: reading does not panic, and nobody aborts it");
        *gathering = gathered;
        self.download_finished(Some(response.status()), started);
        match (moved, count) {
            (Ok(()), Ok(count)) => Ok(count),
            (_, Err(ExportFileError::TooLarge { limit_bytes })) => {
                Err(Failure::Lasting(ApiError::TooLarge { endpoint: ENDPOINT, limit_bytes }))
            }
            // Rubbish may have been taken for rows, so that nothing gathered can be used.
            (_, Err(damage @ ExportFileError::NotGzip)) => {
                Err(Failure::Lasting(ApiError::Incomplete { file, damage }))
            }
            (Err(error), _) => Err(Failure::Transient(error, None)),
            (Ok(()), Err(damage)) => Err(Failure::Lasting(ApiError::Incomplete { file, damage })),
        }
    }

    /// The file behind `link` as far as its headers; only that it does not come is counted here.
    pub(super) async fn open_file(&self, link: &Link) -> Result<Response, Failure> {
        let started = Instant::now();
        let sent = timeout(self.stall, self.downloads.get(link.expose().clone()).send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.download_finished(None, started);
                let error = broken(ENDPOINT, error);
                let lasting = error.is_lasting();
                return Err(if lasting { Failure::Lasting(error) } else { Failure::Transient(error, None) });
            }
            Err(_) => {
                self.download_finished(None, started);
                return Err(Failure::Transient(ApiError::Timeout { endpoint: ENDPOINT }, None));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        self.download_finished(Some(response.status()), started);
        Err(self.file_refused(&response))
    }

    pub(super) fn download_finished(&self, status: Option<StatusCode>, started: Instant) {
        let code = status.map(|status| status.as_u16());
        self.metrics.request_finished(ENDPOINT, code, started.elapsed());
    }

    /// What a reply other than a success means.
    fn file_refused(&self, response: &Response) -> Failure {
        let endpoint = ENDPOINT;
        let (status, detail) = (response.status(), Detail::default());
        let hint = retry_after(response.headers(), self.clock.now());
        match status {
            StatusCode::FORBIDDEN => Failure::Expired(ApiError::Forbidden { endpoint, detail }),
            StatusCode::NOT_FOUND => Failure::Expired(ApiError::NotFound { endpoint, detail }),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = whole_seconds(hint.unwrap_or_default());
                Failure::Transient(ApiError::Throttled { endpoint, wait, detail }, hint)
            }
            _ if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                Failure::Transient(ApiError::Server { endpoint, status, detail }, hint)
            }
            _ => Failure::Lasting(ApiError::UnexpectedStatus { endpoint, status, detail }),
        }
    }
}

/// Passes the body on, while it comes fast enough. Ends well, too, when the reader has given up: that
/// one knows why.
async fn transfer(
    response: &mut Response,
    sender: Sender<Option<Vec<u8>>>,
    stall: Duration,
) -> Result<(), ApiError> {
    let (mut left, mut bytes) = (stall, 0);
    loop {
        let asked = Instant::now();
        let chunk = match timeout(left, response.chunk()).await {
            Ok(Ok(chunk)) => chunk.map(Vec::from),
            Ok(Err(error)) => return Err(broken(ENDPOINT, error)),
            Err(_) => return Err(ApiError::Timeout { endpoint: ENDPOINT }),
        };
        bytes += chunk.as_ref().map_or(0, Vec::len);
        // Only the time that the host took counts; the reader may take its own.
        left = left.saturating_sub(asked.elapsed());
        if bytes >= STALLED_BYTES {
            (left, bytes) = (stall, 0);
        }
        let is_end = chunk.is_none();
        if sender.send(chunk).await.is_err() || is_end {
            return Ok(());
        }
    }
}

/// A body as it comes, for a reader that blocks.
struct Chunks {
    receiver: Receiver<Option<Vec<u8>>>,
    chunk: Vec<u8>,
    consumed: usize,
    is_end: bool,
}

/// Both ends of a body on its way: chunks, then none. A sender that is dropped before that has not
/// sent a whole body.
fn chunks() -> (Sender<Option<Vec<u8>>>, Chunks) {
    let (sender, receiver) = channel(CHUNKS);
    (sender, Chunks { receiver, chunk: Vec::new(), consumed: 0, is_end: false })
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.consumed == self.chunk.len() && !self.is_end {
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => (self.chunk, self.consumed) = (chunk, 0),
                Some(None) => self.is_end = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(&self.chunk[self.consumed..])
    }

    fn consume(&mut self, amount: usize) {
        self.consumed += amount;
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
