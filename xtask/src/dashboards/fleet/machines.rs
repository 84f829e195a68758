//! The row with the machines. It needs metrics of the machine level.

use super::{ages, within};
use crate::dashboards::bounds::WEEK_SECS;
use crate::dashboards::grafana::{Bounds, Color, Column, Panel, Unit};
use crate::dashboards::links::TO_EXPORTER;
use crate::dashboards::shared::{NAMED, days_since, machine_columns};

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    let missing = of_selected("@mde_machine_missing_updates");
    let not_seen = of_selected("@mde_machine_last_seen_timestamp_seconds");
    let missing_between =
        |from: u32, to: u32| format!("sum((({missing}) >= bool {from}) * (({missing}) <= bool {to}))");
    vec![
        (24, 10, worst_machines(&missing)),
        (24, 8, become_overdue()),
        (8, 8, Panel::stacked(
            "Machines by missing updates",
            "Assessed machines by the number of updates that they miss. Good: nearly all miss none, or one or \
             two after a Patch Tuesday. Six and more means that updates have failed for months.",
        ).query(format!("sum(({missing}) == bool 0)"), "none").query(missing_between(1, 2), "1 or 2")
            .query(missing_between(3, 5), "3 to 5").query(format!("sum(({missing}) >= bool 6)"), "6 and more")
            .color("none", Color::Good).color("1 or 2", Color::Neutral)
            .color("3 to 5", Color::Warning).color("6 and more", Color::Bad)),
        (8, 8, Panel::lines(
            "Missing updates by platform",
            "Number of missing updates by operating system. Good: all lines fall together. A line that does \
             not fall means that the rollout does not reach this platform.",
        ).query(
            "sum by (os_platform) (@mde_machine_missing_updates \
             * on (job, instance, tenant, machine_id) group_left (os_platform) @mde_machine_info)",
            "{{os_platform}}",
        ).above_zero()),
        (8, 8, ages(
            "Missing updates by time since first seen",
            "Missing updates by the time since they were first seen on their machine. Needs the update level. \
             Good: none is older than the deadline.",
            missing_update_age,
        )),
        (8, 6, Panel::stat(
            "Machines that could not be read",
            "Machines whose newest poll failed; their previous data is served with its age. Good: 0. A few \
             replies 404 come and go; open the dashboard of the exporter if the number grows.",
        ).query(format!("sum(({}) == bool 0)", of_selected("@mde_machine_up")), "")
            .bounds(Bounds::warning_from(1.0)).link("Exporter", TO_EXPORTER)),
        (8, 6, Panel::stat(
            "Machines not seen for a week",
            "Machines that Defender has not seen for seven days: switched off, reinstalled or lost. Good: \
             only machines that you know of. They cannot be patched, and they are not assessed after \
             `poll.inactive_after`.",
        ).query(format!("sum((time() - ({not_seen})) > bool 604800)"), "").bounds(Bounds::warning_from(1.0))),
        (8, 6, Panel::stat(
            "Machines with overdue updates",
            "Machines with a missing update that is overdue under at least one policy. Good: 0. The table \
             above lists the worst machines.",
        ).query(format!("sum(({}) > bool 0)", of_selected("@mde_machine_overdue_updates")), "")
            .bounds(Bounds::bad_from(1.0))),
    ]
}

fn worst_machines(missing: &str) -> Panel {
    let top = format!("topk(20, max by (tenant, machine_id) ({missing}) > 0)");
    let of_top = |value: &str| format!("{value} and on (tenant, machine_id) {top}");
    let mut columns = Vec::from(machine_columns());
    columns.extend([
        Column::label("tenant", "Tenant"),
        Column::label("os_platform", "Platform"),
        Column::label("device_group", "Device group"),
        Column::value("Value #A", "Missing", Unit::Count).bar(),
        Column::value("Value #B", "Overdue", Unit::Count).bounds(Bounds::bad_from(1.0)),
        Column::value("Value #C", "CVE fixes", Unit::Count),
        Column::value("Value #D", "Oldest missing", Unit::Days),
        Column::value("Value #E", "Last seen", Unit::Days),
    ]);
    Panel::table(
        "Machines that miss most",
        "The twenty machines that miss the most updates; empty when no machine misses any. Good: you know the \
         reason for each machine. Start with overdue machines that Defender has seen recently: they are running, but \
         updates do not install. The last two columns are the days since the oldest missing update was first seen, and \
         since Defender last saw the machine. Click a machine to see its missing updates.",
        columns,
    )
    .query(named(&top), "")
    .query(of_top("max by (tenant, machine_id) (@mde_machine_overdue_updates)"), "")
    .query(of_top("max by (tenant, machine_id) (@mde_machine_missing_updates_addressed_cves)"), "")
    .query(
        of_top(&days_since("min by (tenant, machine_id) (@mde_machine_oldest_missing_update_timestamp_seconds)")),
        "",
    )
    .query(of_top(&days_since("max by (tenant, machine_id) (@mde_machine_last_seen_timestamp_seconds)")), "")
    .nothing("none")
}

/// The machines whose next deadline passes within a week.
fn become_overdue() -> Panel {
    let deadline = "scalar(max(@mde_policy_deadline_seconds))";
    let first_seen = of_selected("@mde_machine_missing_update_first_seen_timestamp_seconds");
    let next =
        format!("min by (tenant, machine_id) (({first_seen}) + {deadline} - time() > 0) < {WEEK_SECS}");
    let listed = format!("bottomk(50, {next})");
    let mut columns = Vec::from(machine_columns());
    columns.extend([
        Column::label("tenant", "Tenant"),
        Column::label("os_platform", "Platform"),
        Column::label("device_group", "Device group"),
        Column::value("Value #A", "Overdue in", Unit::Days),
        Column::value("Value #B", "Last seen", Unit::Days),
    ]);
    Panel::table(
        "Machines that become overdue this week",
        "The machines with a missing update whose deadline passes within seven days, counted from its first seen time on \
         the machine by the shortest deadline of the chosen policy; at most fifty, the next ones first. Good: an empty \
         list. Under `from: released` the deadline is earlier; a rule with a longer deadline and an exception are not \
         considered. Needs the update level. A machine that has long not been seen cannot be patched in time.",
        columns,
    )
    .query(format!("sort({})", named(&format!("({listed}) / 86400"))), "")
    .query(
        format!(
            "{} and on (tenant, machine_id) {listed}",
            days_since("max by (tenant, machine_id) (@mde_machine_last_seen_timestamp_seconds)")
        ),
        "",
    )
    .nothing("none")
}

/// Adds the name, the platform and the device group of each machine to `series`.
fn named(series: &str) -> String {
    let properties = "machine, os_platform, device_group";
    format!(
        "{series} * on (tenant, machine_id) group_left ({properties}) \
         max by (tenant, machine_id, {properties}) ({NAMED})"
    )
}

fn missing_update_age(low: u32, high: Option<u32>) -> String {
    let first_seen = "@mde_machine_missing_update_first_seen_timestamp_seconds";
    let selected = of_selected(first_seen);
    format!(
        "sum({}) or sum({}) == 0",
        within(&format!("(time() - ({selected}))"), low, high),
        of_selected("@mde_machine_missing_updates")
    )
}

/// The series of the machines in the selected platforms and device groups.
fn of_selected(series: &str) -> String {
    format!("{series} and on (job, instance, tenant, machine_id) @mde_machine_info")
}
