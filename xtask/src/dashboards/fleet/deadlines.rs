//! The first row: the machines under the chosen policy.

use super::{misses_nothing, within_deadline};
use crate::dashboards::bounds::{STALE_LONG_SECS, WEEK_SECS, WITHIN_GOOD, WITHIN_LOW};
use crate::dashboards::grafana::{Bounds, Color, Column, Panel, Unit};
use crate::dashboards::links::TO_EXPORTER;
use crate::dashboards::shared::{days_until, hours_since, kb_column};

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    let good = Bounds::rising(WITHIN_LOW, WITHIN_GOOD);
    vec![
        (6, 4, Panel::stat(
            "Within deadline",
            "Share of the judged machines that are not overdue under the chosen policy: they are compliant, due or \
             under an exception. Good: 95 % or more; below 90 % `MdeComplianceLow` fires. Read it together with \
             *Not judged*: those machines are not in this share.",
        ).query(within_deadline(""), "").unit(Unit::Share).bounds(good)),
        (6, 4, Panel::stat(
            "Overdue",
            "Number of machines that miss an update past its deadline under the chosen policy, or are past end of \
             servicing, without those under an exception. Good: 0. The table of machines in the last row lists them.",
        ).query(in_state("overdue"), "").bounds(Bounds::bad_from(1.0))),
        (6, 4, Panel::stat(
            "Exploited and missing",
            "Missing updates that fix a vulnerability which is being exploited: Microsoft reports it, or CISA's \
             catalogue KEV lists it. An update that replaced an exploited one counts too. Good: 0. Start here. \
             Nothing is shown without `facts` in the configuration, or while KEV was never loaded.",
        ).query("sum(@mde_missing_exploited_updates)", "").bounds(Bounds::bad_from(1.0))),
        (6, 4, Panel::stat(
            "Not judged",
            "Number of machines that the chosen policy cannot judge: never read, out of date, inactive, with an update \
             that cannot be read, or without facts that the policy needs. They count as neither within deadline nor \
             overdue. Good: 0. The row about what is not known tells the reasons apart.",
        ).query(in_state("unknown"), "").bounds(Bounds::warning_from(1.0)).link("Exporter", TO_EXPORTER)),
    ]
    .into_iter()
    .chain(others())
    .chain(history())
    .collect()
}

/// The numbers beside the main ones.
fn others() -> Vec<(u32, u32, Panel)> {
    vec![
        (6, 4, Panel::stat(
            "Due",
            "Number of machines that miss updates whose deadlines have not passed. Good: it falls in the weeks after \
             each Patch Tuesday. The table below names the updates that become overdue next.",
        ).query(in_state("due"), "")),
        (6, 4, Panel::stat(
            "Accepted",
            "Number of machines whose worst missing update or end of servicing is under an exception in effect: a risk \
             that was accepted until a date. They still miss the update. Good: only machines that you know of; the \
             table of exceptions lists the ends.",
        ).query(in_state("accepted"), "")),
        (6, 4, Panel::stat(
            "Miss nothing",
            "Share of the assessed machines that miss no update at all, whatever the deadlines are, and are not past \
             end of servicing. It falls after each Patch Tuesday and does not tell who is late. Good: near 100 % \
             before the next Patch Tuesday.",
        ).query(misses_nothing(""), "").unit(Unit::Share)),
        (6, 4, Panel::stat(
            "Age of the data",
            "Time since the last good answer for the tenant that has had none for the longest time. Good: \
             less than two poll intervals (6 h each by default). After a day `MdeDataStaleLong` fires, and this \
             dashboard no longer shows the present situation.",
        ).query(hours_since("min(@mde_exporter_last_poll_success_timestamp_seconds)"), "").unit(Unit::Hours)
            .bounds(Bounds::bad_from(STALE_LONG_SECS)).link("Exporter", TO_EXPORTER)),
    ]
}

fn history() -> Vec<(u32, u32, Panel)> {
    let good = Bounds::rising(WITHIN_LOW, WITHIN_GOOD);
    vec![
        (12, 8, Panel::lines(
            "Within deadline over time",
            "Share of the judged machines within the deadlines of the chosen policy, and of the assessed machines that \
             miss nothing. Good: the first line stays above 95 %, also in the weeks after a Patch Tuesday, while the \
             second one dips and recovers. A first line that falls means that patching is slower than the deadlines.",
        ).query(within_deadline(""), "within deadline").query(misses_nothing(""), "miss nothing")
            .unit(Unit::Share).bounds(good)
            .color("within deadline", Color::Good).color("miss nothing", Color::Neutral)),
        (12, 8, Panel::stacked(
            "Machines under the policy",
            "Machines by their state under the chosen policy. Due machines miss updates within the deadline, overdue \
             machines past it, or run a version past end of servicing; accepted ones are under an exception. Nothing is known about the grey ones. \
             Unsupported machines are left out. Good: no machine is overdue, and none is due at the end of the \
             deadline.",
        ).query("sum by (state) (@mde_policy_machines{state!=\"unsupported\"})", "{{state}}")
            .color("compliant", Color::Good).color("due", Color::Warning).color("accepted", Color::Neutral)
            .color("overdue", Color::Bad).color("unknown", Color::Unknown)),
        (24, 8, becomes_overdue()),
    ]
}

/// The table of the updates whose deadline passes within a week, as far as the fleet level can tell.
fn becomes_overdue() -> Panel {
    let deadline = "scalar(max(@mde_policy_deadline_seconds))";
    let ends = |start: &str| format!("min by (kb) ({start}) + {deadline}");
    let by_release = ends("@mde_update_released_timestamp_seconds");
    let by_first_seen = ends("@mde_update_first_seen_timestamp_seconds");
    let soon = |end: &str| format!("0 < {end} - time() < {WEEK_SECS}");
    let listed = format!("(({}) or ({}))", soon(&by_release), soon(&by_first_seen));
    let of_listed = |value: &str| format!("{value} and on (kb) {listed}");
    Panel::table(
        "What becomes overdue this week",
        "The updates whose deadline passes within seven days: the shortest deadline of the chosen policy, counted from \
         the release and from the first seen time on any machine. Which of the two applies depends on `from` in the \
         policy. Good: an empty list, or few machines. A rule with a longer deadline, an exception, or a later first \
         seen time on a machine gives that machine more time. A negative value has passed. Click a KB for its machines.",
        vec![
            kb_column(),
            Column::label("title", "Title").grows(),
            Column::value("Value #A", "Machines", Unit::Count).bar().descending(),
            Column::value("Value #B", "Deadline from release in", Unit::Days).bounds(Bounds::bad_up_to(0.0)),
            Column::value("Value #C", "Deadline from first seen in", Unit::Days).bounds(Bounds::bad_up_to(0.0)),
        ],
    )
    .query(
        of_listed(
            "sum by (kb, title) (@mde_update_missing_machines * on (job, instance, tenant, kb) \
             group_left (title) @mde_update_info)",
        ),
        "",
    )
    .query(of_listed(&days_until(&format!("({by_release})"))), "")
    .query(of_listed(&days_until(&format!("({by_first_seen})"))), "")
    .nothing("none")
}

/// The number of machines in a state of the chosen policy.
fn in_state(state: &str) -> String {
    format!("sum(@mde_policy_machines{{state=\"{state}\"}})")
}
