//! Patterns of names with wildcards.

/// A pattern in which `*` stands for any text, compared in any case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TextPattern {
    written: Box<str>,
    lower: Box<str>,
}

impl TextPattern {
    /// The pattern as written.
    #[must_use]
    pub fn new(written: &str) -> Self {
        Self { written: written.into(), lower: written.to_lowercase().into() }
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Returns whether the pattern matches the whole of `lower`, a text in lower case.
    #[must_use]
    pub fn matches_lower(&self, lower: &str) -> bool {
        wildcard_matches(&self.lower, lower)
    }

    /// Returns whether the pattern is `lower`, a text in lower case, without wildcards.
    #[must_use]
    pub fn is_lower(&self, lower: &str) -> bool {
        *self.lower == *lower
    }
}

/// Returns whether `pattern`, in which `*` stands for any text, matches the whole of `text`.
#[must_use]
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // The earliest match of each middle part leaves the most text for the parts after it.
    while let Some((part, after)) = rest.split_once('*') {
        let Some(start) = text.find(part) else { return false };
        text = &text[start + part.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_the_whole_text_in_any_case() {
        for (pattern, text, expected) in [
            ("WindowsServer*", "windowsserver2022", true),
            ("windowsserver2022", "windowsserver2022", true),
            ("windowsserver", "windowsserver2022", false),
            ("*server*", "windowsserver2022", true),
            ("w*w*2", "windowsserver2022", true),
            ("w*x*2", "windowsserver2022", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("ÄRZTE*", "ärzte-01", true),
        ] {
            assert_eq!(TextPattern::new(pattern).matches_lower(text), expected, "{pattern} {text}");
        }
        assert_eq!(TextPattern::new("Office*").as_str(), "Office*");
    }
}
