//! The scores of the Exploit Prediction Scoring System of FIRST.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use jiff::civil::Date;

use super::{ParseError, date, input};
use crate::model::CveId;

/// The largest size of the file of all scores in bytes. In 2026 it has 11 MiB.
const MAX_BYTES: u64 = 256 << 20;

/// The longest line that is read. A row has 30 bytes.
const MAX_LINE: usize = 1024;

/// The scores of the CVEs that matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epss {
    /// The day of the scores.
    pub score_date: Option<Date>,
    /// The number of all scores, with those that were not kept.
    pub rows: u64,
    /// The probabilities, from 0 to 1.
    pub scores: BTreeMap<CveId, f64>,
}

/// Reads the CSV file of all scores, plain or compressed with gzip, and keeps those of some CVEs. A row that is no
/// number from 0 to 1 is skipped.
///
/// # Errors
/// Returns an error if `input` cannot be read to its end, or has no score.
pub fn read(input: impl Read, keep: &dyn Fn(CveId) -> bool) -> Result<Epss, ParseError> {
    let mut lines = input::content(input, MAX_BYTES)?;
    let mut line = Vec::new();
    let mut epss = Epss::default();
    while next_line(&mut lines, &mut line)? {
        let Ok(text) = str::from_utf8(&line) else { continue };
        if let Some(comment) = text.strip_prefix('#') {
            epss.score_date = epss.score_date.or_else(|| score_date(comment));
        } else if let Some((cve, score)) = row(text) {
            epss.rows += 1;
            if keep(cve) {
                epss.scores.insert(cve, score);
            }
        }
    }
    if epss.rows == 0 {
        return Err(ParseError::Shape("is no file of EPSS scores: it has no row with a CVE and a score"));
    }
    Ok(epss)
}

/// Reads the next line, of a longer one the first [`MAX_LINE`] bytes. Returns false at the end.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, ParseError> {
    line.clear();
    let mut is_end = true;
    loop {
        let available = lines.fill_buf()?;
        if available.is_empty() {
            return Ok(!is_end);
        }
        is_end = false;
        let end = memchr::memchr(b'\n', available);
        let part = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&part[..part.len().min(MAX_LINE - line.len())]);
        let read = end.map_or(part.len(), |end| end + 1);
        lines.consume(read);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The date in `model_version:v2026.06.15,score_date:2026-05-22T00:00:00+0000`.
fn score_date(comment: &str) -> Option<Date> {
    comment.split(',').find_map(|part| date::day(part.trim().strip_prefix("score_date:")?))
}

/// The CVE and the score of a row such as `CVE-2026-41108,0.00043,0.1`.
fn row(line: &str) -> Option<(CveId, f64)> {
    let mut cells = line.split(',').map(|cell| cell.trim().trim_matches('"'));
    let cve = CveId::parse(cells.next()?)?;
    let score = cells.next()?.parse().ok().filter(|score| (0.0..=1.0).contains(score))?;
    Some((cve, score))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use jiff::civil::date;

    use super::*;
    use crate::model::FactsFailure;

    const CSV: &str = "#model_version:v2026.06.15,score_date:2026-05-22T00:00:00+0000\n\
        cve,epss,percentile\n\
        CVE-2026-41108,0.93412,0.99\r\n\
        CVE-2026-41109,0,0\n\
        CVE-2026-41110,1,1\n\
        CVE-2026-41111,1.5e-3,0.4\n\
        CVE-2026-41112,1.1,1\n\
        CVE-2026-41113,-0.1,0\n\
        CVE-2026-41114,NaN,0\n\
        CVE-2026-41115,,\n\
        CVE-2026-41116\n\
        CVE-26-1,0.5,0.5\n\
        \n\
        CVE-2026-41117,0.5,0.5";

    fn cve(text: &str) -> CveId {
        CveId::parse(text).unwrap()
    }

    #[test]
    fn scores_from_0_to_1_are_kept() {
        let epss = read(CSV.as_bytes(), &|_| true).unwrap();
        assert_eq!(epss.score_date, Some(date(2026, 5, 22)));
        assert_eq!(epss.rows, 5);
        let expected = [
            ("CVE-2026-41108", 0.93412),
            ("CVE-2026-41109", 0.0),
            ("CVE-2026-41110", 1.0),
            ("CVE-2026-41111", 0.0015),
            ("CVE-2026-41117", 0.5),
        ];
        assert_eq!(epss.scores, expected.map(|(name, score)| (cve(name), score)).into());
    }

    #[test]
    fn every_row_is_counted_and_only_wanted_scores_are_kept() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(CSV.as_bytes()).unwrap();
        let wanted = cve("CVE-2026-41108");
        let epss = read(&gzip.finish().unwrap()[..], &|cve| cve == wanted).unwrap();
        assert_eq!((epss.rows, epss.scores.len()), (5, 1));
        assert_eq!(epss.scores, [(wanted, 0.93412)].into());
    }

    #[test]
    fn missing_or_odd_comment_costs_only_the_date() {
        let read =
            |comment: &str| read(format!("{comment}CVE-2026-41108,0.5").as_bytes(), &|_| true).unwrap();
        assert_eq!(read("").score_date, None);
        assert_eq!(read("#\n").score_date, None);
        assert_eq!(read("#score_date:yesterday\n").score_date, None);
        assert_eq!(read("#score_date:2025-09-06T12:55:00Z\n").score_date, Some(date(2025, 9, 6)));
        assert_eq!(read("\u{feff}#a, score_date:2025-09-06\n").score_date, Some(date(2025, 9, 6)));
    }

    #[test]
    fn long_or_damaged_line_is_skipped() {
        let mut csv = vec![b'x'; 1 << 20];
        csv.extend(b"\nCVE-2026-41108,0.\xff\nCVE-2026-41109,0.25\n");
        let epss = read(&csv[..], &|_| true).unwrap();
        assert_eq!(epss.scores, [(cve("CVE-2026-41109"), 0.25)].into());
    }

    #[test]
    fn file_without_scores_is_an_error() {
        for csv in ["", "cve,epss,percentile\n", "<html>\n", "{}", "CVE-2026-41108,x"] {
            assert_eq!(read(csv.as_bytes(), &|_| true).unwrap_err().kind(), FactsFailure::Decode, "{csv}");
        }
    }
}
