//! Rows as JSON: an array of objects, in a report together with the metadata.

use std::io::{self, Write};

use super::row::{ReportRow, columns};
use super::table::{Cell, TableWriter, written};
use super::{ReportMetadata, ReportSummary, RowWriter};
use crate::model::OwnLabel;

/// Writes an array with one object on a line of its own for each row.
#[derive(Debug)]
pub struct JsonTable<W> {
    output: W,
    /// The column names as keys, with what precedes them in an object.
    keys: Vec<String>,
    /// The place of the next cell in its row.
    column: usize,
    has_rows: bool,
    /// Follows the array.
    end: &'static str,
}

impl<W: Write> JsonTable<W> {
    /// Begins an array.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn new<'a>(output: W, columns: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        Self::within(output, columns, "\n")
    }

    /// Begins an array within other JSON, of which `end` is the rest.
    fn within<'a>(
        mut output: W,
        columns: impl Iterator<Item = &'a str>,
        end: &'static str,
    ) -> io::Result<Self> {
        output.write_all(b"[")?;
        let starts = std::iter::once('{').chain(std::iter::repeat(','));
        let keys = columns.zip(starts).map(|(name, start)| format!("{start}\"{name}\":"));
        Ok(Self { output, keys: keys.collect(), column: 0, has_rows: false, end })
    }

    /// The output.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }
}

impl<W: Write> TableWriter for JsonTable<W> {
    fn cell(&mut self, cell: Cell<'_>) -> io::Result<()> {
        let Self { output, keys, column, has_rows, .. } = self;
        if *column == 0 {
            output.write_all(if *has_rows { b",\n" } else { b"\n" })?;
            *has_rows = true;
        }
        output.write_all(keys[*column].as_bytes())?;
        *column += 1;
        match cell {
            Cell::Empty => output.write_all(b"null"),
            Cell::Text(text) => Ok(serde_json::to_writer(output, text)?),
            Cell::Kb(kb) => write!(output, "\"{kb}\""),
            Cell::Number(number) => write!(output, "{number}"),
            Cell::Boolean(value) => write!(output, "{value}"),
            Cell::Time(time) => write!(output, "\"{}\"", written(time)),
            Cell::Day(day) => write!(output, "\"{day}\""),
        }
    }

    fn end_row(&mut self) -> io::Result<()> {
        self.column = 0;
        self.output.write_all(b"}")
    }

    fn end_table(&mut self) -> io::Result<()> {
        write!(self.output, "{}]{}", if self.has_rows { "\n" } else { "" }, self.end)?;
        self.output.flush()
    }
}

/// Writes a report as one object: the metadata, then the rows.
#[derive(Debug)]
pub struct JsonWriter<W>(JsonTable<W>);

impl<W: Write> JsonWriter<W> {
    /// Writes the metadata.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn new(mut output: W, labels: &[OwnLabel], metadata: &ReportMetadata) -> io::Result<Self> {
        write!(output, "{{\"report\": {}, \"rows\": ", metadata.to_json())?;
        JsonTable::within(output, columns(labels), "}\n").map(Self)
    }
}

impl<W: Write> RowWriter for JsonWriter<W> {
    fn row(&mut self, row: &ReportRow<'_>) -> io::Result<()> {
        row.cells(|cell| self.0.cell(cell))?;
        self.0.end_row()
    }

    fn finish(mut self: Box<Self>, _: &ReportSummary) -> io::Result<()> {
        self.0.end_table()
    }
}
