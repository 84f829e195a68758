//! Ids of products in release documents.

use std::fmt;

use crate::facts::lenient::Shape;

/// The id of a product, such as `11568` or `21344-17084`: at most 15 bytes of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductId {
    length: u8,
    bytes: [u8; 15],
}

impl ProductId {
    /// The id, or none if it is empty, too long, or not printable ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut bytes = [0; 15];
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        bytes.get_mut(..text.len()).filter(|_| fits)?.copy_from_slice(text.as_bytes());
        Some(Self { length: u8::try_from(text.len()).ok()?, bytes })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Shape for Option<ProductId> {
    fn of_text(text: &str) -> Self {
        ProductId::parse(text)
    }

    fn of_number(number: f64) -> Self {
        ProductId::parse(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_id_is_a_short_text() {
        for text in ["1", " 11568 ", "21344-17084", "123456789012345"] {
            assert_eq!(ProductId::parse(text).unwrap().to_string(), text.trim());
        }
        for text in ["", " ", "1234567890123456", "1 2", "é"] {
            assert_eq!(ProductId::parse(text), None, "{text}");
        }
    }
}
