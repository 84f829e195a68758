//! The dashboard `fleet.json`: are we within our deadlines, are we getting better, where is it worst?
//!
//! Only the last row needs metrics of the machine level.

mod deadlines;
mod exceptions;
mod exploited;
mod known;
mod machines;
mod servicing;
mod updates;

use crate::dashboards::bounds::{OVERDUE_SHARE, STALE_LONG_SECS, UNKNOWN_SHARE, WITHIN_GOOD, WITHIN_LOW};
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT, expand};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};
use crate::dashboards::links::{TO_GROUP, TO_TENANT};
use crate::dashboards::shared::{burn_down, days_since, hours_since};

const FILTERS: Filters = &[
    JOB,
    INSTANCE,
    TENANT,
    Filter::machines("os_platform"),
    Filter::machines("device_group"),
    Filter::one("policy", "policy", Picks::Policy),
];

/// Selects the assessed machines.
const ASSESSED: &str = "@mde_assessed_machines{state=~\"fresh|stale\"}";

/// Selects the machines that the chosen policy judges.
const JUDGED: &str = "@mde_policy_machines{state=~\"compliant|due|accepted|overdue\"}";

/// Selects the machines that can be judged at all.
const SUPPORTED: &str = "@mde_assessed_machines{state!=\"unsupported\"}";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-fleet",
        title: "Defender missing updates / Fleet",
        description: "Missing security updates of the whole fleet, as Microsoft Defender for Endpoint \
                      reports them: are we within our deadlines, are we getting better, where is it worst?",
        from: "now-30d",
        variables: [
            Variable::common("mde_up"),
            vec![
                Variable::several_or_none(
                    "os_platform",
                    "Platform",
                    &expand("@mde_assessed_machines", &[JOB, INSTANCE, TENANT]),
                ),
                Variable::several_or_none(
                    "device_group",
                    "Device group",
                    &expand("@mde_assessed_machines", &[JOB, INSTANCE, TENANT]),
                ),
                Variable::one("policy", "Policy", &expand("@mde_policy_machines", &[JOB, INSTANCE])),
            ],
        ]
        .concat(),
        filters: FILTERS,
        marks: Marks::PatchTuesday,
        rows: vec![
            Row { title: "Are we within our deadlines?", shown: Shown::Open, panels: deadlines::panels() },
            Row { title: "Is anything exploited?", shown: Shown::Open, panels: exploited::panels() },
            Row {
                title: "Is every Windows version still serviced?",
                shown: Shown::Open,
                panels: servicing::panels(),
            },
            Row {
                title: "What is missing, and what is not known?",
                shown: Shown::Open,
                panels: known::panels(),
            },
            Row { title: "Are we getting better?", shown: Shown::Open, panels: better() },
            Row { title: "Where is it worst?", shown: Shown::Open, panels: worst() },
            Row { title: "Which updates?", shown: Shown::Open, panels: updates::panels() },
            Row { title: "Machine level: which machines?", shown: Shown::Folded, panels: machines::panels() },
        ],
    }
}

/// The share of the assessed machines that miss nothing and are still serviced.
fn misses_nothing(by: &str) -> String {
    let (by, assessed) = (grouping(by), ASSESSED);
    format!("sum {by}(@mde_compliant_machines) / (sum {by}({assessed}) > 0)")
}

fn share_in_state(state: &str, by: &str) -> String {
    let by = grouping(by);
    format!("sum {by}(@mde_assessed_machines{{state=\"{state}\"}}) / (sum {by}({SUPPORTED}) > 0)")
}

/// The share of the judged machines in these states of the chosen policy.
fn share_of_judged(states: &str, by: &str) -> String {
    let by = grouping(by);
    format!("sum {by}(@mde_policy_machines{{state=~\"{states}\"}}) / (sum {by}({JUDGED}) > 0)")
}

fn within_deadline(by: &str) -> String {
    share_of_judged("compliant|due|accepted", by)
}

fn grouping(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!("by ({by}) ") }
}

