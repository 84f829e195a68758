//! A file of the export as a body: written, compressed and sent piece by piece.
//!
//! No file is kept in memory: a blocking thread makes a piece of some hundred kilobytes while the previous
//! piece is being sent, and none if the client is slow or has disconnected. The fleet is locked for a batch
//! of machines at a time. Removing a machine during a download shifts the machines after it by one position,
//! which a real export would not do; no test does both at once.

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

use super::exported_machine::ExportedMachine;
use super::machine_rows::MachineRowWriter;
use super::rows::RowBuffer;
use super::update_catalog::UpdateCatalog;
use crate::export_versions::SimulatedExport;
use crate::options::Realism;
use crate::state::SimulatorState;

/// A batch ends at this many bytes of rows, or after this many machines.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_MACHINES: usize = 1_000;

/// In a realistic export the second file consists of many gzip members, one for this many machines.
const MEMBER_MACHINES: usize = 16;

/// Minimum size of a compressed piece.
const PIECE_BYTES: usize = 64 << 10;

/// Writes one file, from its first machine to its last.
pub(super) struct ExportFileWriter {
    state: Arc<SimulatorState>,
    version: SimulatedExport,
    file: usize,
    files: usize,
    /// The position of the next machine; none after the last.
    position: Option<usize>,
    catalog: UpdateCatalog,
    rows: RowBuffer,
    /// None after the end of the file.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl ExportFileWriter {
    pub(super) fn new(state: Arc<SimulatorState>, version: SimulatedExport, file: usize) -> Self {
        let files = state.exports().files();
        Self {
            catalog: UpdateCatalog::new(state.rows_per_update),
            state,
            version,
            file,
            files,
            position: Some(0),
            rows: RowBuffer::default(),
            encoder: Some(encoder(Vec::new())),
        }
    }

    /// The next compressed bytes; none after the end of the file.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let mut encoder = self.encoder.take()?;
        while encoder.get_ref().len() < PIECE_BYTES {
            let last = self.batch();
            // Writing to memory does not fail.
            encoder.write_all(&self.rows.bytes).ok()?;
            self.rows.bytes.clear();
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
        self.realistic() && self.file == 1.min(self.files - 1)
    }

    fn realistic(&self) -> bool {
        self.state.realism == Realism::Realistic
    }

    /// Writes the rows of some machines. Returns whether the last machine was among them.
    fn batch(&mut self) -> bool {
        let mut repeated = Vec::new();
        let mut position = self.position.take();
        let mut visited = 0;
        let max_machines = if self.has_members() { MEMBER_MACHINES } else { BATCH_MACHINES };
        let realistic = self.realistic();
        let fleet = self.state.fleet();
        let mut writer = MachineRowWriter {
            rows: &mut self.rows,
            catalog: &mut self.catalog,
            repeated: &mut repeated,
            realistic,
            generated: self.version.generated,
        };
        while let Some(current) = position
            && visited < max_machines
            && writer.rows.bytes.len() < BATCH_BYTES
        {
            visited += 1;
            position = (current + 1 < fleet.position_count()).then_some(current + 1);
            // The rows of some machines are spread over two files.
            let spread = writer.realistic && current % 10 == 6;
            let is_in_file =
                |part: usize| (current + if spread { part % 2 } else { 0 }) % self.files == self.file;
            if (is_in_file(0) || is_in_file(1))
                && let Some(subject) =
                    ExportedMachine::at(&fleet, current, self.version.day, self.version.generated)
            {
                writer.write(&subject, is_in_file);
            }
        }
        drop(fleet);
        for row in repeated {
            self.rows.line(&row);
        }
        self.position = position;
        if position.is_none() && !realistic {
            self.rows.end_line();
        }
        position.is_none()
    }
}

fn encoder(into: Vec<u8>) -> GzEncoder<Vec<u8>> {
    GzEncoder::new(into, Compression::fast())
}

/// The rest of a file as a body.
pub(super) fn body(writer: ExportFileWriter) -> Body {
    let download = ExportFileBody { ready: Bytes::new(), task: Some(make_piece(writer)) };
    Body::from_stream(ReaderStream::with_capacity(download, PIECE_BYTES))
}

type PieceTask = JoinHandle<(ExportFileWriter, Option<Bytes>)>;

fn make_piece(mut writer: ExportFileWriter) -> PieceTask {
    spawn_blocking(move || {
        let piece = writer.next_piece();
        (writer, piece)
    })
}

struct ExportFileBody {
    ready: Bytes,
    /// None after the end of the file.
    task: Option<PieceTask>,
}

impl AsyncRead for ExportFileBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            let Some(task) = &mut self.task else {
                return Poll::Ready(Ok(()));
            };
            let (writer, piece) = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other)?;
            match piece {
                Some(piece) => {
                    self.ready = piece;
                    self.task = Some(make_piece(writer));
                }
                None => self.task = None,
            }
        }
        let now = self.ready.len().min(buf.remaining());
        let piece = self.ready.split_to(now);
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}
