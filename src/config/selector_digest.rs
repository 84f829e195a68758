//! The digest of selectors that the state file stores, to recognise a changed scope after a restart.
//!
//! The shrink guard compares machine lists only when both were fetched with the same selectors. So the
//! stored form must not depend on names of fields here, or on the order of lists in which order has no
//! meaning: a false difference would switch the guard off once.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::Selectors;

/// Names the canonical form. Change it together with [`Selectors::canonical`].
const FORMAT: &str = "selectors-1:sha256:";

impl Selectors {
    /// Returns the digest of these selectors. Selectors that choose the same machines because they differ
    /// only in order or repetition have the same digest.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = FORMAT.to_owned();
        for byte in digest(&SHA256, self.canonical().as_bytes()).as_ref() {
            write!(text, "{byte:02x}").expect("Safe: writing to memory cannot fail");
        }
        text
    }

    /// Returns whether `stored`, from a state file of any release, belongs to these selectors.
    #[must_use]
    pub fn is_stored_as(&self, stored: &str) -> bool {
        stored == self.digest() || stored == self.legacy_text()
    }

    /// JSON pairs of key and values. A key that selects nothing is left out, so a key that a later
    /// release adds does not change the digest of selectors that do not use it.
    fn canonical(&self) -> String {
        let filter: Vec<_> = self.filter.iter().cloned().collect();
        let all = if self.all { vec!["true".to_owned()] } else { Vec::new() };
        let keys = [
            ("ids", &self.ids),
            ("names", &self.names),
            ("tags", &self.tags),
            ("filter", &filter),
            ("all", &all),
            ("exclude.ids", &self.exclude_ids),
            ("exclude.names", &self.exclude_names),
        ];
        let pairs = keys.into_iter().filter(|(_, values)| !values.is_empty()).map(|(key, values)| {
            let mut values = values.clone();
            values.sort_unstable();
            values.dedup();
            serde_json::json!([key, values])
        });
        serde_json::Value::Array(pairs.collect()).to_string()
    }

    /// The text that releases with a state file of schema 1 or 2 stored: the derived `Debug` form of this
    /// type as it was then. It must never change.
    fn legacy_text(&self) -> String {
        let Self { ids, names, tags, filter, all, exclude_ids, exclude_names } = self;
        format!(
            "Selectors {{ ids: {ids:?}, names: {names:?}, tags: {tags:?}, filter: {filter:?}, all: {all:?}, \
             exclude_ids: {exclude_ids:?}, exclude_names: {exclude_names:?} }}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn every_key() -> Selectors {
        Selectors {
            ids: texts(&["b1", "a1"]),
            names: texts(&["srv-\"ü\""]),
            tags: texts(&["Production"]),
            filter: Some("osPlatform eq 'Windows11'".to_owned()),
            all: true,
            exclude_ids: texts(&["c1"]),
            exclude_names: texts(&["lab-*"]),
        }
    }

    #[test]
    fn stored_forms_are_the_same_in_every_release() {
        let all = Selectors { all: true, ..Selectors::default() };
        insta::assert_snapshot!(all.canonical(), @r#"[["all",["true"]]]"#);
        insta::assert_snapshot!(all.digest(), @"selectors-1:sha256:6b29858a6f41cf00cabbb43b8b34d435b2eb3d2820de020f6bf099a6e413a9c3");
        insta::assert_snapshot!(all.legacy_text(), @"Selectors { ids: [], names: [], tags: [], filter: None, all: true, exclude_ids: [], exclude_names: [] }");
        let every = every_key();
        insta::assert_snapshot!(every.canonical(), @r#"[["ids",["a1","b1"]],["names",["srv-\"ü\""]],["tags",["Production"]],["filter",["osPlatform eq 'Windows11'"]],["all",["true"]],["exclude.ids",["c1"]],["exclude.names",["lab-*"]]]"#);
        insta::assert_snapshot!(every.digest(), @"selectors-1:sha256:cb8533851beb9461c443e2968f3a787bec9a135df7853bd456e13dcaf50a4d8e");
        insta::assert_snapshot!(every.legacy_text(), @r#"Selectors { ids: ["b1", "a1"], names: ["srv-\"ü\""], tags: ["Production"], filter: Some("osPlatform eq 'Windows11'"), all: true, exclude_ids: ["c1"], exclude_names: ["lab-*"] }"#);
    }

    #[test]
    fn order_and_repetition_do_not_change_the_digest() {
        let reordered = Selectors { ids: texts(&["a1", "b1", "a1"]), ..every_key() };
        assert_eq!(reordered.digest(), every_key().digest());
    }

    #[test]
    fn a_value_in_another_key_changes_the_digest() {
        let of = |selectors: Selectors| selectors.digest();
        let digests = [
            of(Selectors { ids: texts(&["a"]), ..Selectors::default() }),
            of(Selectors { names: texts(&["a"]), ..Selectors::default() }),
            of(Selectors { tags: texts(&["a"]), ..Selectors::default() }),
            of(Selectors { filter: Some("a".to_owned()), ..Selectors::default() }),
            of(Selectors { exclude_ids: texts(&["a"]), ..Selectors::default() }),
            of(Selectors { exclude_names: texts(&["a"]), ..Selectors::default() }),
            of(Selectors { names: texts(&["a", "b"]), ..Selectors::default() }),
            of(Selectors { names: texts(&["a\",\"b"]), ..Selectors::default() }),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(digest), "{index}");
        }
    }
}
