//! Labels of machines that the configuration defines from machine tags.

use std::sync::Arc;

/// A label whose values come from machine tags, such as `team` from tags like `team:storage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLabel {
    /// The name of the label.
    pub name: Arc<str>,
    /// The prefix of the tags, as written.
    pub tag_prefix: Box<str>,
    lower_prefix: Box<str>,
}

impl OwnLabel {
    /// The label `name` from the tags that begin with `tag_prefix`, in any case.
    #[must_use]
    pub fn new(name: Arc<str>, tag_prefix: &str) -> Self {
        Self { name, tag_prefix: tag_prefix.into(), lower_prefix: tag_prefix.to_lowercase().into() }
    }

    /// The value for a machine with these tags, sorted: what follows the prefix in the first tag that has it, as
    /// written. Empty if no tag has it, and if no machine list has shown the tags.
    #[must_use]
    pub fn value<'a>(&self, tags: Option<&'a [String]>) -> &'a str {
        tags.unwrap_or_default().iter().find_map(|tag| self.rest(tag)).unwrap_or_default()
    }

    /// The part of `tag` after the prefix; none if the tag does not have it.
    fn rest<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let mut expected = self.lower_prefix.chars();
        // The lower case of a character can be longer than the character, so each one is compared as a whole.
        for (start, character) in tag.char_indices() {
            if expected.as_str().is_empty() {
                return Some(&tag[start..]);
            }
            for lower in character.to_lowercase() {
                (expected.next()? == lower).then_some(())?;
            }
        }
        expected.as_str().is_empty().then_some("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_follows_the_prefix_of_the_first_tag_in_any_case() {
        let value = |prefix: &str, tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
            OwnLabel::new("team".into(), prefix).value(Some(&tags)).to_owned()
        };
        assert_eq!(value("team:", &["TEAM:Storage", "prod", "team:apps"]), "Storage");
        assert_eq!(value("Team:", &["a team:x", "team", "tea", "team: y "]), " y ");
        assert_eq!(value("team:", &["team:", "team:apps"]), "");
        assert_eq!(value("Ä", &["äb"]), "b");
        // The lower case of this letter has two characters.
        assert_eq!(value("İ", &["i\u{307}x"]), "x");
        assert_eq!(value("i", &["İx"]), "");
        assert_eq!(value("team:", &[]), "");
        assert_eq!(OwnLabel::new("team".into(), "team:").value(None), "");
    }
}
