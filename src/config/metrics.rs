//! The section `metrics`: amount of detail in the exposition.

use super::reader::ValueReader;
use super::values::kb;
use super::{Metrics, labels};
use crate::model::{DetailLevel, KbId};

pub(super) fn read(field: &ValueReader<'_>) -> Option<Metrics> {
    let section = field.section()?;
    let default = Metrics::default();
    let detail =
        section.optional_or("detail", "fleet, machine, update or auto is allowed", default.detail, |field| {
            field.text(|word| match word {
                // The series limit applies to every level, so both words have the same effect.
                "auto" => Ok(DetailLevel::Update),
                word => DetailLevel::from_word(word).ok_or("is not a known level"),
            })
        });
    let series_limit = section.optional_or(
        "series_limit",
        "a whole number from 1, or 0 for no limit, is allowed",
        default.series_limit,
        |field| field.number(|text| text.parse().ok()),
    );
    let ignore_kbs =
        section.optional_or("ignore_kbs", "a list of KB numbers is allowed", Vec::new(), |field| {
            let items = field.list("the number of a KB, such as 2267602, is allowed")?;
            // Collected first, so that the problems of every item are reported.
            let kbs: Vec<_> = items.iter().map(|item| item.text(kb)).collect();
            kbs.into_iter().collect()
        });
    let ignore_ids =
        section.optional_or("ignore_ids", "a list of update ids is allowed", Vec::new(), |field| {
            let items = field.list("an update id that is no KB, such as Click to Run, is allowed")?;
            let ids: Vec<_> = items.iter().map(|item| item.text(unreadable_id)).collect();
            ids.into_iter().collect()
        });
    let labels = section.optional_or(
        "labels",
        "a mapping of at most 3 names to settings is allowed",
        Vec::new(),
        labels::read,
    );
    section.finish();
    Some(Metrics {
        detail: detail?,
        series_limit: series_limit?,
        ignore_kbs: ignore_kbs?,
        ignore_ids: ignore_ids?,
        labels: labels?,
    })
}

fn unreadable_id(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("is empty"),
        id if KbId::parse(id).is_some() => Err("is the number of a KB, which belongs in ignore_kbs"),
        id => Ok(id.to_owned()),
    }
}
