//! Rows and columns of the state file. No value is trusted: an invalid one is none.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::persisted_state::source_name;
use crate::model::Source;

/// Calls `take` with each row of `query`, and counts the rows that it rejects.
pub(super) fn each(
    connection: &Connection,
    query: &str,
    skipped: &mut u64,
    mut take: impl FnMut(&Row<'_>) -> Option<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        *skipped += u64::from(take(row).is_none());
    }
    Ok(())
}

pub(super) fn source(name: &str) -> Option<Source> {
    [Source::Machines, Source::Export].into_iter().find(|source| source_name(*source) == name)
}

pub(super) fn integer(row: &Row<'_>, column: usize) -> Option<i64> {
    row.get_ref(column).ok()?.as_i64().ok()
}

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a str> {
    row.get_ref(column).ok()?.as_str().ok()
}

pub(super) fn count(row: &Row<'_>, column: usize) -> Option<u64> {
    u64::try_from(integer(row, column)?).ok()
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Option<Timestamp> {
    at(integer(row, column)?)
}

pub(super) fn at(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis).ok()
}

/// The value of a column that may be NULL, which is `Some(None)`.
#[expect(
    clippy::option_option,
    reason = "the outer one stands for invalid values, as everywhere in this module"
)]
pub(super) fn optional<T>(
    row: &Row<'_>,
    column: usize,
    convert: impl FnOnce(i64) -> Option<T>,
) -> Option<Option<T>> {
    match row.get_ref(column).ok()?.as_i64_or_null().ok()? {
        None => Some(None),
        Some(number) => convert(number).map(Some),
    }
}

/// The text of a column that may be NULL, which is `Some(None)`.
#[expect(
    clippy::option_option,
    reason = "the outer one stands for invalid values, as everywhere in this module"
)]
pub(super) fn optional_text<T>(
    row: &Row<'_>,
    column: usize,
    convert: impl FnOnce(&str) -> Option<T>,
) -> Option<Option<T>> {
    match row.get_ref(column).ok()?.as_str_or_null().ok()? {
        None => Some(None),
        Some(text) => convert(text).map(Some),
    }
}
