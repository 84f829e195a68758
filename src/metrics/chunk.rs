//! Text that is ready to be sent, plain and compressed.
//!
//! A [`Chunk`] is compressed once, on its own: its raw deflate data (RFC 1951) refers to nothing before
//! it, and a full flush ends it with a whole byte. So chunks can be put one after the other in any
//! choice, and [`ChunkSequence`]s of many chunks too; the checksum of the whole is combined from theirs. Bytes
//! are shared: a chunk that stays the same from one exposition to the next is in memory once.

use std::fmt;

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

/// For what is compressed once and sent often. Of 29 MB of rows, the levels 1 to 6 of deflate make 5.0,
/// 3.3, 3.2, 3.2, 3.1 and 3.1 MB in 36, 52, 64, 80, 84 and 96 ms.
const ONCE: Compression = Compression::new(2);

/// For what is sent once: half the time of the next level.
const EACH_TIME: Compression = Compression::fast();

/// Some text of the exposition.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    plain: Bytes,
    /// Raw deflate data of `plain`, ended by a full flush; empty when `plain` is.
    deflated: Bytes,
    /// CRC-32 of `plain`.
    checksum: u32,
}

impl Chunk {
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }
}

/// Makes chunks; keeps its buffers, since fresh memory costs more than the work in it.
pub(super) struct ChunkEncoder {
    compress: Compress,
    deflated: Vec<u8>,
}

impl Default for ChunkEncoder {
    fn default() -> Self {
        Self { compress: Compress::new(ONCE, false), deflated: Vec::new() }
    }
}

impl fmt::Debug for ChunkEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkEncoder").finish_non_exhaustive()
    }
}

impl ChunkEncoder {
    /// A press for [`end`](Self::end), which takes little time.
    pub(super) fn quick() -> Self {
        Self { compress: Compress::new(EACH_TIME, false), deflated: Vec::new() }
    }

    /// The chunk of `text`: `old` itself when that is the same text.
    pub(super) fn chunk(&mut self, text: &[u8], old: Option<&Chunk>) -> Chunk {
        match old {
            Some(old) if old.plain == text => old.clone(),
            _ if text.is_empty() => Chunk::default(),
            _ => Chunk {
                plain: Bytes::copy_from_slice(text),
                deflated: Bytes::copy_from_slice(self.deflate(text, FlushCompress::Full)),
                checksum: crc32fast::hash(text),
            },
        }
    }

    /// Raw deflate data of `text` after which nothing may follow.
    pub(super) fn end(&mut self, text: &[u8]) -> &[u8] {
        self.deflate(text, FlushCompress::Finish)
    }

    fn deflate(&mut self, text: &[u8], end: FlushCompress) -> &[u8] {
        let Self { compress, deflated } = self;
        // Without it the data would depend on what was compressed before.
        compress.reset();
        deflated.clear();
        // Room for text that does not compress: data that just fills its room may be flushed twice, and
        // the room of a used buffer depends on the past too.
        deflated.reserve(text.len() + text.len() / 4 + 64);
        loop {
            let taken = usize::try_from(compress.total_in()).expect("Safe: at most the length of a slice");
            let status = compress.compress_vec(&text[taken..], deflated, end);
            let status = status.expect("Safe: only a wrong state of the stream fails, and it was reset");
            // Room left over means that nothing is held back (zlib's manual, `deflate`).
            let is_flushed = end == FlushCompress::Full && deflated.len() < deflated.capacity();
            if status == Status::StreamEnd || is_flushed {
                return deflated;
            }
            deflated.reserve(deflated.capacity());
        }
    }
}

/// Chunks that are always sent together.
#[derive(Debug, Default)]
pub(super) struct ChunkSequence {
    pub(super) plain: Buffers,
    pub(super) deflated: Buffers,
    /// Of the plain text.
    pub(super) checksum: Hasher,
}

impl<'a> FromIterator<&'a Chunk> for ChunkSequence {
    fn from_iter<I: IntoIterator<Item = &'a Chunk>>(chunks: I) -> Self {
        let mut part = Self::default();
        for Chunk { plain, deflated, checksum } in chunks {
            part.plain.push(plain);
            part.deflated.push(deflated);
            part.checksum.combine(&Hasher::new_with_initial_len(*checksum, plain.len() as u64));
        }
        part.plain.gather();
        part.deflated.gather();
        part
    }
}

/// Bytes in pieces that are worth a system call.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) list: Vec<Bytes>,
    pub(super) length: u64,
    gathered: Vec<u8>,
}

impl Buffers {
    /// A shorter run of bytes is copied beside its neighbours: sending sixteen pieces takes a system
    /// call, and a copy of the short ones costs little memory.
    const SHORT: usize = 16 * 1024;
    /// Copies are not longer, so that no large piece of memory has to be found for them.
    const LONGEST_COPY: usize = 256 * 1024;

    fn push(&mut self, bytes: &Bytes) {
        self.length += bytes.len() as u64;
        if bytes.len() < Self::SHORT {
            self.gathered.extend_from_slice(bytes);
        }
        if bytes.len() >= Self::SHORT || self.gathered.len() >= Self::LONGEST_COPY - Self::SHORT {
            self.gather();
        }
        if bytes.len() >= Self::SHORT {
            self.list.push(bytes.clone());
        }
    }

    fn gather(&mut self) {
        if !self.gathered.is_empty() {
            self.list.push(std::mem::take(&mut self.gathered).into_boxed_slice().into());
        }
    }
}
