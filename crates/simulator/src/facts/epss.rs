//! The EPSS scores: the simulated CVEs, many others, and rows that are not numbers.

use std::fmt::Write as _;

use super::cvrf::{DOT_NET_CVES, SYSTEM_CVES};
use super::exploitation::EXPLOITED;
use crate::calendar::{Batch, Day};
use crate::export::update_catalog::cve;
use crate::random::mix;

/// Months whose CVEs have a score.
const MONTHS: usize = 60;

/// Rows about CVEs of other vendors.
const OTHERS: u64 = 500;

/// The table of today. A shrunken one has only a quarter of the rows.
pub(super) fn scores(today: Day, shrunken: bool) -> String {
    let mut rows = Vec::new();
    for batch in Batch::released_by(today).take(MONTHS) {
        let months = u64::from(batch.months_since(Batch::JANUARY_2024).unsigned_abs());
        for (cves, dot_net) in [(SYSTEM_CVES, false), (DOT_NET_CVES, true)] {
            for index in 0..cves {
                let draw = mix(37, months * 2 + u64::from(dot_net), index as u64) % 10_000;
                let exploited = index == EXPLOITED && !dot_net;
                // Most CVEs have a very low probability.
                let score = if exploited { 90_000 + draw / 2 } else { draw * draw / 20_000 };
                rows.push(row(&cve(batch, index, dot_net).id, score));
            }
        }
    }
    rows.extend(
        (0..OTHERS).map(|number| row(&format!("CVE-2022-{}", 1_000 + number), mix(41, number, 0) % 3_000)),
    );
    if shrunken {
        rows.truncate(rows.len() / 4);
    }
    // Rows that a reader skips.
    rows.push("CVE-2022-0001,unknown,0.5\n".to_owned());
    rows.push("CVE-2022-0002,1.5,0.5\n".to_owned());
    rows.push("not-a-cve,0.5,0.5\n".to_owned());
    let mut table = String::new();
    write!(
        table,
        "#model_version:v2026.06.15,score_date:{}T00:00:00+0000\ncve,epss,percentile\n",
        today.date()
    )
    .ok();
    table.extend(rows);
    table
}

/// A row with a score in parts of a hundred thousand.
fn row(cve: &str, score: u64) -> String {
    format!("{cve},0.{score:05},0.{:05}\n", score.midpoint(99_999))
}
