//! Bytes of a source: decompressed, without byte order marks, and bounded.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde_json::de::IoRead;

use super::ParseError;
use crate::text::without_byte_order_mark;

/// The first bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A reader that fails after a number of bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// The content of `input`, which may be compressed with gzip. A read beyond `limit` bytes of content fails.
pub(super) fn content<'a>(mut input: impl Read + 'a, limit: u64) -> io::Result<impl io::BufRead + 'a> {
    let mut start = Vec::with_capacity(GZIP.len());
    input.by_ref().take(GZIP.len() as u64).read_to_end(&mut start)?;
    let is_gzip = start == GZIP;
    let whole = Cursor::new(start).chain(input);
    let decoded: Box<dyn Read + 'a> =
        if is_gzip { Box::new(MultiGzDecoder::new(BufReader::new(whole))) } else { Box::new(whole) };
    let mut bounded = Bounded { inner: decoded, left: limit };
    loop {
        let mut start = Vec::with_capacity(3);
        bounded.by_ref().take(3).read_to_end(&mut start)?;
        let is_mark = start.len() == 3 && without_byte_order_mark(&start).is_empty();
        if !is_mark {
            return Ok(BufReader::with_capacity(1 << 16, Cursor::new(start).chain(bounded)));
        }
    }
}

/// Reads one JSON value, and nothing after it.
pub(super) fn json<T: DeserializeOwned>(input: impl Read, limit: u64) -> Result<T, ParseError> {
    let mut deserializer = serde_json::Deserializer::new(IoRead::new(content(input, limit)?));
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::*;
    use crate::model::FactsFailure;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut content = content(bytes, limit)?;
        let mut read = Vec::new();
        content.read_to_end(&mut read).map(|_| read)
    }

    #[test]
    fn content_is_plain_or_compressed_with_or_without_marks() {
        for text in ["", "a", "ab", "abc", "[1, 2]", "\u{feff}"] {
            let expected = text.trim_start_matches('\u{feff}').as_bytes();
            for marks in ["", "\u{feff}", "\u{feff}\u{feff}"] {
                let text = format!("{marks}{text}");
                assert_eq!(read(text.as_bytes(), 64).unwrap(), expected);
                assert_eq!(read(&gzip(text.as_bytes()), 64).unwrap(), expected);
            }
        }
        let two_members = [gzip(b"ab"), gzip(b"c")].concat();
        assert_eq!(read(&two_members, 64).unwrap(), b"abc");
    }

    #[test]
    fn content_beyond_its_limit_is_an_error() {
        assert_eq!(read(b"12345", 5).unwrap(), b"12345");
        for bytes in [b"123456".to_vec(), gzip(&vec![b' '; 1 << 20])] {
            assert_eq!(read(&bytes, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            let error = json::<bool>(&bytes[..], 5).unwrap_err();
            assert_eq!(error.kind(), FactsFailure::TooLarge);
        }
    }

    #[test]
    fn json_is_one_complete_value() {
        assert!(json::<bool>(&b" true\r\n"[..], 64).unwrap());
        let compressed = gzip(b"true");
        let cut = &compressed[..compressed.len() - 3];
        for bytes in [&b""[..], b"tr", b"true true", b"<html>", b"true\0", cut] {
            assert_eq!(json::<bool>(bytes, 64).unwrap_err().kind(), FactsFailure::Decode);
        }
    }
}
