//! The dashboard `fleet.json`: are we patched, are we getting better, where is it worst?
//!
//! Only the last row needs metrics of the machine level.

mod exploited;
mod machines;
mod updates;

use crate::dashboards::bounds::{
    COMPLIANCE_GOOD, COMPLIANCE_LOW, INACTIVE_SHARE, OVERDUE_SHARE, STALE_LONG_SECS, UNKNOWN_SHARE,
};
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};

const FILTERS: Filters = &[
    JOB,
    INSTANCE,
    TENANT,
    Filter { label: "os_platform", variable: "os_platform", operator: "=~", picks: Picks::Machines },
    Filter { label: "device_group", variable: "device_group", operator: "=~", picks: Picks::Machines },
    Filter { label: "policy", variable: "policy", operator: "=", picks: Picks::Policy },
];

/// Selects the assessed machines.
const ASSESSED: &str = "@mde_assessed_machines{state=~\"fresh|stale\"}";

/// Selects the machines that can be judged at all.
const SUPPORTED: &str = "@mde_assessed_machines{state!=\"unsupported\"}";

/// URL parameters that keep the selected variables and the time range.
macro_rules! selection {
    () => {
        "&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    };
}

const TO_TENANT: &str =
    concat!("/d/mde-fleet?var-tenant=${__data.fields.tenant:percentencode}", selection!());
const TO_GROUP: &str = concat!(
    "/d/mde-fleet?var-device_group=${__data.fields.device_group:percentencode}&${tenant:queryparam}",
    selection!()
);
const TO_MACHINE: &str = concat!(
    "/d/mde-machine?var-tenant=${__data.fields.tenant:percentencode}",
    "&var-machine=${__data.fields.machine_id:percentencode}",
    selection!()
);
const TO_EXPORTER: &str = concat!("/d/mde-exporter?${tenant:queryparam}", selection!());
const TO_CATALOGUE: &str =
    "https://www.catalog.update.microsoft.com/Search.aspx?q=KB${__data.fields.kb:percentencode}";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-fleet",
        title: "Defender missing updates / Fleet",
        description: "Missing security updates of the whole fleet, as Microsoft Defender for Endpoint \
                      reports them: are we patched, are we getting better, where is it worst?",
        from: "now-30d",
        variables: [
            Variable::common("mde_up"),
            vec![
                Variable::several_or_none(
                    "os_platform",
                    "Platform",
                    "mde_assessed_machines{job=~\"$job\", instance=~\"$instance\", tenant=~\"$tenant\"}",
                ),
                Variable::several_or_none(
                    "device_group",
                    "Device group",
                    "mde_assessed_machines{job=~\"$job\", instance=~\"$instance\", tenant=~\"$tenant\"}",
                ),
                Variable::one(
                    "policy",
                    "Policy",
                    "mde_policy_deadline_seconds{job=~\"$job\", instance=~\"$instance\"}",
                ),
            ],
        ]
        .concat(),
        filters: FILTERS,
        marks: Marks::PatchTuesday,
        rows: vec![
            Row { title: "Is anything exploited?", shown: Shown::Open, panels: exploited::panels() },
            Row { title: "Are we patched?", shown: Shown::Open, panels: patched() },
            Row { title: "Are we getting better?", shown: Shown::Open, panels: better() },
            Row { title: "Where is it worst?", shown: Shown::Open, panels: worst() },
            Row { title: "Which updates?", shown: Shown::Open, panels: updates::panels() },
            Row { title: "Machine level: which machines?", shown: Shown::Folded, panels: machines::panels() },
        ],
    }
}

fn compliance(by: &str) -> String {
    let (by, assessed) = (grouping(by), ASSESSED);
    format!("sum {by}(@mde_compliant_machines) / (sum {by}({assessed}) > 0)")
}

fn share_in_state(state: &str, by: &str) -> String {
    let by = grouping(by);
    format!("sum {by}(@mde_assessed_machines{{state=\"{state}\"}}) / (sum {by}({SUPPORTED}) > 0)")
}

fn overdue_share(by: &str) -> String {
    let by = grouping(by);
    format!(
        "sum {by}(@mde_policy_machines{{state=\"overdue\"}}) \
         / (sum {by}(@mde_policy_machines{{state!~\"unknown|unsupported\"}}) > 0)"
    )
}

fn grouping(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!("by ({by}) ") }
}

