//! Bodies that are made while they are sent: cut short, trickling, or far too large.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Interval;
use tokio_util::io::ReaderStream;

use super::replies::reply;

/// What a body that is too large comes to.
const HUGE_BYTES: usize = 512 << 20;

/// White space that one piece of the compressed body holds.
const PIECE_BYTES: usize = 1 << 20;

const DRIP_PAUSE: Duration = Duration::from_millis(250);

/// A body that ends before its `Content-Length`.
pub(super) fn broken(first: Bytes) -> Response<Body> {
    let promised = first.len() + 5_000;
    let mut response = streamed(first, Then::FailAfterFlush);
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}

/// A body that never ends and takes its time.
pub(super) fn dripping(first: Bytes) -> Response<Body> {
    streamed(first, Then::Drip(tokio::time::interval(DRIP_PAUSE)))
}

/// A body of half a gigabyte.
pub(super) fn huge(first: Bytes) -> Response<Body> {
    let piece = Bytes::from_static(&[b' '; 16 << 10]);
    let times = HUGE_BYTES / piece.len();
    streamed(first, Then::Repeat { piece, times })
}

/// A gzip body of half a megabyte that holds a thousand times as much, and has no end.
pub(super) fn compressed_bomb() -> Response<Body> {
    // A full flush makes each piece independent of the others, so one can be sent again and again.
    let mut piece = Vec::with_capacity(64 << 10);
    Compress::new(Compression::fast(), false)
        .compress_vec(&vec![b' '; PIECE_BYTES], &mut piece, FlushCompress::Full)
        .ok();
    let gzip_header = Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let then = Then::Repeat { piece: piece.into(), times: HUGE_BYTES / PIECE_BYTES };
    let mut response = streamed(gzip_header, then);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn streamed(first: Bytes, then: Then) -> Response<Body> {
    let body = Body::from_stream(ReaderStream::with_capacity(Source { first, then }, 64 << 10));
    reply(StatusCode::OK, "application/json", body)
}

/// A body that starts well.
struct Source {
    first: Bytes,
    then: Then,
}

enum Then {
    /// Lets the server send what it has before it learns of the failure.
    FailAfterFlush,
    Fail,
    Drip(Interval),
    Repeat {
        piece: Bytes,
        times: usize,
    },
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let source = &mut *self;
        if let Then::Repeat { piece, times: times @ 1.. } = &mut source.then
            && source.first.is_empty()
        {
            *times -= 1;
            source.first = piece.clone();
        }
        if !source.first.is_empty() {
            let now = source.first.len().min(buf.remaining());
            buf.put_slice(&source.first.split_to(now));
            return Poll::Ready(Ok(()));
        }
        match &mut source.then {
            Then::FailAfterFlush => {
                source.then = Then::Fail;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Then::Fail => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Then::Drip(interval) => {
                ready!(interval.poll_tick(cx));
                buf.put_slice(b" ");
            }
            Then::Repeat { .. } => {}
        }
        Poll::Ready(Ok(()))
    }
}
