//! The exceptions and what they cover.

use super::headline::selected;
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
    /// The number of machines on which it covers something, and the link to them.
    pub(super) machines: (String, String),
}

pub(super) fn exceptions(context: &PageContext) -> Vec<ExceptionRow> {
    let exceptions = context.snapshot.exceptions.iter().enumerate();
    exceptions.map(|(index, exception)| row(context, index, exception)).collect()
}

fn row(context: &PageContext, index: usize, exception: &Exception) -> ExceptionRow {
    let machines: usize =
        selected(context).map(|(_, _, overview)| overview.exception_machines[index].len()).sum();
    let now = context.snapshot.at;
    let ends_at = exception.ends_at();
    let days_left = ends_at.duration_since(now).as_hours() / 24;
    let (end, class) = if exception.is_in_effect(now) {
        (ShownTime::coming(ends_at, now), if days_left < ENDS_SOON_DAYS { "warn" } else { "soft" })
    } else {
        let past = ShownTime::past(ends_at, now);
        (ShownTime { words: format!("ended {}", past.words), ..past }, "bad")
    };
    ExceptionRow {
        name: visible(&exception.name),
        reason: visible(&exception.reason),
        until: exception.until.to_string(),
        end,
        class,
        machines: (
            counted(machines as u64, "machine"),
            context.machines(|query| query.exception = Some(index)),
        ),
    }
}
