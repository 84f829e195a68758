//! The section `metrics`: how much is exposed.

use super::section::ValueReader;
use super::{Detail, Metrics};

pub(super) fn read(field: &ValueReader<'_>) -> Option<Metrics> {
    let section = field.section()?;
    let default = Metrics::default();
    let detail =
        section.optional_or("detail", "fleet, machine, update or auto is allowed", default.detail, |field| {
            field.text(|text| match text {
                "fleet" => Ok(Detail::Fleet),
                "machine" => Ok(Detail::Machine),
                "update" => Ok(Detail::Update),
                "auto" => Ok(Detail::Auto),
                _ => Err("is not a known level"),
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
            // Collected before it is judged, so that every item is read.
            let kbs: Vec<_> = items.iter().map(|item| item.text(kb)).collect();
            kbs.into_iter().collect()
        });
    section.finish();
    Some(Metrics { detail: detail?, series_limit: series_limit?, ignore_kbs: ignore_kbs? })
}

/// Up to nine digits, an optional `KB` in front in any case.
fn kb(text: &str) -> Result<u32, &'static str> {
    let digits = match text.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("kb") => &text[2..],
        _ => text,
    };
    let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten().ok_or("is not the number of a KB")
}
