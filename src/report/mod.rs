//! Reports for auditors: one row for each missing update, and one for each machine that misses nothing or cannot be
//! judged.
//!
//! Pure except for [`output`]. [`rows`] makes the rows of one machine after another, so that a report of any size
//! needs little memory; [`row`] holds the columns, and [`table`] what any table of cells needs. [`csv`], [`json`] and
//! [`html`] write them, [`metadata`] says what the report was made with, and [`summary`] counts. [`output`] and [`spool`] hold the text back until the report is
//! complete.

use std::io;

pub mod csv;
pub mod html;
pub mod json;
pub mod metadata;
pub mod output;
pub mod row;
pub mod rows;
pub mod spool;
pub mod summary;
pub mod table;

pub use metadata::ReportMetadata;
pub use output::ReportOutput;
pub use row::{ReportRow, columns};
pub use rows::{ReportTerms, TenantRows};
pub use summary::ReportSummary;
pub use table::{Cell, TableWriter};

/// Writes the rows of a report in one format.
pub trait RowWriter {
    /// Writes a row.
    ///
    /// # Errors
    /// Fails if the output cannot be written.
    fn row(&mut self, row: &ReportRow<'_>) -> io::Result<()>;

    /// Writes what follows the rows.
    ///
    /// # Errors
    /// Fails if the output cannot be written.
    fn finish(self: Box<Self>, summary: &ReportSummary) -> io::Result<()>;
}
