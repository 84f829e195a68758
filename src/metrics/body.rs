//! The rendered bytes of `/metrics`.
//!
//! Fleet metrics change with a poll, self metrics with every scrape. Fleet metrics are therefore compressed
//! once, when they are rendered, separately for each detail level, and a scrape only compresses the few
//! kilobytes of self metrics. The response is still one gzip member (RFC 1952): a header, the levels, the
//! self metrics as the end of the deflate data, and the checksum of all, combined from theirs.
//!
//! A response is a list of buffers that share memory with the body, so nothing large is copied.

use std::cell::RefCell;
use std::vec;

use bytes::Bytes;
use crc32fast::Hasher;

use super::chunk::{Buffers, ChunkEncoder, ChunkSequence};
use super::limit::SeriesBudget;
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat};

/// Deflate, no name, no time, unknown system, so that the same data gives the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

thread_local! {
    /// Compresses self metrics; creating an encoder takes as long as compressing them.
    static ENCODER: RefCell<ChunkEncoder> = RefCell::new(ChunkEncoder::quick());
}

/// Rendered fleet metrics, plain and compressed, to which each scrape adds the self metrics.
#[derive(Debug)]
pub struct Body {
    /// The fleet level, by format.
    pub(super) fleet: [ChunkSequence; ExpositionFormat::ALL.len()],
    /// Machine and update level, the same in every format; empty when not served.
    pub(super) deeper: [ChunkSequence; 2],
    /// Result of the series limit.
    pub(super) budget: SeriesBudget,
}

impl Body {
    /// The levels that are served and the series that are suppressed.
    #[must_use]
    pub fn budget(&self) -> &SeriesBudget {
        &self.budget
    }

    /// Returns the text down to the deepest level, followed by `self_metrics`.
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

    /// Returns the exposition down to `level`, as far as that is served, followed by `self_metrics`, which
    /// are in the same format.
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
        let levels = || std::iter::once(&self.fleet[format as usize]).chain(&self.deeper[..level as usize]);
        match encoding {
            ContentEncoding::Identity => {
                ExpositionBody::new(Bytes::new(), levels().map(|level| &level.plain), Bytes::from(end))
            }
            ContentEncoding::Gzip => {
                let (mut checksum, mut length) = (Hasher::new(), end.len() as u64);
                for level in levels() {
                    checksum.combine(&level.checksum);
                    length += level.plain.length;
                }
                checksum.update(&end);
                let mut last = ENCODER.with_borrow_mut(|encoder| encoder.end(&end).to_vec());
                last.extend_from_slice(&checksum.finalize().to_le_bytes());
                // ISIZE is the length modulo 2^32.
                last.extend_from_slice(&length.to_le_bytes()[..4]);
                let header = Bytes::from_static(&GZIP_HEADER);
                ExpositionBody::new(header, levels().map(|level| &level.deflated), Bytes::from(last))
            }
        }
    }

    /// Returns the length of the exposition down to the deepest level, without self metrics.
    #[must_use]
    pub fn length(&self, format: ExpositionFormat, encoding: ContentEncoding) -> u64 {
        self.answer(DetailLevel::Update, format, encoding, Vec::new()).remaining()
    }
}

/// The bytes of an exposition, buffer by buffer.
#[derive(Debug)]
pub struct ExpositionBody {
    buffers: vec::IntoIter<Bytes>,
    remaining: u64,
}

impl ExpositionBody {
    fn new<'a>(first: Bytes, levels: impl Iterator<Item = &'a Buffers>, last: Bytes) -> Self {
        let shared = levels.flat_map(|level| level.list.iter().cloned());
        let buffers: Vec<Bytes> = [first].into_iter().chain(shared).chain([last]).collect();
        let remaining = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        Self { buffers: buffers.into_iter(), remaining }
    }

    /// Number of bytes in the remaining buffers.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Iterator for ExpositionBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let buffer = self.buffers.find(|buffer| !buffer.is_empty())?;
        self.remaining -= buffer.len() as u64;
        Some(buffer)
    }
}

#[cfg(test)]
mod tests;
