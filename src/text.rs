//! Text from outside and for people: the byte order mark of UTF-8, with which programs of Windows begin text files and
//! replies, invisible characters, and numbers on pages.

use std::io;
use std::path::Path;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The longest name on a page in characters; a longer one is cut, so that it cannot fill the page. A real name is far
/// shorter and is shown whole, unlike in a label.
const LONGEST_NAME: usize = 4096;

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

/// Formats a number with a comma between groups of three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a share in percent with one decimal, rounded down: 100 % means all. None of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> Option<String> {
    let tenths = (u128::from(part) * 1000).checked_div(u128::from(whole))?;
    Some(if part == whole { "100 %".to_owned() } else { format!("{}.{} %", tenths / 10, tenths % 10) })
}

/// Returns a name from outside as it is shown: characters that are invisible, or change the display of their
/// neighbours, are spelt out as in `\u{202e}`, and long text is cut. The template escapes HTML.
#[must_use]
pub fn visible(name: &str) -> String {
    spelt_out(name, LONGEST_NAME)
}

/// Returns text with invisible characters spelt out, cut after `longest` characters.
#[must_use]
pub fn spelt_out(text: &str, longest: usize) -> String {
    let mut shown = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == longest {
            shown.push('…');
            break;
        }
        if is_hidden(character) {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns whether a character is a control or a format character of Unicode that a name could abuse:
/// bidirectional controls, zero-width characters, line separators, interlinear marks and tags.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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

    #[test]
    fn thousands_are_separated() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (100_000, "100,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(visible("a\u{202e}b\n\0\u{feff}"), "a\\u{202e}b\\n\\0\\u{feff}");
        for harmless in ["", "srv-db-01.corp.example", "Anna's \"iPad\" <b> \\", "жук 机器 e\u{301} 💻"]
        {
            assert_eq!(visible(harmless), harmless);
        }
    }

    #[test]
    fn long_name_is_cut() {
        let whole = "ö".repeat(LONGEST_NAME);
        assert_eq!(visible(&whole), whole);
        assert_eq!(visible(&"ö".repeat(100_000)), format!("{whole}…"));
    }
}
