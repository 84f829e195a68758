//! The exceptions and what they cover.

use super::headline::selected;
use crate::fleet::overview::TenantOverview;
use crate::model::Exception;
use crate::web::pages::context::PageContext;
use crate::web::pages::text::{ShownTime, counted, visible};

/// An exception that ends within this number of days is marked. The alert `MdeExceptionEnding` has the same limit.
const ENDS_SOON_DAYS: i64 = 14;

/// One exception.
pub(super) struct ExceptionRow {
    pub(super) name: String,
    pub(super) reason: String,
    /// The last day.
    pub(super) until: String,
    /// The time until the end, or since the end.
    pub(super) end: ShownTime,
    pub(super) class: &'static str,
    /// What it covers, in words.
    pub(super) covers: String,
}

pub(super) fn exceptions(context: &PageContext) -> Vec<ExceptionRow> {
    let exceptions = context.snapshot.exceptions.iter().enumerate();
    exceptions.map(|(index, exception)| row(context, index, exception)).collect()
}

fn row(context: &PageContext, index: usize, exception: &Exception) -> ExceptionRow {
    let sum = |counts: fn(&TenantOverview) -> &[Option<u64>]| -> u64 {
        selected(context).filter_map(|(_, _, overview)| *counts(overview).get(index)?).sum()
    };
    let (updates, machines) =
        (sum(|tenant| &tenant.exception_updates), sum(|tenant| &tenant.exception_servicing));
    let now = context.snapshot.at;
    let ends_at = exception.ends_at();
    let days_left = ends_at.duration_since(now).as_hours() / 24;
    let (end, class) = if exception.is_in_effect(now) {
        (ShownTime::coming(ends_at, now), if days_left < ENDS_SOON_DAYS { "warn" } else { "soft" })
    } else {
        let past = ShownTime::past(ends_at, now);
        (ShownTime { words: format!("ended {}", past.words), ..past }, "bad")
    };
    let ended = match machines {
        0 => String::new(),
        machines => format!(" and {} past end of servicing", counted(machines, "machine")),
    };
    ExceptionRow {
        name: visible(&exception.name),
        reason: visible(&exception.reason),
        until: exception.until.to_string(),
        end,
        class,
        covers: format!("{}{ended}", counted(updates, "missing update")),
    }
}
