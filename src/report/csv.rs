//! Rows as comma-separated values (RFC 4180) that a spreadsheet does not take for formulas.

use std::fmt::Write as _;
use std::io::{self, Write};

use memchr::{memchr, memchr3};

use super::row::{ReportRow, columns};
use super::table::{Cell, TableWriter, written};
use super::{ReportSummary, RowWriter};
use crate::model::OwnLabel;

/// Bytes with which a spreadsheet takes a cell for a formula.
const FORMULA_STARTS: [u8; 7] = *b"=+-@\t\r\n";

/// Writes a header and one line for each row.
#[derive(Debug)]
pub struct CsvTable<W> {
    output: W,
    line: String,
}

impl<W: Write> CsvTable<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn new<'a>(mut output: W, columns: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        let names: Vec<_> = columns.collect();
        write!(output, "{}\r\n", names.join(","))?;
        Ok(Self { output, line: String::new() })
    }

    /// The output.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }
}

impl<W: Write> TableWriter for CsvTable<W> {
    fn cell(&mut self, cell: Cell<'_>) -> io::Result<()> {
        write_cell(&mut self.line, cell).map_err(io::Error::other)
    }

    fn end_row(&mut self) -> io::Result<()> {
        // The comma after the last cell.
        self.line.pop();
        self.line.push_str("\r\n");
        self.output.write_all(self.line.as_bytes())?;
        self.line.clear();
        Ok(())
    }

    fn end_table(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes a report.
#[derive(Debug)]
pub struct CsvWriter<W>(CsvTable<W>);

impl<W: Write> CsvWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Fails if `output` cannot be written.
    pub fn new(output: W, labels: &[OwnLabel]) -> io::Result<Self> {
        CsvTable::new(output, columns(labels)).map(Self)
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn row(&mut self, row: &ReportRow<'_>) -> io::Result<()> {
        row.cells(|cell| self.0.cell(cell))?;
        self.0.end_row()
    }

    fn finish(mut self: Box<Self>, _: &ReportSummary) -> io::Result<()> {
        self.0.end_table()
    }
}

fn write_cell(line: &mut String, cell: Cell<'_>) -> std::fmt::Result {
    match cell {
        Cell::Empty => {}
        Cell::Text(text) => write_text(line, text),
        Cell::Kb(kb) => write!(line, "{kb}")?,
        Cell::Number(number) => write!(line, "{number}")?,
        Cell::Boolean(value) => write!(line, "{value}")?,
        Cell::Time(time) => write!(line, "{}", written(time))?,
        Cell::Day(day) => write!(line, "{day}")?,
    }
    line.push(',');
    Ok(())
}

fn write_text(line: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let is_formula = bytes.first().is_some_and(|first| FORMULA_STARTS.contains(first));
    let guard = if is_formula { "'" } else { "" };
    if memchr3(b'"', b',', b'\n', bytes).is_some() || memchr(b'\r', bytes).is_some() {
        line.push('"');
        line.push_str(guard);
        for (index, part) in text.split('"').enumerate() {
            line.push_str(if index == 0 { "" } else { "\"\"" });
            line.push_str(part);
        }
        line.push('"');
    } else {
        line.push_str(guard);
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut line = String::new();
        write_text(&mut line, text);
        line
    }

    #[test]
    fn times_are_those_that_the_state_keeps() {
        for (time, expected) in [
            ("2026-11-30T21:39:14.711979347Z", "2026-11-30T21:39:14.711Z,"),
            ("2026-11-30T21:39:14.000979Z", "2026-11-30T21:39:14Z,"),
            ("2026-06-09T17:00:00Z", "2026-06-09T17:00:00Z,"),
        ] {
            let mut line = String::new();
            write_cell(&mut line, Cell::Time(time.parse().unwrap())).unwrap();
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn text_is_no_formula_and_one_cell() {
        for (text, expected) in [
            ("srv-db", "srv-db"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("\nx", "\"'\nx\""),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("\"", "\"\"\"\""),
            ("a,b", "\"a,b\""),
            ("a=b", "a=b"),
            ("'a", "'a"),
            (" =a", " =a"),
            ("größe", "größe"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
