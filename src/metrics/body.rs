//! The ready bytes of `/metrics`.
//!
//! Fleet data changes with a poll, self metrics with every scrape. So fleet data is compressed once,
//! when it is rendered, in a part for each level of detail, and a scrape only compresses the few
//! kilobytes of self metrics. The answer is still one gzip member (RFC 1952): a header, the parts, the
//! self metrics as the end of the deflate data, and the checksum of the whole, combined from theirs.
//!
//! An answer is a list of pieces that share memory with the body, so nothing large is copied.

use std::cell::RefCell;
use std::vec;

use bytes::Bytes;
use crc32fast::Hasher;

use super::chunk::{Buffers, ChunkEncoder, ChunkSequence};
use super::limit::SeriesBudget;
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat};

/// Deflate, no name, no time, unknown system: the same data gives the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

thread_local! {
    /// For self metrics: making one takes as long as compressing them.
    static PRESS: RefCell<ChunkEncoder> = RefCell::new(ChunkEncoder::quick());
}

/// Rendered fleet data, plain and compressed, to which each scrape adds the self metrics.
#[derive(Debug)]
pub struct Body {
    /// The fleet level, by format.
    pub(super) fleet: [ChunkSequence; ExpositionFormat::ALL.len()],
    /// Machine and update level, the same in every format; empty when not served.
    pub(super) deeper: [ChunkSequence; 2],
    /// What the series limit made of it.
    pub(super) served: SeriesBudget,
}

impl Body {
    /// Which levels are served and which series are left out.
    #[must_use]
    pub fn served(&self) -> &SeriesBudget {
        &self.served
    }

    /// The text down to the deepest level, with `self_metrics` at its end.
    #[must_use]
    pub fn plain(&self, self_metrics: &[u8]) -> Vec<u8> {
        let answer = self.answer(
            DetailLevel::Update,
            ExpositionFormat::Text,
            ContentEncoding::Identity,
            self_metrics.to_vec(),
        );
        answer.collect::<Vec<Bytes>>().concat()
    }

    /// The exposition down to `level`, as far as that is served, with `self_metrics`, which are in the same
    /// format, at its end.
    #[must_use]
    pub fn answer(
        &self,
        level: DetailLevel,
        format: ExpositionFormat,
        encoding: ContentEncoding,
        self_metrics: Vec<u8>,
    ) -> ExpositionBody {
        let mut end = self_metrics;
        if format == ExpositionFormat::OpenMetrics {
            end.extend_from_slice(b"# EOF\n");
        }
        let parts = || std::iter::once(&self.fleet[format as usize]).chain(&self.deeper[..level as usize]);
        match encoding {
            ContentEncoding::Identity => {
                ExpositionBody::new(Bytes::new(), parts().map(|part| &part.plain), Bytes::from(end))
            }
            ContentEncoding::Gzip => {
                let (mut checksum, mut length) = (Hasher::new(), end.len() as u64);
                for part in parts() {
                    checksum.combine(&part.checksum);
                    length += part.plain.length;
                }
                checksum.update(&end);
                let mut last = PRESS.with_borrow_mut(|press| press.end(&end).to_vec());
                last.extend_from_slice(&checksum.finalize().to_le_bytes());
                // ISIZE is the length modulo 2^32.
                last.extend_from_slice(&length.to_le_bytes()[..4]);
                let header = Bytes::from_static(&GZIP_HEADER);
                ExpositionBody::new(header, parts().map(|part| &part.deflated), Bytes::from(last))
            }
        }
    }

    /// Length of the answer down to the deepest level, without self metrics.
    #[must_use]
    pub fn length(&self, format: ExpositionFormat, encoding: ContentEncoding) -> u64 {
        self.answer(DetailLevel::Update, format, encoding, Vec::new()).remaining()
    }
}

/// The bytes of an answer, piece by piece.
#[derive(Debug)]
pub struct ExpositionBody {
    pieces: vec::IntoIter<Bytes>,
    remaining: u64,
}

impl ExpositionBody {
    fn new<'a>(first: Bytes, parts: impl Iterator<Item = &'a Buffers>, last: Bytes) -> Self {
        let shared = parts.flat_map(|part| part.list.iter().cloned());
        let pieces: Vec<Bytes> = [first].into_iter().chain(shared).chain([last]).collect();
        let remaining = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_iter(), remaining }
    }

    /// Bytes in the pieces to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Iterator for ExpositionBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.find(|piece| !piece.is_empty())?;
        self.remaining -= piece.len() as u64;
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
