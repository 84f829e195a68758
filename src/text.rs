//! The byte order mark of UTF-8, with which programs of Windows begin text files and replies.

use std::io;
use std::path::Path;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns `text` without the byte order marks at its start. Two of them result when a program adds one to a
/// text that has one.
#[must_use]
pub fn without_byte_order_mark(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(MARK) {
        text = rest;
    }
    text
}

/// Reads a text file without its byte order mark. Blocks.
///
/// # Errors
/// Returns an error if the file cannot be read or is not UTF-8.
pub fn read_text_file(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    let text = str::from_utf8(without_byte_order_mark(&bytes));
    text.map(str::to_owned).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn marks_are_removed_from_the_start_only() {
        for (text, expected) in [
            ("", ""),
            ("\u{feff}", ""),
            ("\u{feff}\u{feff}{}", "{}"),
            ("a\u{feff}", "a\u{feff}"),
            (" \u{feff}a", " \u{feff}a"),
        ] {
            assert_eq!(without_byte_order_mark(text.as_bytes()), expected.as_bytes());
        }
        assert_eq!(without_byte_order_mark(b"\xef\xbb"), b"\xef\xbb");
    }

    #[test]
    fn text_files_are_read_without_their_mark() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("file");
        let read = |bytes: &[u8]| {
            std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
            read_text_file(&path)
        };
        assert_eq!(read(b"\xef\xbb\xbfsecret\n").unwrap(), "secret\n");
        assert_eq!(read(b"secret").unwrap(), "secret");
        assert_eq!(read(b"\xff\xfes\0").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
