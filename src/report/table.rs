//! Tables: rows of cells under named columns.

use std::io;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::model::KbId;

/// The value in one column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Not known, or nothing.
    Empty,
    /// Text; never empty.
    Text(&'a str),
    /// A KB, which is written as digits.
    Kb(KbId),
    /// A number.
    Number(u64),
    /// A truth value.
    Boolean(bool),
    /// A time.
    Time(Timestamp),
    /// A day.
    Day(Date),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }
}

/// A time as tables have it: in milliseconds, as the state file keeps it, so that neither a restart nor the command
/// `report` writes other times than the running exporter.
pub(super) fn written(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Writes the cells of a table in one format, row by row.
pub trait TableWriter {
    /// Writes the next cell of the row.
    ///
    /// # Errors
    /// Fails if the output cannot be written.
    fn cell(&mut self, cell: Cell<'_>) -> io::Result<()>;

    /// Ends the row, which must have a cell for each column.
    ///
    /// # Errors
    /// Fails if the output cannot be written.
    fn end_row(&mut self) -> io::Result<()>;

    /// Writes what follows the rows.
    ///
    /// # Errors
    /// Fails if the output cannot be written.
    fn end_table(&mut self) -> io::Result<()>;
}