fn better() -> Vec<(u32, u32, Panel)> {
    let (detected, resolved) = (
        "sum(increase(@mde_missing_updates_detected_total[7d]))",
        "sum(increase(@mde_missing_updates_resolved_total[7d]))",
    );
    vec![
        (8, 8, Panel::bars(
            "Detected against resolved in a week",
            "Missing updates that were detected and that were resolved in the seven days before each point, \
             and the difference. Good: the difference is below zero within two weeks after a Patch Tuesday. \
             The first assessment of a machine counts as detected. A machine that leaves the scope resolves \
             nothing. Superseded updates were replaced by a newer one, which counts as detected: they are not \
             installed.",
        ).query(detected, "detected").query(resolved, "resolved").query(format!("{detected} - {resolved}"), "difference")
            .query("sum(increase(@mde_missing_updates_superseded_total[7d]))", "superseded")
            .downwards("resolved").line("difference").every("1d")
            .color("detected", Color::Warning).color("resolved", Color::Good).color("difference", Color::Neutral)
            .color("superseded", Color::Inactive)),
        (8, 8, Panel::lines(
            "Time to patch",
            "Time from first seen to resolved, for the missing updates that were resolved in the four weeks \
             before each point. Good: 90 % are resolved within the deadline (dashed: 14 days). Prometheus \
             must keep four weeks of data for this panel; its default is 15 days.",
        ).query(time_to_patch(0.5), "median").query(time_to_patch(0.9), "90 %")
            .unit(Unit::Days).above_zero().bounds(Bounds::warning_from(14.0 * 86_400.0))),
        (8, 8, Panel::burn_down(
            "Burn-down by month of release",
            "Machines that miss the updates of each month, on the days after the release. Good: the line of the newest \
             month is below the older ones at the same day; otherwise this month's rollout is late. A machine that \
             misses two updates of a month counts twice. A line ends when nobody misses the updates any more. Prometheus \
             must keep twelve weeks of data for this panel; its default is 15 days.",
        ).query(burn_down(), "")),
        (12, 8, by_severity(
            Panel::stacked(
                "Missing updates by severity",
                "Number of missing updates by CVSS rating: Defender's with `source: export`, that of the facts with \
                 `source: machines`. Without `facts` all are unknown there. Good: critical and high disappear first.",
            ),
            "mde_missing_updates",
            "severity",
            ["critical", "high", "medium", "low"],
        )),
        (12, 8, by_severity(
            Panel::stacked(
                "Missing updates by Microsoft's rating",
                "Number of missing updates by the rating that Microsoft gives them, which is not the CVSS rating. Good: \
                 critical disappears first. Needs `facts`; an update without facts is unknown.",
            ),
            "mde_missing_updates_vendor_severity",
            "vendor_severity",
            ["critical", "important", "moderate", "low"],
        )),
    ]
}

/// Adds one query for each severity, worst first, so that the areas have this order and their colours.
fn by_severity(panel: Panel, metric: &str, label: &str, severities: [&'static str; 4]) -> Panel {
    let colors = [Color::Bad, Color::Warning, Color::Minor, Color::Neutral];
    let rated = severities.into_iter().zip(colors).chain([("unknown", Color::Unknown)]);
    rated.fold(panel, |panel, (severity, color)| {
        panel.query(format!("sum(@{metric}{{{label}=\"{severity}\"}})"), severity).color(severity, color)
    })
}

fn time_to_patch(quantile: f64) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (le) (increase(@mde_update_resolution_seconds_bucket[28d]))) / 86400 \
         and on () sum(increase(@mde_update_resolution_seconds_count[28d])) > 0"
    )
}

