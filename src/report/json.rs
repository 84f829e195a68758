//! Rows as one JSON object with the metadata.

use std::io::{self, Write};

use super::row::{Cell, ReportRow, columns};
use super::{ReportMetadata, ReportSummary, RowWriter};
use crate::model::OwnLabel;

/// Writes the metadata, then one object on a line of its own for each row.
#[derive(Debug)]
pub struct JsonWriter<W> {
    output: W,
    /// The column names as keys, with what precedes them in an object.
    keys: Vec<String>,
    has_rows: bool,
}

impl<W: Write> JsonWriter<W> {
    /// Writes the metadata.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn new(mut output: W, labels: &[OwnLabel], metadata: &ReportMetadata) -> io::Result<Self> {
        write!(output, "{{\"report\": {}, \"rows\": [", metadata.to_json())?;
        let starts = std::iter::once('{').chain(std::iter::repeat(','));
        let keys = columns(labels).zip(starts).map(|(name, start)| format!("{start}\"{name}\":"));
        Ok(Self { output, keys: keys.collect(), has_rows: false })
    }
}

impl<W: Write> RowWriter for JsonWriter<W> {
    fn row(&mut self, row: &ReportRow<'_>) -> io::Result<()> {
        let Self { output, keys, has_rows } = self;
        output.write_all(if *has_rows { b",\n" } else { b"\n" })?;
        *has_rows = true;
        let mut keys = keys.iter();
        row.cells(|cell| {
            output.write_all(keys.next().map_or("", String::as_str).as_bytes())?;
            match cell {
                Cell::Empty => output.write_all(b"null"),
                Cell::Text(text) => Ok(serde_json::to_writer(&mut *output, text)?),
                Cell::Kb(kb) => write!(output, "\"{kb}\""),
                Cell::Number(number) => write!(output, "{number}"),
                Cell::Boolean(value) => write!(output, "{value}"),
                Cell::Time(time) => write!(output, "\"{time}\""),
                Cell::Day(day) => write!(output, "\"{day}\""),
            }
        })?;
        output.write_all(b"}")
    }

    fn finish(mut self: Box<Self>, _: &ReportSummary) -> io::Result<()> {
        let end = if self.has_rows { "\n]}\n" } else { "]}\n" };
        self.output.write_all(end.as_bytes())?;
        self.output.flush()
    }
}