fn patched() -> Vec<(u32, u32, Panel)> {
    let missing = format!("sum({ASSESSED}) - sum(@mde_compliant_machines)");
    vec![
        (4, 4, Panel::stat(
            "Patch compliance",
            "Share of the assessed machines that miss no update. Good: 95 % or more; below 90 % \
             `MdeComplianceLow` fires. Inactive and unknown machines are not assessed, so also read their \
             shares in the next panels. To find the group that lowers the value, see the row `Where is it \
             worst?`.",
        ).query(compliance(""), "").unit(Unit::Share).bounds(Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD))),
        (4, 4, Panel::stat(
            "Past the deadline",
            "Share of the judged machines that miss an update for longer than the chosen policy allows. \
             Good: none; above 5 % `MdeMachinesOverdue` fires. The table of machines in the last row lists \
             them.",
        ).query(overdue_share(""), "").unit(Unit::Share).bounds(Bounds::falling(OVERDUE_SHARE))),
        (4, 4, Panel::stat(
            "Nothing known",
            "Share of the machines in scope that were never read, or not within `poll.expire_after`, without \
             unsupported machines. They count as neither patched nor unpatched. Good: none; above 5 % `MdeCollectionIncomplete` fires. \
             To find the cause, open the dashboard of the exporter.",
        ).query(share_in_state("unknown", ""), "").unit(Unit::Share)
            .bounds(Bounds::falling(UNKNOWN_SHARE)).link("Exporter", TO_EXPORTER)),
        (4, 4, Panel::stat(
            "Not seen by Defender",
            "Share of the machines in scope that are inactive: Defender has not seen them for \
             `poll.inactive_after`, so its data about them is not used. Unsupported machines are left out. \
             Good: few; above 10 % \
             `MdeMachinesInactive` fires. Find these machines or remove them from Defender.",
        ).query(share_in_state("inactive", ""), "").unit(Unit::Share).bounds(Bounds::falling(INACTIVE_SHARE))),
        (4, 4, Panel::stat(
            "Missing updates",
            "Number of missing updates: one KB missing on one machine counts as one. Good: it falls to almost \
             zero between two Patch Tuesdays. The second number is the sum of the CVEs that these updates \
             fix; a CVE that several updates fix is counted several times.",
        ).query("sum(@mde_missing_updates)", "updates").query("sum(@mde_missing_updates_addressed_cves)", "CVE fixes")),
        (4, 4, Panel::stat(
            "Age of the data",
            "Time since the last good answer for the tenant that has had none for the longest time. Good: \
             less than two poll intervals (6 h each by default). After a day `MdeDataStaleLong` fires, and this \
             dashboard no longer shows the current situation.",
        ).query("time() - min(@mde_exporter_last_poll_success_timestamp_seconds)", "").unit(Unit::Seconds)
            .decimals(1).bounds(Bounds::bad_from(STALE_LONG_SECS)).link("Exporter", TO_EXPORTER)),
        (12, 8, Panel::lines(
            "Compliance",
            "Share of the assessed machines that miss no update, over time. Good: a short dip after each \
             Patch Tuesday, and above 95 % before the next. A fall at any other time means that the machine \
             list changed or that a rollout was reverted.",
        ).query(compliance(""), "compliance").unit(Unit::Share).bounds(Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD))),
        (12, 8, Panel::stacked(
            "Machines by state",
            "The machines in scope without unsupported ones. Good: nearly all patched. Grey is not green: \
             nothing is known about unknown machines, and the data of inactive machines is not used.",
        ).query("sum(@mde_compliant_machines)", "patched")
            .query(missing, "missing updates")
            .query("sum(@mde_assessed_machines{state=\"inactive\"})", "inactive")
            .query("sum(@mde_assessed_machines{state=\"unknown\"})", "unknown")
            .color("patched", Color::Good).color("missing updates", Color::Warning)
            .color("inactive", Color::Inactive).color("unknown", Color::Unknown)),
    ]
}