fn worst() -> Vec<(u32, u32, Panel)> {
    let good = || Bounds::rising(WITHIN_LOW, WITHIN_GOOD);
    vec![
        (9, 8, Panel::table(
            "By platform",
            "Assessed machines of each operating system that miss no update and are still serviced. Good: all values \
             are close together. A platform that is far below the others has no working rollout.",
            vec![
                Column::label("os_platform", "Platform").grows(),
                Column::value("Value #A", "Miss nothing", Unit::Share).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
            ],
        ).query(misses_nothing("os_platform"), "").query(format!("sum by (os_platform) ({ASSESSED})"), "")),
        (15, 8, Panel::table(
            "By device group",
            "Assessed machines of each device group that miss no update and are still serviced, and the share of \
             unknown machines. Unsupported machines, such as phones, are counted in the last column alone. Good: all groups are close \
             together. The group without a name contains the machines that are in no device group of Defender. \
             Click a group to filter the dashboard by it.",
            vec![
                Column::label("device_group", "Device group").link("Show this group", TO_GROUP).grows(),
                Column::value("Value #A", "Miss nothing", Unit::Share).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
                Column::value("Value #C", "Unknown", Unit::Share).bounds(Bounds::falling(UNKNOWN_SHARE)),
                Column::value("Value #D", "Unsupported", Unit::Count),
            ],
        ).query(misses_nothing("device_group"), "")
            .query(format!("sum by (device_group) ({SUPPORTED})"), "")
            .query(share_in_state("unknown", "device_group"), "")
            .query("sum by (device_group) (@mde_assessed_machines{state=\"unsupported\"})", "")),
        (24, 7, Panel::table(
            "By tenant",
            "One row for each tenant, under the chosen policy. Good: 95 % or more within deadline, no machine that is \
             not judged, and fresh data. Below 90 % `MdeComplianceLow` fires, above 5 % overdue \
             `MdeMachinesOverdue`. Unsupported machines, such as phones, are counted in the last column alone. Click \
             a tenant to filter the dashboard by it.",
            vec![
                Column::label("tenant", "Tenant").link("Show this tenant", TO_TENANT).grows(),
                Column::value("Value #A", "Within deadline", Unit::Share).bounds(good()).bar(),
                Column::value("Value #B", "Not judged", Unit::Count).bounds(Bounds::warning_from(1.0)),
                Column::value("Value #C", "Overdue", Unit::Share).bounds(Bounds::falling(OVERDUE_SHARE)),
                Column::value("Value #D", "Accepted", Unit::Count),
                Column::value("Value #E", "Miss nothing", Unit::Share),
                Column::value("Value #F", "Machines", Unit::Count),
                Column::value("Value #G", "Age of data", Unit::Hours).bounds(Bounds::bad_from(STALE_LONG_SECS)),
                Column::value("Value #H", "Oldest missing", Unit::Days),
                Column::value("Value #I", "Unsupported", Unit::Count),
            ],
        ).query(within_deadline("tenant"), "")
            .query("sum by (tenant) (@mde_policy_machines{state=\"unknown\"})", "")
            .query(share_of_judged("overdue", "tenant"), "")
            .query("sum by (tenant) (@mde_policy_machines{state=\"accepted\"})", "")
            .query(misses_nothing("tenant"), "")
            .query(format!("sum by (tenant) ({SUPPORTED})"), "")
            .query(hours_since("min by (tenant) (@mde_exporter_last_poll_success_timestamp_seconds)"), "")
            .query(days_since("min by (tenant) (@mde_oldest_missing_update_timestamp_seconds)"), "")
            .query("sum by (tenant) (@mde_assessed_machines{state=\"unsupported\"})", "")),
    ]
}

/// A panel with one bar for each range of ages.
fn ages(title: &'static str, description: &'static str, count: fn(u32, Option<u32>) -> String) -> Panel {
    Panel::bar_gauge(title, description)
        .query(count(0, Some(14)), "up to 14 days")
        .query(count(14, Some(30)), "up to 30 days")
        .query(count(30, Some(60)), "up to 60 days")
        .query(count(60, Some(90)), "up to 90 days")
        .query(count(90, None), "older")
        .color("up to 14 days", Color::Good)
        .color("up to 30 days", Color::Neutral)
        .color("up to 60 days", Color::Warning)
        .color("up to 90 days", Color::Warning)
        .color("older", Color::Bad)
        .above_zero()
}

/// An expression that is 1 where `age` is above `low` days and at most `high` days, else 0. The first range
/// includes an age of 0.
fn within(age: &str, low: u32, high: Option<u32>) -> String {
    let (from, to) = (u64::from(low) * 86_400, high.map(|high| u64::from(high) * 86_400));
    match (from, to) {
        (0, Some(to)) => format!("({age} <= bool {to})"),
        (from, Some(to)) => format!("({age} > bool {from}) * ({age} <= bool {to})"),
        (from, None) => format!("({age} > bool {from})"),
    }
}
