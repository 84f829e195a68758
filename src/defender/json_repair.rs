//! Repair of the strings of a JSON text.
//!
//! A reply with one broken string is not JSON as a whole: a name that was cut in the middle of a character,
//! text in another encoding, or an escape of half a character (`\ud800`). Repaired, the reply loses these
//! characters and nothing else.

/// Replaces what a string of a JSON text must not contain: bytes that are not UTF-8, control characters, and
/// wrong escapes. Returns whether there was any. The length stays the same, so no memory is needed.
pub(in crate::defender) fn repair_strings(text: &mut [u8]) -> bool {
    let mut repaired = false;
    let mut in_string = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if !in_string {
            in_string = byte == b'"';
            at += 1;
            continue;
        }
        let (length, replacement): (usize, &[u8]) = match byte {
            b'"' => {
                in_string = false;
                (1, b"")
            }
            b'\\' => escape(&text[at..]),
            0..0x20 => (1, b" "),
            _ => character(&text[at..]),
        };
        if !replacement.is_empty() {
            text[at..at + length].copy_from_slice(replacement);
            repaired = true;
        }
        at += length;
    }
    repaired
}

/// The length of the escape at the start of `text`, and its replacement; empty if it is valid.
fn escape(text: &[u8]) -> (usize, &'static [u8]) {
    match text.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (2, b""),
        Some(b'u') => match (code_unit(text), text.get(6..).and_then(code_unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, b""),
            (Some(0xd800..=0xdfff), _) => (6, br"\ufffd"),
            (Some(_), _) => (6, b""),
            (None, _) => (1, b"?"),
        },
        _ => (1, b"?"),
    }
}

/// The UTF-16 code unit of an escape `\uXXXX` at the start of `text`.
fn code_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// The length of the character at the start of `text`, and its replacement; empty if it is UTF-8.
fn character(text: &[u8]) -> (usize, &'static [u8]) {
    let length = match text[0] {
        0..0x80 => return (1, b""),
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    match text.get(..length).map(str::from_utf8) {
        Some(Ok(_)) => (length, b""),
        _ => (1, b"?"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn repaired(text: &[u8]) -> Value {
        let mut text = text.to_vec();
        assert!(serde_json::from_slice::<Value>(&text).is_err());
        assert!(repair_strings(&mut text));
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn only_the_broken_character_is_replaced() {
        assert_eq!(repaired(br#"["a\ud800b","c"]"#), json!(["a\u{fffd}b", "c"]));
        assert_eq!(repaired(br#"["\udc00\ud800\ud83d\ude00"]"#), json!(["\u{fffd}\u{fffd}\u{1f600}"]));
        assert_eq!(repaired(b"[\"M\xfcnchen\",\"\xc3\"]"), json!(["M?nchen", "?"]));
        assert_eq!(repaired(b"[\"\xed\xa0\x80\"]"), json!(["???"]), "a surrogate in UTF-8");
        assert_eq!(repaired(b"{\"a\x00\":\"b\nc\"}"), json!({"a ": "b c"}));
        assert_eq!(repaired(br#"["\x41","\u12g4","\\"]"#), json!(["?x41", "?u12g4", "\\"]));
    }

    #[test]
    fn text_that_is_not_json_stays_unchanged() {
        for text in [&b"The service is being updated."[..], br#"{"value":["#, br#"["x"#, b""] {
            assert!(!repair_strings(&mut text.to_vec()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn valid_text_stays_unchanged(strings: Vec<String>) {
            let text = json!(strings).to_string();
            prop_assert!(!repair_strings(&mut text.into_bytes()));
        }

        #[test]
        fn any_bytes_in_a_string_become_readable(bytes: Vec<u8>) {
            let bytes = bytes.into_iter().filter(|byte| !b"\"\\".contains(byte));
            let mut text: Vec<u8> = b"[\"".iter().copied().chain(bytes).chain(*b"\"]").collect();
            repair_strings(&mut text);
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
        }
    }
}
