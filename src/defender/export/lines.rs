//! The lines of a gzip file, read while its bytes arrive.
//!
//! The reader holds one buffer, regardless of the size of the file: a line that does not fit is skipped. A
//! file of zero bytes is an empty file, and several consecutive gzip members are one file; both have been
//! observed in exports. Anything other than complete, undamaged gzip is an [`ExportFileError`], even after
//! lines have been returned: they are valid only if the end of the file is reached.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::defender::export_file_error::ExportFileError;

/// The maximum length of a line. A row has about 1 KB.
const LINE_BYTES: usize = 1 << 20;

/// The initial size of the buffer: many rows, and still within the cache of a core.
const BUFFER_BYTES: usize = 256 << 10;

/// The decompressed size that a file may have in addition to [`FACTOR`] times its own size, so that a small
/// file may compress very well. Rows compress to a tenth or a twentieth of their size; the maximum ratio of
/// gzip is 1,032.
const FREE_BYTES: u64 = 64 << 20;

/// The maximum ratio of decompressed to compressed size.
const FACTOR: u64 = 200;

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RawLine<'a> {
    /// A line without its line feed.
    Text(&'a [u8]),
    /// A line longer than the maximum.
    TooLong,
}

/// A reader of the lines of an export file.
pub(super) struct LineReader<R> {
    /// `None` for a file of zero bytes.
    file: Option<MultiGzDecoder<Counted<R>>>,
    buffer: Vec<u8>,
    /// The range of `buffer` that has not been returned yet.
    start: usize,
    end: usize,
    /// The end of the part of that range without a line feed.
    searched: usize,
    skipping: bool,
    unpacked_bytes: u64,
    bounds: LineLimits,
}

/// The limits, which tests reduce.
#[derive(Clone, Copy, Debug)]
struct LineLimits {
    line: usize,
    buffer: usize,
    free: u64,
}

impl<R: BufRead> LineReader<R> {
    /// Creates a reader of `file`.
    ///
    /// # Errors
    /// Returns an error if the file does not begin as gzip.
    pub(super) fn new(file: R) -> Result<Self, ExportFileError> {
        Self::within(LineLimits { line: LINE_BYTES, buffer: BUFFER_BYTES, free: FREE_BYTES }, file)
    }

    fn within(bounds: LineLimits, mut file: R) -> Result<Self, ExportFileError> {
        let is_empty = file.fill_buf()?.is_empty();
        let file = (!is_empty).then(|| MultiGzDecoder::new(Counted { inner: file, bytes: 0 }));
        let buffer = vec![0; bounds.buffer];
        let (start, end, searched) = (0, 0, 0);
        Ok(Self { file, buffer, start, end, searched, skipping: false, unpacked_bytes: 0, bounds })
    }

    /// The next line; `None` at the end of a complete file.
    ///
    /// # Errors
    /// Returns an error if the file is damaged. No line follows an error.
    pub(super) fn next(&mut self) -> Result<Option<RawLine<'_>>, ExportFileError> {
        loop {
            if let Some(offset) = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]) {
                let line = self.start..self.searched + offset;
                (self.start, self.searched) = (line.end + 1, line.end + 1);
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                let is_long = line.len() > self.bounds.line;
                return Ok(Some(if is_long { RawLine::TooLong } else { RawLine::Text(&self.buffer[line]) }));
            }
            self.searched = self.end;
            if !self.skipping && self.end - self.start > self.bounds.line {
                self.skipping = true;
                return Ok(Some(RawLine::TooLong));
            }
            if self.skipping {
                self.start = self.end;
            }
            if !self.fill()? {
                // The last line may lack its line feed.
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((!line.is_empty()).then(|| RawLine::Text(&self.buffer[line])));
            }
        }
    }

    /// Decompresses more data into the buffer. Returns `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, ExportFileError> {
        let Some(file) = &mut self.file else { return Ok(false) };
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            (self.start, self.searched) = (0, self.end);
            if self.end * 2 > self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let read = file.read(&mut self.buffer[self.end..])?;
        self.end += read;
        self.unpacked_bytes += read as u64;
        let limit = self.bounds.free + FACTOR * file.get_ref().bytes;
        if self.unpacked_bytes > limit {
            return Err(ExportFileError::TooLarge {
                limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
            });
        }
        Ok(read > 0)
    }
}