fn better() -> Vec<(u32, u32, Panel)> {
    let (detected, resolved) = (
        "sum(increase(@mde_missing_updates_detected_total[7d]))",
        "sum(increase(@mde_missing_updates_resolved_total[7d]))",
    );
    vec![
        (8, 8, Panel::stacked(
            "Policy",
            "Machines by their state under the chosen policy. Due machines miss updates within the deadline, \
             overdue machines past it. Unsupported machines are left out. Good: no machine is overdue, and none \
             is due at the end of the deadline.",
        ).query("sum by (state) (@mde_policy_machines{state!=\"unsupported\"})", "{{state}}")
            .color("compliant", Color::Good).color("due", Color::Warning)
            .color("overdue", Color::Bad).color("unknown", Color::Unknown)),
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
            .unit(Unit::Seconds).above_zero().bounds(Bounds::warning_from(14.0 * 86_400.0))),
        (8, 8, Panel::lines(
            "Burn-down of the newest batches",
            "Machines that miss an update of the newest batch, and of the two previous batches at the same \
             age: each line starts at the release of its batch. Good: the newest line is below the older \
             ones; otherwise this month's rollout is late. The older lines need nine weeks of data in \
             Prometheus. A machine that misses two updates of a batch counts twice.",
        ).query(batch(&[0]), "newest batch").query(batch(&[28, 35]), "the one before")
            .query(batch(&[56, 63]), "two before").every("1h").above_zero()),
        (8, 8, by_severity(
            Panel::stacked(
                "Missing updates by severity",
                "Number of missing updates by CVSS rating: Defender's with `source: export`, that of the facts with \
                 `source: machines`. Without `facts` all are unknown there. Good: critical and high disappear first.",
            ),
            "mde_missing_updates",
            "severity",
            ["critical", "high", "medium", "low"],
        )),
        (8, 8, by_severity(
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
        "histogram_quantile({quantile}, sum by (le) (increase(@mde_update_resolution_seconds_bucket[28d]))) \
         and on () sum(increase(@mde_update_resolution_seconds_count[28d])) > 0"
    )
}

/// Machines that miss an update of the batch that was released one of these numbers of days before the newest
/// batch. The previous Patch Tuesday is 28 or 35 days earlier, the one before it 56 or 63 days. Whole days are
/// compared: the hour of a release changes with daylight saving time, and differs between facts and titles.
fn batch(days_before: &[u32]) -> String {
    let one = |days: &u32| {
        let (offset, later) = match days {
            0 => (String::new(), String::new()),
            days => (format!(" offset {days}d"), format!(" + {days}")),
        };
        format!(
            "sum(@mde_update_missing_machines{offset} and on (job, instance, tenant, kb) \
             (floor(@mde_update_released_timestamp_seconds{offset} / 86400){later} == on () group_left () \
             max(floor(@mde_update_released_timestamp_seconds / 86400))))"
        )
    };
    days_before.iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn worst() -> Vec<(u32, u32, Panel)> {
    let good = || Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD);
    vec![
        (6, 8, Panel::bar_gauge(
            "Compliance by platform",
            "Compliance of each operating system. Good: all values are close together. A platform that is far \
             below the others has no working rollout.",
        ).query(compliance("os_platform"), "{{os_platform}}").unit(Unit::Share).bounds(good())),
        (9, 8, Panel::table(
            "By device group",
            "Compliance of each device group, and its share of unknown machines. Unsupported machines, such \
             as phones, are counted in the last column alone. Good: every group at 95 % or more. The group without a name contains the machines that are in no device group of Defender. \
             Click a group to filter the dashboard by it.",
            vec![
                Column::label("device_group", "Device group").link("Show this group", TO_GROUP),
                Column::value("Value #A", "Compliance", Unit::Share).bounds(good()).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
                Column::value("Value #C", "Unknown", Unit::Share).bounds(Bounds::falling(UNKNOWN_SHARE)),
                Column::value("Value #D", "Unsupported", Unit::Count),
            ],
        ).query(compliance("device_group"), "")
            .query(format!("sum by (device_group) ({SUPPORTED})"), "")
            .query(share_in_state("unknown", "device_group"), "")
            .query("sum by (device_group) (@mde_assessed_machines{state=\"unsupported\"})", "")),
        (9, 8, Panel::table(
            "By tenant",
            "One row for each tenant. Good: up, with recent data, and no machine past the deadline. \
             Unsupported machines, such as phones, are counted in the last column alone. Click a tenant to \
             filter the dashboard by it.",
            vec![
                Column::label("tenant", "Tenant").link("Show this tenant", TO_TENANT),
                Column::value("Value #A", "Compliance", Unit::Share).bounds(good()).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
                Column::value("Value #C", "Past the deadline", Unit::Share).bounds(Bounds::falling(OVERDUE_SHARE)),
                Column::value("Value #D", "Age of data", Unit::Seconds).bounds(Bounds::bad_from(STALE_LONG_SECS)),
                Column::value("Value #E", "Oldest missing update", Unit::Seconds),
                Column::value("Value #F", "Unsupported", Unit::Count),
            ],
        ).query(compliance("tenant"), "")
            .query(format!("sum by (tenant) ({SUPPORTED})"), "")
            .query(overdue_share("tenant"), "")
            .query("time() - min by (tenant) (@mde_exporter_last_poll_success_timestamp_seconds)", "")
            .query("time() - min by (tenant) (@mde_oldest_missing_update_timestamp_seconds)", "")
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
