//! The first row: the machines under the chosen policy.

use super::{TO_EXPORTER, misses_nothing, within_deadline};
use crate::dashboards::bounds::{STALE_LONG_SECS, WITHIN_GOOD, WITHIN_LOW};
use crate::dashboards::grafana::{Bounds, Color, Panel, Unit};

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    let good = || Bounds::rising(WITHIN_LOW, WITHIN_GOOD);
    vec![
        (4, 4, Panel::stat(
            "Within deadline",
            "Share of the judged machines with no missing update past its deadline under the chosen policy, and not \
             past end of servicing: machines that are compliant, due or under an exception. Good: 95 % or more; below 90 % `MdeComplianceLow` fires. \
             Read it together with the number beside it: machines that are not judged are not in this share.",
        ).query(within_deadline(""), "").unit(Unit::Share).bounds(good())),
        (4, 4, Panel::stat(
            "Not judged",
            "Number of machines that the chosen policy cannot judge: never read, out of date, inactive, with an update \
             that cannot be read, or without facts that the policy needs. They count as neither within nor past their \
             deadlines. Good: 0. The row about what is not known tells the reasons apart.",
        ).query(in_state("unknown"), "").bounds(Bounds::warning_from(1.0)).link("Exporter", TO_EXPORTER)),
        (4, 4, Panel::stat(
            "Past the deadline",
            "Number of machines that miss an update for longer than the chosen policy allows, or are past end of \
             servicing, without those under an exception. Good: 0. The table of machines in the last row lists them.",
        ).query(in_state("overdue"), "").bounds(Bounds::bad_from(1.0))),
        (4, 4, Panel::stat(
            "Accepted",
            "Number of machines whose worst missing update or end of servicing is under an exception in effect: a risk \
             that was accepted until a date. They still miss the update. Good: only machines that you know of; the table of exceptions \
             lists the ends.",
        ).query(in_state("accepted"), "")),
        (4, 4, Panel::stat(
            "Misses nothing",
            "Share of the assessed machines that miss no update at all, whatever the deadlines are, and are not past \
             end of servicing. It falls after each Patch Tuesday and is no measure of being late. Good: near 100 % before the next Patch Tuesday.",
        ).query(misses_nothing(""), "").unit(Unit::Share)),
        (4, 4, Panel::stat(
            "Age of the data",
            "Time since the last good answer for the tenant that has had none for the longest time. Good: \
             less than two poll intervals (6 h each by default). After a day `MdeDataStaleLong` fires, and this \
             dashboard no longer shows the current situation.",
        ).query("time() - min(@mde_exporter_last_poll_success_timestamp_seconds)", "").unit(Unit::Seconds)
            .decimals(1).bounds(Bounds::bad_from(STALE_LONG_SECS)).link("Exporter", TO_EXPORTER)),
        (12, 8, Panel::lines(
            "Within deadline over time",
            "Share of the judged machines within the deadlines of the chosen policy, and of the assessed machines that \
             miss nothing. Good: the first line stays above 95 %, also in the weeks after a Patch Tuesday, while the \
             second one dips and recovers. A first line that falls means that patching is slower than the deadlines.",
        ).query(within_deadline(""), "within deadline").query(misses_nothing(""), "misses nothing")
            .unit(Unit::Share).bounds(good())
            .color("within deadline", Color::Good).color("misses nothing", Color::Neutral)),
        (12, 8, Panel::stacked(
            "Machines under the policy",
            "Machines by their state under the chosen policy. Due machines miss updates within the deadline, overdue \
             machines past it, or run a version past end of servicing; accepted ones are under an exception. Nothing is known about the grey ones. \
             Unsupported machines are left out. Good: no machine is overdue, and none is due at the end of the \
             deadline.",
        ).query("sum by (state) (@mde_policy_machines{state!=\"unsupported\"})", "{{state}}")
            .color("compliant", Color::Good).color("due", Color::Warning).color("accepted", Color::Neutral)
            .color("overdue", Color::Bad).color("unknown", Color::Unknown)),
    ]
}

/// The number of machines in a state of the chosen policy.
fn in_state(state: &str) -> String {
    format!("sum(@mde_policy_machines{{state=\"{state}\"}})")
}
