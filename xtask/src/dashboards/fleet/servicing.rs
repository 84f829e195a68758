//! The row with the servicing of the Windows versions in the fleet.

use crate::dashboards::bounds::{SERVICING_ENDED, SERVICING_ENDING_SECS};
use crate::dashboards::grafana::{Bounds, Color, Column, Panel, Unit};
use crate::dashboards::links::TO_EXPORTER;
use crate::dashboards::shared::days_until;

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    vec![
        (6, 4, Panel::stat(
            "Past end of servicing",
            "Number of machines that run a Windows version which gets no more security updates. They miss no update, \
             because none is released, and count as overdue unless an exception accepts them. Good: 0; otherwise \
             `MdeServicingEnded` fires, as long as not all of them are under one exception. Upgrade them, or buy \
             Extended Security Updates where they exist.",
        ).query(in_state("ended"), "").bounds(Bounds::bad_above(SERVICING_ENDED))),
        (6, 4, Panel::stat(
            "Perhaps past end of servicing",
            "Number of machines in the state `uncertain`: the servicing has ended for some of the editions that they \
             may have, or nothing says whether they have Extended Security Updates. Defender does not report either. \
             No other figure counts them as ended. Good: 0. `servicing.editions` and `servicing.extended` in the \
             configuration settle it; the status page names the one that is needed.",
        ).query(in_state("uncertain"), "").bounds(Bounds::warning_from(1.0)).link("Exporter", TO_EXPORTER)),
        (6, 4, Panel::stat(
            "Ends within 90 days",
            "Number of machines, not yet past end of servicing, with a version whose servicing ends within 90 days for \
             an edition that machines of the version may have. Good: 0, or an upgrade that is planned. The table \
             lists the versions.",
        ).query(ends_soon(), "").bounds(Bounds::warning_from(1.0))),
        (6, 4, Panel::stat(
            "End not known",
            "Number of machines whose build is not known or not in the servicing table, such as a preview build. This \
             changes no other figure. Good: 0, or only machines that you know of. A newer facts file or a newer \
             release of the exporter may know the build.",
        ).query(in_state("unknown"), "")),
        (18, 9, ends()),
        (6, 9, Panel::stacked(
            "Machines by servicing",
            "The machines in scope by the servicing of their Windows version, without unsupported ones. Good: all are \
             in service. A rise of the red area at the start of a day is the end of a version.",
        ).query(in_state("in_service"), "in service").query(in_state("uncertain"), "uncertain")
            .query(in_state("ended"), "ended").query(in_state("unknown"), "unknown")
            .color("in service", Color::Good).color("uncertain", Color::Warning)
            .color("ended", Color::Bad).color("unknown", Color::Unknown)),
    ]
}

/// The table of the versions in the fleet with their ends.
fn ends() -> Panel {
    Panel::table(
        "What ends next, on how many machines",
        "The Windows versions in the fleet by end of servicing, the earliest at the top. A version has a row for each \
         edition that its machines may have, and one for Extended Security Updates; every row shows all machines of the \
         version. The last day is included, in UTC; a negative time means that it has passed. Good: no machine has \
         ended or is uncertain, and the next end is months away. Within 90 days `MdeServicingEnding` fires while \
         machines are in service or uncertain. A version without an edition is not in the servicing table.",
        vec![
            Column::label("os_platform", "Platform").grows(),
            Column::label("os_version", "Version"),
            Column::label("edition", "Edition"),
            Column::value("Value #A", "Ends in", Unit::Days).bounds(Bounds::rising(0.0, SERVICING_ENDING_SECS)),
            Column::value("Value #B", "Last day", Unit::Date),
            Column::value("Value #C", "In service", Unit::Count),
            Column::value("Value #D", "Uncertain", Unit::Count).bounds(Bounds::warning_from(1.0)),
            Column::value("Value #E", "Ended", Unit::Count).bounds(Bounds::bad_from(1.0)),
            Column::value("Value #F", "Unknown", Unit::Count),
        ],
    )
    .query(format!("sort({})", days_until(END)), "")
    // Noon of the last day: the same date in every time zone of a browser from UTC-12 to UTC+11.
    .query(format!("1000 * ({END} - 43200)"), "")
    .query(of_version("in_service"), "")
    .query(of_version("uncertain"), "")
    .query(of_version("ended"), "")
    .query(of_version("unknown"), "")
    .nothing("unknown")
}

/// The end of servicing of each version and edition. Exporters that disagree have tables of different days.
const END: &str = "max by (os_platform, os_version, edition) (@mde_servicing_end_timestamp_seconds)";

/// The number of machines in a servicing state.
fn in_state(state: &str) -> String {
    format!("sum(@mde_servicing_machines{{servicing=\"{state}\"}})")
}

/// The number of machines of each version in a servicing state, for each edition of the version that has an end.
fn of_version(state: &str) -> String {
    let machines =
        format!("sum by (os_platform, os_version) (@mde_servicing_machines{{servicing=\"{state}\"}})");
    format!(
        "0 * {END} + on (os_platform, os_version) group_left () {machines} or on (os_platform, os_version) {machines}"
    )
}

/// The number of machines for which `MdeServicingEnding` fires.
fn ends_soon() -> String {
    let version = "job, instance, os_platform, os_version";
    format!(
        "sum(sum by ({version}) (@mde_servicing_machines{{servicing=~\"in_service|uncertain\"}}) and on ({version}) \
         0 < @mde_servicing_end_timestamp_seconds - time() < {SERVICING_ENDING_SECS}) \
         or 0 * sum(@mde_servicing_machines)"
    )
}
