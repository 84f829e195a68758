//! Response bodies generated while they are sent: truncated, slow, or much too large.

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

/// Size of a body that is too large.
const HUGE_BYTES: usize = 512 << 20;

/// Bytes of white space in one piece of the compressed body.
const PIECE_BYTES: usize = 1 << 20;

const DRIP_PAUSE: Duration = Duration::from_millis(250);

/// A body that ends before its `Content-Length`.
pub(super) fn broken(content_type: &'static str, first: Bytes) -> Response<Body> {
    let promised = first.len() + 5_000;
    let mut response = streamed(content_type, first, Remainder::FailAfterFlush);
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}

/// A slow body that never ends: it repeats `drops`, byte by byte.
pub(super) fn dripping(content_type: &'static str, first: Bytes, drops: &'static [u8]) -> Response<Body> {
    let pace = tokio::time::interval(DRIP_PAUSE);
    streamed(content_type, first, Remainder::Drip { drops, sent: 0, pace })
}

/// A body of half a gigabyte.
pub(super) fn huge(first: Bytes) -> Response<Body> {
    let piece = Bytes::from_static(&[b' '; 16 << 10]);
    let times = HUGE_BYTES / piece.len();
    streamed("application/json", first, Remainder::Repeat { piece, times })
}

/// A body that repeats a gzip member with the contents `plain`, up to half a gigabyte when unpacked.
pub(super) fn huge_gzip(content_type: &'static str, plain: &[u8]) -> Response<Body> {
    let remainder = Remainder::Repeat { piece: gzip(plain), times: HUGE_BYTES / plain.len().max(1) };
    streamed(content_type, Bytes::new(), remainder)
}

/// The beginning of a gzip body, which ends between two blocks.
pub(super) fn gzip_beginning(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.flush()).ok();
    std::mem::take(encoder.get_mut()).into()
}

/// A complete gzip body, as small as possible so that it can serve as a decompression bomb.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    encoder.write_all(plain).ok();
    encoder.finish().unwrap_or_default().into()
}

/// A gzip body of half a megabyte that expands to a thousand times its size, without an end.
pub(super) fn compressed_bomb() -> Response<Body> {
    // A full flush makes each piece independent of the others, so that one piece can be repeated.
    let mut piece = Vec::with_capacity(64 << 10);
    Compress::new(Compression::fast(), false)
        .compress_vec(&vec![b' '; PIECE_BYTES], &mut piece, FlushCompress::Full)
        .ok();
    let gzip_header = Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let remainder = Remainder::Repeat { piece: piece.into(), times: HUGE_BYTES / PIECE_BYTES };
    let mut response = streamed("application/json", gzip_header, remainder);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn streamed(content_type: &'static str, first: Bytes, remainder: Remainder) -> Response<Body> {
    let body = Body::from_stream(ReaderStream::with_capacity(FaultBody { first, remainder }, 64 << 10));
    reply(StatusCode::OK, content_type, body)
}

/// A body with a correct beginning.
struct FaultBody {
    first: Bytes,
    remainder: Remainder,
}

enum Remainder {
    /// Lets the server send its buffer before it sees the failure.
    FailAfterFlush,
    Fail,
    Drip {
        drops: &'static [u8],
        sent: usize,
        pace: Interval,
    },
    Repeat {
        piece: Bytes,
        times: usize,
    },
}

impl AsyncRead for FaultBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let source = &mut *self;
        if let Remainder::Repeat { piece, times: times @ 1.. } = &mut source.remainder
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
        match &mut source.remainder {
            Remainder::FailAfterFlush => {
                source.remainder = Remainder::Fail;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Remainder::Fail => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Remainder::Drip { drops, sent, pace } => {
                ready!(pace.poll_tick(cx));
                buf.put_slice(&[drops[*sent % drops.len()]]);
                *sent += 1;
            }
            Remainder::Repeat { .. } => {}
        }
        Poll::Ready(Ok(()))
    }
}
