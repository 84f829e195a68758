//! The download of one file: fetched without the token, read while it arrives, retried after an interruption.
//!
//! Chunks pass through a short channel to a thread that decompresses and reads them, so that a file is never
//! held in memory and a slow reader slows the download. Links are secrets: logs and errors use the number of
//! a file, and the text of a refusal by the storage host is ignored, because it may repeat the link.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout};

use super::builder::{ExportBuilder, FileCount};
use super::list::Link;
use crate::defender::export_file_error::ExportFileError;
use crate::defender::request::transport_failure;
use crate::defender::retry::{PATIENCE, retry_after, whole_seconds};
use crate::defender::{ApiError, Client, ErrorDetail};
use crate::http::{BodySender, body};
use crate::model::ApiOperation;

const ENDPOINT: ApiOperation = ApiOperation::ExportFile;

/// A download that receives fewer bytes than this within `http.timeout` has stalled.
const STALLED_BYTES: usize = 1 << 10;

/// The failure of a file, classified by what to do next.
pub(super) enum DownloadError {
    /// The link has expired; a new one may work.
    Expired(ApiError),
    /// The next attempt may succeed, after the delay that the host requested.
    Transient(ApiError, Option<Duration>),
    /// The next attempt would fail too.
    Lasting(ApiError),
}

/// One attempt to download the file with a number in its list.
#[derive(Clone, Copy)]
pub(super) struct DownloadAttempt {
    file: usize,
    attempt: u32,
    started: Instant,
}

impl DownloadAttempt {
    pub(super) fn start(file: usize, attempt: u32) -> Self {
        Self { file, attempt, started: Instant::now() }
    }
}

impl From<DownloadError> for ApiError {
    fn from(failure: DownloadError) -> Self {
        match failure {
            DownloadError::Expired(error)
            | DownloadError::Transient(error, _)
            | DownloadError::Lasting(error) => error,
        }
    }
}

impl Client {
    /// Reads the file at `link`, number `file` of its list, into `builder`.
    pub(super) async fn read_file(
        &self,
        link: &Link,
        file: usize,
        builder: &mut ExportBuilder,
    ) -> Result<FileCount, DownloadError> {
        let mut attempt = 1;
        loop {
            let (error, hint) =
                match self.try_file(link, DownloadAttempt::start(file, attempt), builder).await {
                    Err(DownloadError::Transient(error, hint)) => (error, hint.unwrap_or_default()),
                    ended => return ended,
                };
            let Some(wait) = self.retry.wait(attempt, self.random()).filter(|_| hint <= PATIENCE) else {
                return Err(DownloadError::Lasting(error));
            };
            let wait = wait.max(hint);
            tracing::debug!(tenant = self.metrics.name(), endpoint = %ENDPOINT, file, attempt, wait_ms = wait.as_millis(), reason = error.kind(), "retrying the download");
            self.metrics.request_retried();
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn try_file(
        &self,
        link: &Link,
        attempt: DownloadAttempt,
        builder: &mut ExportBuilder,
    ) -> Result<FileCount, DownloadError> {
        let file = attempt.file;
        let mut response = self.open_file(link, attempt).await?;
        let (sender, chunks) = body();
        let mut local_builder = std::mem::take(builder);
        let reading = tokio::task::spawn_blocking(move || {
            let count = local_builder.read(chunks);
            (local_builder, count)
        });
        let moved = transfer(&mut response, sender, self.stall).await;
        let (local_builder, count) =
            reading.await.expect("Safe: reading does not panic, and nobody aborts it");
        *builder = local_builder;
        self.download_ended(Some(response.status()), attempt);
        match (moved, count) {
            (Ok(()), Ok(count)) => Ok(count),
            (_, Err(ExportFileError::TooLarge { limit_bytes })) => {
                Err(DownloadError::Lasting(ApiError::TooLarge { endpoint: ENDPOINT, limit_bytes }))
            }
            // Damaged data may have been accepted as rows, so that nothing collected is usable.
            (_, Err(damage @ ExportFileError::NotGzip)) => {
                Err(DownloadError::Lasting(ApiError::Incomplete { file, damage }))
            }
            (Err(error), _) => Err(DownloadError::Transient(error, None)),
            (Ok(()), Err(damage)) => Err(DownloadError::Lasting(ApiError::Incomplete { file, damage })),
        }
    }

    /// Requests the file at `link` and returns after its headers. Only failures are counted here.
    pub(super) async fn open_file(
        &self,
        link: &Link,
        attempt: DownloadAttempt,
    ) -> Result<Response, DownloadError> {
        let sent = timeout(self.stall, self.downloads.get(link.expose().clone()).send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.download_ended(None, attempt);
                let error = transport_failure(ENDPOINT, error);
                let lasting = error.is_lasting();
                return Err(if lasting {
                    DownloadError::Lasting(error)
                } else {
                    DownloadError::Transient(error, None)
                });
            }
            Err(_) => {
                self.download_ended(None, attempt);
                return Err(DownloadError::Transient(ApiError::Timeout { endpoint: ENDPOINT }, None));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        self.download_ended(Some(response.status()), attempt);
        Err(self.classify_file_reply(&response))
    }

    /// Counts a download and logs it without its path, which is part of the secret link.
    pub(super) fn download_ended(&self, status: Option<StatusCode>, attempt: DownloadAttempt) {
        let status = status.map(|status| status.as_u16());
        let DownloadAttempt { file, attempt, started } = attempt;
        let took = started.elapsed();
        self.metrics.request_finished(ENDPOINT, status, took);
        let duration_ms = took.as_millis();
        tracing::debug!(tenant = self.metrics.name(), endpoint = %ENDPOINT, file, attempt, status, duration_ms, "request ended");
    }

    /// Classifies a reply other than a success.
    fn classify_file_reply(&self, response: &Response) -> DownloadError {
        let endpoint = ENDPOINT;
        let (status, detail) = (response.status(), ErrorDetail::default());
        let hint = retry_after(response.headers(), self.clock.now());
        match status {
            StatusCode::FORBIDDEN => DownloadError::Expired(ApiError::Forbidden { endpoint, detail }),
            StatusCode::NOT_FOUND => DownloadError::Expired(ApiError::NotFound { endpoint, detail }),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = whole_seconds(hint.unwrap_or_default());
                DownloadError::Transient(ApiError::Throttled { endpoint, wait, detail }, hint)
            }
            _ if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                DownloadError::Transient(ApiError::Server { endpoint, status, detail }, hint)
            }
            _ => DownloadError::Lasting(ApiError::UnexpectedStatus { endpoint, status, detail }),
        }
    }
}

/// Forwards the body while it arrives fast enough. Returns `Ok` as well if the reader has stopped, because
/// the reader reports the reason.
async fn transfer(response: &mut Response, sender: BodySender, stall: Duration) -> Result<(), ApiError> {
    let (mut left, mut bytes) = (stall, 0);
    loop {
        let waiting_since = Instant::now();
        let chunk = match timeout(left, response.chunk()).await {
            Ok(Ok(chunk)) => chunk.map(Vec::from),
            Ok(Err(error)) => return Err(transport_failure(ENDPOINT, error)),
            Err(_) => return Err(ApiError::Timeout { endpoint: ENDPOINT }),
        };
        bytes += chunk.as_ref().map_or(0, Vec::len);
        // Only the time of the host counts, not the time of the reader.
        left = left.saturating_sub(waiting_since.elapsed());
        if bytes >= STALLED_BYTES {
            (left, bytes) = (stall, 0);
        }
        let is_end = chunk.is_none();
        if sender.send(chunk).await.is_err() || is_end {
            return Ok(());
        }
    }
}
