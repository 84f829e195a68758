//! The bound of label values.

use std::borrow::Cow;

/// The largest size of a label value in bytes. Prometheus discards a whole scrape if a value exceeds
/// `label_value_length_limit`, which is 512 in many installations.
pub const MAX_LABEL_BYTES: usize = 256;

const ELLIPSIS: &str = "…";

/// Returns a label value of at most [`MAX_LABEL_BYTES`]. A longer value is cut between characters and gets an
/// ellipsis, which counts.
#[must_use]
pub fn bounded_label(value: &str) -> Cow<'_, str> {
    if value.len() <= MAX_LABEL_BYTES {
        return Cow::Borrowed(value);
    }
    let kept = &value[..value.floor_char_boundary(MAX_LABEL_BYTES - ELLIPSIS.len())];
    Cow::Owned(format!("{kept}{ELLIPSIS}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn value_is_cut_between_characters() {
        assert_eq!(bounded_label(""), "");
        assert_eq!(bounded_label(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(bounded_label(&"a".repeat(257)), format!("{}…", "a".repeat(253)));
        assert_eq!(bounded_label(&"ö".repeat(128)), "ö".repeat(128));
        assert_eq!(bounded_label(&"ö".repeat(129)), format!("{}…", "ö".repeat(126)));
        assert_eq!(bounded_label(&"💻".repeat(65)), format!("{}…", "💻".repeat(63)));
    }

    proptest! {
        #[test]
        fn every_value_fits_and_keeps_its_start(value in ".{0,300}") {
            let bounded = bounded_label(&value);
            prop_assert!(bounded.len() <= MAX_LABEL_BYTES);
            prop_assert_eq!(&bounded_label(&bounded), &bounded);
            match bounded.strip_suffix(ELLIPSIS) {
                Some(kept) if value.len() > MAX_LABEL_BYTES => prop_assert!(value.starts_with(kept)),
                _ => prop_assert_eq!(&*bounded, &value),
            }
        }
    }
}
