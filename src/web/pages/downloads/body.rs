//! The body of a download, which is written while the client reads it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PendingDownload;

/// A client that takes no chunk for this time loses its download. A connection with one request is closed earlier; one
/// with several may stay open.
const STALLED: Duration = Duration::from_mins(1);

/// A body of unknown length.
pub(super) struct DownloadBody {
    /// The chunks; none marks the end. Without it, the download was given up.
    chunks: mpsc::Receiver<Option<Bytes>>,
    /// The task that writes them, which ends with the body.
    _writing: JoinSet<()>,
}

impl DownloadBody {
    /// Starts to write a download, at most two chunks ahead of the client. The slot is free again when the client has
    /// taken everything, has gone, or has stalled.
    pub(super) fn start(pending: PendingDownload, slot: OwnedSemaphorePermit) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let mut writing = JoinSet::new();
        writing.spawn(async move {
            if let Err(reason) = send(pending, &sender).await {
                tracing::debug!(reason, "a download was given up");
            }
            drop(slot);
        });
        Self { chunks, _writing: writing }
    }

    /// The body of an answer to HEAD, which nobody reads. Its length is as unknown as that of the download.
    pub(super) fn unread() -> Self {
        Self { chunks: mpsc::channel(1).1, _writing: JoinSet::new() }
    }
}

async fn send(
    mut pending: PendingDownload,
    sender: &mpsc::Sender<Option<Bytes>>,
) -> Result<(), &'static str> {
    loop {
        // Not on the threads that serve: scrapes have priority.
        let writing = tokio::task::spawn_blocking(move || {
            let chunk = pending.chunk();
            (pending, chunk)
        });
        let chunk;
        (pending, chunk) = writing.await.map_err(|_| "the server stops")?;
        let chunk = chunk.map_err(|_| "its rows cannot be written")?;
        let is_end = chunk.is_none();
        sender.send_timeout(chunk, STALLED).await.map_err(|_| "the client does not read")?;
        if is_end {
            break;
        }
    }
    timeout(STALLED, sender.closed()).await.map_err(|_| "the client does not read its end")
}

impl HttpBody for DownloadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.chunks.poll_recv(cx).map(|chunk| match chunk {
            Some(Some(chunk)) => Some(Ok(Frame::data(chunk))),
            Some(None) => None,
            // The client must not take a part for the whole.
            None => Some(Err(io::Error::other("the download was given up"))),
        })
    }
}
