//! The index of the CVRF documents, and their ids.

use std::fmt;

use jiff::civil::Date;
use serde_json::json;

use crate::calendar::{Batch, Day};

/// Months between April 2016, the oldest document, and January 2024.
const OLDEST_BEFORE_2024: i32 = 93;

/// Days for which a document is revised.
const REVISED_FOR: i32 = 30;

/// The id of a CVRF document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MonthDocument {
    pub(super) batch: Batch,
    /// True for a document of updates released outside Update Tuesday: `2020-Mar-OOB`.
    pub(super) is_out_of_band: bool,
}

impl MonthDocument {
    /// The id, as the index writes it. Others are unknown.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (month, is_out_of_band) = match text.strip_suffix("-OOB") {
            Some(month) => (month, true),
            None => (text, false),
        };
        let date = Date::strptime("%d-%Y-%b", format!("1-{month}")).ok()?;
        let id = Self { batch: Batch::of_month(Day::of(date)), is_out_of_band };
        (id.to_string() == text).then_some(id)
    }

    /// The document of a month's Update Tuesday.
    pub(super) fn ordinary(batch: Batch) -> Self {
        Self { batch, is_out_of_band: false }
    }

    /// The document of the month, if it has updates outside Update Tuesday.
    pub(super) fn out_of_band(batch: Batch) -> Option<Self> {
        let has_one = batch.months_since(Batch::JANUARY_2024).rem_euclid(4) == 2;
        has_one.then_some(Self { batch, is_out_of_band: true })
    }

    /// The day on which its updates are released.
    pub(super) fn released(self) -> Day {
        self.batch.released().plus(if self.is_out_of_band { 9 } else { 0 })
    }

    /// Returns whether the document is in the index. In the days before Update Tuesday that month's document
    /// is there, without updates.
    pub(super) fn exists(self, today: Day) -> bool {
        let months = self.batch.months_since(Batch::JANUARY_2024);
        let begun = Batch::of_month(today).months_since(self.batch) >= 0;
        let known = if self.is_out_of_band {
            Self::out_of_band(self.batch).is_some() && self.released() <= today
        } else {
            begun
        };
        known && months >= -OLDEST_BEFORE_2024
    }

    /// Returns whether the document stands in the index before its Update Tuesday.
    pub(super) fn is_early(self, today: Day) -> bool {
        self.released() > today
    }

    pub(super) fn title(self, today: Day) -> String {
        let month = self.batch.title();
        let month = month.trim_end_matches(" Security Updates");
        match (self.is_early(today), self.is_out_of_band) {
            (true, _) => format!("{month} Early Security Updates"),
            (false, true) => format!("{month} Out of Band Security Updates"),
            (false, false) => format!("{month} Security Updates"),
        }
    }

    /// The date of the first revision. The date of an early document moves.
    pub(super) fn initial(self, today: Day) -> Day {
        if self.is_early(today) { today } else { self.released() }
    }

    /// The date of the newest revision.
    pub(super) fn current(self, today: Day) -> Day {
        today.min(self.initial(today).plus(REVISED_FOR))
    }
}

impl fmt::Display for MonthDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.batch.id(), if self.is_out_of_band { "-OOB" } else { "" })
    }
}

/// Midnight in Redmond, in UTC and without a zone.
pub(super) fn midnight_in_redmond(day: Day) -> String {
    let date = day.date();
    let hour = if matches!(date.month(), 11 | 12 | 1 | 2) { "08" } else { "07" };
    format!("{date}T{hour}:00:00")
}

/// The documents of the newest months, newest first.
pub(super) fn newest_documents(today: Day, months: usize) -> impl Iterator<Item = MonthDocument> {
    let newest = Batch::of_month(today);
    (0..).take(months).flat_map(move |back| {
        let batch = newest.plus(-back);
        let both = [Some(MonthDocument::ordinary(batch)), MonthDocument::out_of_band(batch)];
        both.into_iter().flatten().filter(move |id| id.exists(today))
    })
}

/// The index. Its dates have a zone, and those of older documents have it twice.
pub(super) fn index(today: Day) -> String {
    let months =
        usize::try_from(Batch::of_month(today).months_since(Batch::JANUARY_2024) + OLDEST_BEFORE_2024 + 1);
    let mut entries: Vec<_> = newest_documents(today, months.unwrap_or(0))
        .map(|id| {
            let zone = if id.batch.months_since(Batch::JANUARY_2024) < 0 { "ZZ" } else { "Z" };
            let date = |day| format!("{}{zone}", midnight_in_redmond(day));
            entry(&id.to_string(), &id.title(today), &date(id.initial(today)), &date(id.current(today)))
        })
        .collect();
    let note = entry("2000-Feb", "Other Release Notes", "2000-02-08T08:00:00Z", "2024-05-14T07:00:00Z");
    entries.push(note);
    json!({"@odata.context": "https://api.msrc.microsoft.com/cvrf/v3.0/$metadata#Updates", "value": entries})
        .to_string()
}

fn entry(id: &str, title: &str, initial: &str, current: &str) -> serde_json::Value {
    json!({
        "ID": id,
        "Alias": id,
        "DocumentTitle": title,
        "Severity": null,
        "InitialReleaseDate": initial,
        "CurrentReleaseDate": current,
        // Another host: a client must not follow it.
        "CvrfUrl": format!("https://cvrf.example/cvrf/v3.0/cvrf/{id}"),
    })
}
