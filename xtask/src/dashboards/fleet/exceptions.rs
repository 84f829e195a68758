//! The table of exceptions.

use crate::dashboards::bounds::{EXCEPTION_ENDING_SECS, EXCEPTION_UNUSED};
use crate::dashboards::grafana::{Bounds, Column, Panel, Unit};
use crate::dashboards::shared::days_until;

pub(super) fn panel() -> Panel {
    let updates = "sum by (exception) (@mde_exception_updates)";
    let machines = "sum by (exception) (@mde_exception_servicing_machines)";
    Panel::table(
        "Exceptions",
        "The accepted risks of the configuration, the first to end at the top, and what each one covers now: missing \
         updates, and machines past end of servicing. Good: each exception covers something, and its end is weeks away. Below 14 days \
         `MdeExceptionEnding` fires; a negative time means that it has ended. While it covers nothing, \
         `MdeExceptionUnused` fires: remove it from the configuration.",
        vec![
            Column::label("exception", "Exception").grows(),
            Column::value("Value #A", "Ends in", Unit::Days).bounds(Bounds::rising(0.0, EXCEPTION_ENDING_SECS)),
            Column::value("Value #B", "Covers", Unit::Count).bounds(Bounds::warning_up_to(EXCEPTION_UNUSED)),
            Column::value("Value #C", "Missing updates", Unit::Count),
            Column::value("Value #D", "Past servicing", Unit::Count),
        ],
    )
    .query(format!("sort({})", days_until("min by (exception) (@mde_exception_end_timestamp_seconds)")), "")
    .query(format!("{updates} + on (exception) {machines}"), "")
    .query(updates, "")
    .query(machines, "")
    .nothing("no exceptions")
}