/// Counts the bytes read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;
    use crate::defender::export::tests::{gzip, unpacked};

    /// The lines of `file` or its error, read in pieces of `piece` bytes.
    fn lines_within(
        bounds: LineLimits,
        file: &[u8],
        piece: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, ExportFileError> {
        let mut lines = LineReader::within(bounds, BufReader::with_capacity(piece, file))?;
        let mut all = Vec::new();
        while let Some(line) = lines.next()? {
            all.push(match line {
                RawLine::Text(text) => Some(text.to_vec()),
                RawLine::TooLong => None,
            });
        }
        Ok(all)
    }

    fn lines(file: &[u8]) -> Result<Vec<Option<Vec<u8>>>, ExportFileError> {
        lines_within(LineLimits { line: 8, buffer: 4, free: 1000 }, file, 7)
    }

    /// The lines of a whole file, `|` between them and `...` for one that is too long.
    fn shown(file: &[u8]) -> String {
        let line =
            |line: Option<Vec<u8>>| line.map_or("...".to_owned(), |text| String::from_utf8(text).unwrap());
        lines(file).unwrap().into_iter().map(line).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_file_of_no_bytes_and_a_file_of_nothing_are_empty() {
        assert_eq!(lines(b""), Ok(vec![]));
        assert_eq!(lines(&gzip(b"")), Ok(vec![]));
    }

    #[test]
    fn the_last_line_needs_no_line_feed() {
        assert_eq!(shown(&gzip(b"one\ntwo")), "one|two");
        assert_eq!(shown(&gzip(b"one\n\ntwo\n")), "one||two");
    }

    #[test]
    fn members_in_a_row_are_one_file() {
        let file = [gzip(b"on"), gzip(b""), gzip(b"e\ntwo\n")].concat();
        assert_eq!(shown(&file), "one|two");
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let file = gzip(b"12345678\n123456789\nx\n1234567890123456789012345\ny\n123456789012345");
        assert_eq!(shown(&file), "12345678|...|x|...|y|...");
    }

    #[test]
    fn a_long_line_is_never_held() {
        let bounds = LineLimits { line: 1000, buffer: 64, free: 1 << 30 };
        let file = gzip(&vec![b'x'; 10 << 20]);
        let mut lines = LineReader::within(bounds, &*file).unwrap();
        assert_eq!(lines.next(), Ok(Some(RawLine::TooLong)));
        assert_eq!(lines.next(), Ok(None));
        assert!(lines.buffer.len() <= 4096, "{}", lines.buffer.len());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_damaged() {
        let file = gzip(b"one\ntwo\nthree\n");
        for length in 1..file.len() {
            assert_eq!(lines(&file[..length]), Err(ExportFileError::EndsEarly), "{length} bytes");
        }
    }

    #[test]
    fn anything_else_than_gzip_is_damaged() {
        assert_eq!(lines(b"{\"DeviceId\":\"a\"}\n"), Err(ExportFileError::NotGzip));
        let mut wrong_sum = gzip(b"one\n");
        let place = wrong_sum.len() - 6;
        wrong_sum[place] ^= 1;
        assert_eq!(lines(&wrong_sum), Err(ExportFileError::NotGzip));
        assert_eq!(
            lines(&[gzip(b"one\n"), b"<html>rubbish".to_vec()].concat()),
            Err(ExportFileError::NotGzip)
        );
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_given_up() {
        let file = gzip(&b"\n".repeat(1 << 20));
        let limit = 1000 + FACTOR * file.len() as u64;
        assert!(limit < 1 << 20, "{limit}");
        let Err(ExportFileError::TooLarge { limit_bytes }) = lines(&file) else { panic!() };
        assert!(limit_bytes as u64 <= limit, "{limit_bytes}");
        let room = LineLimits { line: 8, buffer: 4, free: 1 << 20 };
        assert_eq!(lines_within(room, &file, 100).unwrap().len(), 1 << 20);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_lines(
            text in "[ab\n]{0,60}",
            line in 1..12usize,
            buffer in 1..9usize,
            piece in 1..40usize,
        ) {
            let expected = unpacked(&text).map(|one| (one.len() <= line).then(|| one.as_bytes().to_vec()));
            let bounds = LineLimits { line, buffer, free: 1000 };
            let split = lines_within(bounds, &gzip(text.as_bytes()), piece);
            prop_assert_eq!(split, Ok(expected.collect::<Vec<_>>()));
        }

        #[test]
        fn any_bytes_as_a_file_do_not_panic(bytes: Vec<u8>, flipped: u16) {
            drop(lines(&bytes));
            let mut file = gzip(&bytes);
            let place = usize::from(flipped) % file.len();
            file[place] ^= 1 << (flipped % 8);
            drop(lines(&file));
        }
    }
}
