//! Bodies that are made while they are sent: cut short, trickling, or far too large.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use flate2::write::GzEncoder;
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
pub(super) fn broken(content_type: &'static str, first: Bytes) -> Response<Body> {
    let promised = first.len() + 5_000;
    let mut response = streamed(content_type, first, Then::FailAfterFlush);
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}

/// A body that never ends and takes its time: `drops` over and over, byte by byte.
pub(super) fn dripping(content_type: &'static str, first: Bytes, drops: &'static [u8]) -> Response<Body> {
    let pace = tokio::time::interval(DRIP_PAUSE);
    streamed(content_type, first, Then::Drip { drops, fallen: 0, pace })
}

/// A body of half a gigabyte.
pub(super) fn huge(first: Bytes) -> Response<Body> {
    let piece = Bytes::from_static(&[b' '; 16 << 10]);
    let times = HUGE_BYTES / piece.len();
    streamed("application/json", first, Then::Repeat { piece, times })
}

/// A body of a gzip member over and over, which grows to half a gigabyte. `plain` goes in whole.
pub(super) fn huge_gzip(content_type: &'static str, plain: &[u8]) -> Response<Body> {
    let then = Then::Repeat { piece: gzip(plain), times: HUGE_BYTES / plain.len().max(1) };
    streamed(content_type, Bytes::new(), then)
}

/// The beginning of a gzip body, which ends between two blocks.
pub(super) fn gzip_beginning(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.flush()).ok();
    std::mem::take(encoder.get_mut()).into()
}

/// A whole gzip body, as small as it can be: a bomb is no bomb otherwise.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    encoder.write_all(plain).ok();
    encoder.finish().unwrap_or_default().into()
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
    let mut response = streamed("application/json", gzip_header, then);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn streamed(content_type: &'static str, first: Bytes, then: Then) -> Response<Body> {
    let body = Body::from_stream(ReaderStream::with_capacity(Source { first, then }, 64 << 10));
    reply(StatusCode::OK, content_type, body)
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
    Drip {
        drops: &'static [u8],
        fallen: usize,
        pace: Interval,
    },
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
            Then::Drip { drops, fallen, pace } => {
                ready!(pace.poll_tick(cx));
                buf.put_slice(&[drops[*fallen % drops.len()]]);
                *fallen += 1;
            }
            Then::Repeat { .. } => {}
        }
        Poll::Ready(Ok(()))
    }
}
