//! Text that is held back, compressed, until it is complete.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// The size of a part. Parts are filled one after another, because a vector that grows is there twice for a while.
const PART: usize = 1 << 20;

/// Compressed text in memory. Rows compress to about a tenth.
#[derive(Debug)]
pub struct Spool {
    encoder: DeflateEncoder<Parts>,
}

impl Default for Spool {
    fn default() -> Self {
        Self { encoder: DeflateEncoder::new(Parts::default(), Compression::fast()) }
    }
}

impl Spool {
    /// Writes the text to `output`, and frees its memory on the way.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn copy_to(self, output: &mut impl Write) -> io::Result<()> {
        let parts = self.encoder.finish()?;
        io::copy(&mut DeflateDecoder::new(parts.into_reader()), output)?;
        output.flush()
    }
}

impl Write for Spool {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.encoder.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in parts of one size.
#[derive(Debug, Default)]
struct Parts {
    parts: Vec<Vec<u8>>,
}

impl Parts {
    fn into_reader(self) -> PartsReader {
        PartsReader { parts: self.parts.into_iter(), part: Vec::new(), read: 0 }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.parts.last().is_none_or(|part| part.len() == PART) {
            self.parts.push(Vec::with_capacity(PART));
        }
        let part = self.parts.last_mut().expect("Safe: a part was just added if there was none");
        let fitting = &bytes[..bytes.len().min(PART - part.len())];
        part.extend_from_slice(fitting);
        Ok(fitting.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads parts, and drops each one after it is read.
#[derive(Debug)]
struct PartsReader {
    parts: std::vec::IntoIter<Vec<u8>>,
    part: Vec<u8>,
    read: usize,
}

impl Read for PartsReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.part.len() {
            self.part = self.parts.next().unwrap_or_default();
            self.read = 0;
        }
        let count = (&self.part[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_several_parts_is_written_unchanged() {
        // Random text does not compress, so it fills several parts.
        let mut random = fastrand::Rng::with_seed(1);
        for length in [0, 1, PART - 1, PART, 3 * PART + 7] {
            let text: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let mut spool = Spool::default();
            text.chunks(9973).for_each(|piece| spool.write_all(piece).unwrap());
            let mut written = Vec::new();
            spool.copy_to(&mut written).unwrap();
            assert!(written == text, "{length}");
        }
    }
}
