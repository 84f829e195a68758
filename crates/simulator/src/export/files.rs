//! A file of the export as a body: written, compressed and sent piece by piece.
//!
//! No file is ever held: a piece of some hundred kilobytes is made on a blocking thread while the one before
//! is being sent, and none when the client is slow or gone. The fleet is locked for a batch of machines at a
//! time. A machine that is removed meanwhile may shift others by a place, as a snapshot in the making would
//! not be; nobody does both at once.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::io::ReaderStream;

use super::assessment::Assessment;
use super::findings::Findings;
use super::rows::Lines;
use super::snapshot::Snapshot;
use super::subject::Subject;
use crate::Awkwardness;
use crate::control::Shared;

/// A batch ends at so many bytes of rows, or at so many machines looked at.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_MACHINES: usize = 1_000;

/// In an awkward export the second file is of many gzip members, one for so many machines.
const MEMBER_MACHINES: usize = 16;

/// Compressed bytes that go out together.
const PIECE_BYTES: usize = 64 << 10;

/// Makes one file, from its first machine to its last.
pub(super) struct FileWriter {
    shared: Arc<Shared>,
    snapshot: Snapshot,
    file: usize,
    files: usize,
    /// The next machine's place; none after the last.
    place: Option<usize>,
    findings: Findings,
    lines: Lines,
    /// None when the file is complete.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl FileWriter {
    pub(super) fn new(shared: Arc<Shared>, snapshot: Snapshot, file: usize) -> Self {
        let files = shared.exports().files();
        Self {
            findings: Findings::new(shared.rows_per_update),
            shared,
            snapshot,
            file,
            files,
            place: Some(0),
            lines: Lines::default(),
            encoder: Some(encoder(Vec::new())),
        }
    }

    /// The next compressed bytes; none when all have been made.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let mut encoder = self.encoder.take()?;
        while encoder.get_ref().len() < PIECE_BYTES {
            let last = self.batch();
            // Writing to memory does not fail.
            encoder.write_all(&self.lines.bytes).ok()?;
            self.lines.bytes.clear();
            if last {
                return encoder.finish().ok().map(Bytes::from);
            }
            if self.has_members() {
                encoder = self::encoder(encoder.finish().ok()?);
            }
        }
        let piece = std::mem::take(encoder.get_mut());
        self.encoder = Some(encoder);
        Some(piece.into())
    }

    fn has_members(&self) -> bool {
        self.awkward() && self.file == 1.min(self.files - 1)
    }

    fn awkward(&self) -> bool {
        self.shared.awkwardness == Awkwardness::Real
    }

    /// Writes the rows of some machines; whether they were the last.
    fn batch(&mut self) -> bool {
        let mut repeated = Vec::new();
        let mut place = self.place.take();
        let mut looked_at = 0;
        let most = if self.has_members() { MEMBER_MACHINES } else { BATCH_MACHINES };
        let awkward = self.awkward();
        let fleet = self.shared.fleet();
        let mut assessment = Assessment {
            lines: &mut self.lines,
            findings: &mut self.findings,
            repeated: &mut repeated,
            awkward,
            generated: self.snapshot.generated,
        };
        while let Some(current) = place
            && looked_at < most
            && assessment.lines.bytes.len() < BATCH_BYTES
        {
            looked_at += 1;
            place = (current + 1 < fleet.places()).then_some(current + 1);
            // The rows of some machines are spread over two files.
            let spread = assessment.awkward && current % 10 == 6;
            let here = |part: usize| (current + if spread { part % 2 } else { 0 }) % self.files == self.file;
            if (here(0) || here(1))
                && let Some(subject) =
                    Subject::at(&fleet, current, self.snapshot.day, self.snapshot.generated)
            {
                assessment.write(&subject, here);
            }
        }
        drop(fleet);
        for row in repeated {
            self.lines.line(&row);
        }
        self.place = place;
        if place.is_none() && !awkward {
            self.lines.end_line();
        }
        place.is_none()
    }
}

fn encoder(into: Vec<u8>) -> GzEncoder<Vec<u8>> {
    GzEncoder::new(into, Compression::fast())
}

/// The rest of a file as a body.
pub(super) fn body(writer: FileWriter) -> Body {
    let download = Download { made: Bytes::new(), making: Some(make(writer)) };
    Body::from_stream(ReaderStream::with_capacity(download, PIECE_BYTES))
}

type Making = JoinHandle<(FileWriter, Option<Bytes>)>;

fn make(mut writer: FileWriter) -> Making {
    spawn_blocking(move || {
        let piece = writer.next_piece();
        (writer, piece)
    })
}

struct Download {
    made: Bytes,
    /// None after the end.
    making: Option<Making>,
}

impl AsyncRead for Download {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.made.is_empty() {
            let Some(making) = &mut self.making else {
                return Poll::Ready(Ok(()));
            };
            let (writer, piece) = ready!(Pin::new(making).poll(cx)).map_err(io::Error::other)?;
            match piece {
                Some(piece) => {
                    self.made = piece;
                    self.making = Some(make(writer));
                }
                None => self.making = None,
            }
        }
        let now = self.made.len().min(buf.remaining());
        let piece = self.made.split_to(now);
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}
