//! Golden texts, in `tests/snapshots`.

use std::fmt::Display;

/// Asserts that `text` is the golden text of this name.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: impl Display) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
