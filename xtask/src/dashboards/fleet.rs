//! `fleet.json`: are we patched, are we getting better, where is it worst?
//!
//! Everything but the last row works from fleet-level metrics alone, however large the fleet is.

use crate::dashboards::bounds::{
    COMPLIANCE_GOOD, COMPLIANCE_LOW, INACTIVE_SHARE, OVERDUE_SHARE, SPREAD_SHARE, STALE_LONG_SECS,
    UNKNOWN_SHARE,
};
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};

const FILTERS: Filters = &[
    JOB,
    INSTANCE,
    TENANT,
    Filter { label: "os_platform", variable: "os_platform", picks: Picks::Machines },
    Filter { label: "device_group", variable: "device_group", picks: Picks::Machines },
    Filter { label: "policy", variable: "policy", picks: Picks::Policy },
];

/// Machines of which something is known.
const JUDGED: &str = "@mde_assessed_machines{state=~\"current|stale\"}";

/// The choices stay when a link leads to another page.
macro_rules! kept {
    () => {
        "&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    };
}

const TO_TENANT: &str = concat!("/d/mde-fleet?var-tenant=${__data.fields.tenant:percentencode}", kept!());
const TO_GROUP: &str = concat!(
    "/d/mde-fleet?var-device_group=${__data.fields.device_group:percentencode}&${tenant:queryparam}",
    kept!()
);
const TO_MACHINE: &str = concat!(
    "/d/mde-machine?var-tenant=${__data.fields.tenant:percentencode}",
    "&var-machine=${__data.fields.machine_id:percentencode}",
    kept!()
);
const TO_EXPORTER: &str = concat!("/d/mde-exporter?${tenant:queryparam}", kept!());
const TO_CATALOGUE: &str =
    "https://www.catalog.update.microsoft.com/Search.aspx?q=KB${__data.fields.kb:percentencode}";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-fleet",
        title: "Defender patch gap / Fleet",
        description: "Missing security updates of the whole fleet, as Microsoft Defender for Endpoint knows \
                      them: are we patched, are we getting better, where is it worst?",
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
            Row { title: "Are we patched?", shown: Shown::Open, panels: patched() },
            Row { title: "Are we getting better?", shown: Shown::Open, panels: better() },
            Row { title: "Where is it worst?", shown: Shown::Open, panels: worst() },
            Row { title: "Which updates?", shown: Shown::Open, panels: updates() },
            Row { title: "Machine level: which machines?", shown: Shown::Folded, panels: machines() },
        ],
    }
}

fn compliance(by: &str) -> String {
    let (by, judged) = (grouping(by), JUDGED);
    format!("sum {by}(@mde_compliant_machines) / (sum {by}({judged}) > 0)")
}

fn share_in_state(state: &str, by: &str) -> String {
    let by = grouping(by);
    format!("sum {by}(@mde_assessed_machines{{state=\"{state}\"}}) / (sum {by}(@mde_assessed_machines) > 0)")
}

fn overdue_share(by: &str) -> String {
    let by = grouping(by);
    format!(
        "sum {by}(@mde_policy_machines{{state=\"overdue\"}}) \
         / (sum {by}(@mde_policy_machines{{state=~\"compliant|due|overdue\"}}) > 0)"
    )
}

fn grouping(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!("by ({by}) ") }
}

fn patched() -> Vec<(u32, u32, Panel)> {
    let missing = format!("sum({JUDGED}) - sum(@mde_compliant_machines)");
    vec![
        (4, 4, Panel::stat(
            "Patch compliance",
            "Machines that miss no update, of those that Defender knows something about. Good: 95 % or more; \
             below 90 % `MdeComplianceLow` fires. Inactive and unknown machines are in no part of it, so read \
             it together with the shares beside it; then look below for the group that pulls it down.",
        ).query(compliance(""), "").unit(Unit::Share).bounds(Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD))),
        (4, 4, Panel::stat(
            "Past the deadline",
            "Machines that miss an update for longer than the chosen policy allows, of all machines in scope. \
             Good: none; above 5 % `MdeMachinesOverdue` fires. The table of machines in the last row names them.",
        ).query(overdue_share(""), "").unit(Unit::Share).bounds(Bounds::falling(OVERDUE_SHARE))),
        (4, 4, Panel::stat(
            "Nothing known",
            "Machines that were never read, or not within `poll.expire_after`, of all in scope. They count as \
             neither patched nor unpatched. Good: none; above 5 % `MdeCollectionIncomplete` fires: look at the \
             exporter's page.",
        ).query(share_in_state("unknown", ""), "").unit(Unit::Share)
            .bounds(Bounds::falling(UNKNOWN_SHARE)).link("Exporter", TO_EXPORTER)),
        (4, 4, Panel::stat(
            "Not seen by Defender",
            "Inactive machines, of all in scope: Defender has not heard of them for `poll.inactive_after`, so \
             its findings about them are not believed. Good: few; above 10 % `MdeMachinesInactive` fires. \
             Find these machines or take them out of Defender.",
        ).query(share_in_state("inactive", ""), "").unit(Unit::Share).bounds(Bounds::falling(INACTIVE_SHARE))),
        (4, 4, Panel::stat(
            "Missing updates",
            "Pairs of machine and missing update. Good: it falls to almost nothing between two Patch \
             Tuesdays. The second number is the CVE fixes that come with them; the same CVE can be in several updates.",
        ).query("sum(@mde_missing_updates)", "updates").query("sum(@mde_missing_updates_addressed_cves)", "CVE fixes")),
        (4, 4, Panel::stat(
            "Age of the data",
            "Time since the last good poll of the tenant that is furthest behind. Good: less than two poll \
             intervals (6 h each by default); after a day `MdeDataStaleLong` fires, and nothing on this page \
             is news any more.",
        ).query("time() - min(@mde_exporter_last_poll_success_timestamp_seconds)", "").unit(Unit::Seconds)
            .decimals(1).bounds(Bounds::below(STALE_LONG_SECS)).link("Exporter", TO_EXPORTER)),
        (12, 8, Panel::lines(
            "Compliance",
            "The share of judged machines that miss no update, over time. Good: a short dip after each Patch \
             Tuesday, back above 95 % before the next. A fall at any other time is a machine list that changed \
             or a rollout that was taken back.",
        ).query(compliance(""), "compliance").unit(Unit::Share).bounds(Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD))),
        (12, 8, Panel::stacked(
            "Machines by state",
            "All machines in scope. Good: nearly all patched. Grey is not green: nothing is known of unknown \
             machines, and what Defender says of inactive ones is not believed.",
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
            "Machines under the chosen policy. Due machines still have time; overdue ones have not. Good: \
             overdue stays empty, and due is gone before the deadline.",
        ).query("sum by (state) (@mde_policy_machines)", "{{state}}")
            .color("compliant", Color::Good).color("due", Color::Warning)
            .color("overdue", Color::Bad).color("unknown", Color::Unknown)),
        (8, 8, Panel::bars(
            "Detected against resolved in a week",
            "Gaps that opened and gaps that were closed in the seven days before each point, and the \
             difference. Good: the difference is below zero within two weeks of a Patch Tuesday. The first \
             reading of a machine counts as detected; a machine that leaves the scope resolves nothing.",
        ).query(detected, "detected").query(resolved, "resolved").query(format!("{detected} - {resolved}"), "difference")
            .downwards("resolved").line("difference").every("1d")
            .color("detected", Color::Warning).color("resolved", Color::Good).color("difference", Color::Neutral)),
        (8, 8, Panel::lines(
            "Time to patch",
            "How long a gap stayed open, from first seen to fixed, for the gaps that were fixed in the four \
             weeks before each point. Good: 90 % are fixed within the deadline (dashed: 14 days). Prometheus \
             must keep four weeks of data for the whole picture; its default is 15 days.",
        ).query(time_to_patch(0.5), "half of the gaps").query(time_to_patch(0.9), "nine in ten")
            .unit(Unit::Seconds).above_zero().bounds(Bounds::calm_below(14.0 * 86_400.0))),
        (12, 8, Panel::lines(
            "Burn-down of the newest batches",
            "Machines that miss an update of the newest batch, and of the two before it at the same age: each \
             line starts at its own release. Good: the newest line runs below the older ones; if not, this \
             month's rollout is late. The older lines need nine weeks of data in Prometheus. A machine that \
             misses two updates of a batch counts twice.",
        ).query(batch(&[0]), "newest batch").query(batch(&[28, 35]), "the one before")
            .query(batch(&[56, 63]), "two before").every("1h").above_zero()),
        (12, 8, Panel::stacked(
            "Missing updates by severity",
            "Pairs of machine and missing update. Only the bulk export (`source: export`) tells severities; \
             machine by machine all of them are unknown. Good: critical and high vanish first.",
        ).query("sum by (severity) (@mde_missing_updates)", "{{severity}}")
            .color("critical", Color::Bad).color("high", Color::Warning).color("unknown", Color::Unknown)),
    ]
}

fn time_to_patch(quantile: f64) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (le) (increase(@mde_update_resolution_seconds_bucket[28d]))) \
         and on () sum(increase(@mde_update_resolution_seconds_count[28d])) > 0"
    )
}

/// Machines that miss an update of the batch that came out one of these numbers of days before the newest.
/// Two Patch Tuesdays in a row are 28 or 35 days apart, three 56 or 63.
fn batch(days_before: &[u32]) -> String {
    let one = |days: &u32| {
        let (offset, seconds) = match days {
            0 => (String::new(), String::new()),
            days => (format!(" offset {days}d"), format!(" + {days} * 86400")),
        };
        format!(
            "sum(@mde_update_missing_machines{offset} and on (job, instance, tenant, kb) \
             (@mde_update_released_timestamp_seconds{offset}{seconds} == on () group_left () \
             max(@mde_update_released_timestamp_seconds)))"
        )
    };
    days_before.iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn worst() -> Vec<(u32, u32, Panel)> {
    let good = || Bounds::rising(COMPLIANCE_LOW, COMPLIANCE_GOOD);
    vec![
        (6, 8, Panel::bar_gauge(
            "Compliance by platform",
            "Good: all near each other. One that lags has no rollout of its own, or a broken one.",
        ).query(compliance("os_platform"), "{{os_platform}}").unit(Unit::Share).bounds(good())),
        (9, 8, Panel::table(
            "By device group",
            "Compliance of each device group, with what is not known of it. Good: every group at 95 % or more. \
             A group without a name holds the machines that Defender has in no group; a click shows one group.",
            vec![
                Column::label("device_group", "Device group").link("Show this group", TO_GROUP),
                Column::value("Value #A", "Compliance", Unit::Share).bounds(good()).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
                Column::value("Value #C", "Unknown", Unit::Share).bounds(Bounds::falling(UNKNOWN_SHARE)),
            ],
        ).query(compliance("device_group"), "")
            .query("sum by (device_group) (@mde_assessed_machines)", "")
            .query(share_in_state("unknown", "device_group"), "")),
        (9, 8, Panel::table(
            "By tenant",
            "One line for each tenant. Good: up, fresh, and nothing past the deadline. A click shows one tenant.",
            vec![
                Column::label("tenant", "Tenant").link("Show this tenant", TO_TENANT),
                Column::value("Value #A", "Compliance", Unit::Share).bounds(good()).bar(),
                Column::value("Value #B", "Machines", Unit::Count),
                Column::value("Value #C", "Past the deadline", Unit::Share).bounds(Bounds::falling(OVERDUE_SHARE)),
                Column::value("Value #D", "Age of data", Unit::Seconds).bounds(Bounds::below(STALE_LONG_SECS)),
                Column::value("Value #E", "Oldest gap", Unit::Seconds),
            ],
        ).query(compliance("tenant"), "")
            .query("sum by (tenant) (@mde_assessed_machines)", "")
            .query(overdue_share("tenant"), "")
            .query("time() - min by (tenant) (@mde_exporter_last_poll_success_timestamp_seconds)", "")
            .query("time() - min by (tenant) (@mde_oldest_missing_update_timestamp_seconds)", "")),
    ]
}

fn updates() -> Vec<(u32, u32, Panel)> {
    let top = "topk(20, sum by (kb) (@mde_update_missing_machines))";
    let titled = "on (job, instance, tenant, kb) group_left (title) @mde_update_info";
    vec![
        (18, 10, Panel::table(
            "Updates that most machines miss",
            "Good: none is missing on a quarter of the fleet two weeks after its release, or `MdeUpdateSpread` \
             fires. Newest first means that the rollout is running; an old one at the top was forgotten or \
             fails to install. A click leads to the update in Microsoft's catalogue. The last column is \
             Defender's own count, over all of the tenant, in scope or not.",
            vec![
                Column::label("kb", "KB").link("Microsoft Update Catalog", TO_CATALOGUE),
                Column::label("title", "Title"),
                Column::value("Value #A", "Machines", Unit::Count).bar(),
                Column::value("Value #B", "Of all", Unit::Share).bounds(Bounds::calm_below(SPREAD_SHARE)),
                Column::value("Value #C", "CVEs", Unit::Count),
                Column::value("Value #D", "Since release", Unit::Seconds),
                Column::value("Value #E", "Since first seen", Unit::Seconds),
                Column::value("Value #F", "By Defender", Unit::Count),
            ],
        ).query(format!("topk(20, sum by (kb, title) (@mde_update_missing_machines * {titled}))"), "")
            .query(format!("{top} / on () group_left () (sum(#mde_assessed_machines{{state=~\"current|stale\"}}) > 0)"), "")
            .query(format!("max by (kb) (@mde_update_addressed_cves) and on (kb) {top}"), "")
            .query(format!("time() - min by (kb) (@mde_update_released_timestamp_seconds) and on (kb) {top}"), "")
            .query(format!("time() - min by (kb) (@mde_update_first_seen_timestamp_seconds) and on (kb) {top}"), "")
            .query(format!("sum by (kb) (@mde_update_reported_missing_machines) and on (kb) {top}"), "")),
        (6, 10, freshness(
            "Missing updates by age of the update",
            "Pairs of machine and missing update, by the time since any machine was first seen missing it. \
             Good: the bars below 30 days hold nearly all. What is older than 90 days is no backlog but a \
             machine or an update that nobody looks after.",
            update_age,
        )),
        (12, 8, Panel::table(
            "Biggest effect next",
            "CVE fixes that a full rollout of the update brings: machines times CVEs. Good: the list is short. \
             Roll out from the top.",
            vec![
                Column::label("kb", "KB").link("Microsoft Update Catalog", TO_CATALOGUE),
                Column::label("title", "Title"),
                Column::value("Value", "CVE fixes", Unit::Count).bar(),
            ],
        ).query(
            format!(
                "topk(10, sum by (kb, title) (@mde_update_missing_machines * on (job, instance, tenant, kb) \
                 @mde_update_addressed_cves * {titled}))"
            ),
            "",
        )),
        (6, 8, Panel::stat(
            "Distinct missing updates",
            "Updates that at least one machine misses. Good: two months' worth, some five to ten for each \
             version of Windows in the fleet.",
        ).query("count(count by (kb) (@mde_update_missing_machines)) or sum(@mde_missing_updates) == 0", "")),
        (6, 8, Panel::stat(
            "Deadline",
            "The time in which the chosen policy wants an update installed, from the exporter's configuration. \
             Good: it is what your rules say; change `policies` if not.",
        ).query("max(@mde_policy_deadline_seconds)", "").unit(Unit::Seconds)),
    ]
}

/// A bar for each span of days.
fn freshness(title: &'static str, description: &'static str, count: fn(u32, Option<u32>) -> String) -> Panel {
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

/// 1 where `age` is above `low` days and not above `high`, else 0. Time stands still at first seen: an age
/// of nothing is in the first span.
fn within(age: &str, low: u32, high: Option<u32>) -> String {
    let (from, to) = (u64::from(low) * 86_400, high.map(|high| u64::from(high) * 86_400));
    match (from, to) {
        (0, Some(to)) => format!("({age} <= bool {to})"),
        (from, Some(to)) => format!("({age} > bool {from}) * ({age} <= bool {to})"),
        (from, None) => format!("({age} > bool {from})"),
    }
}

fn update_age(low: u32, high: Option<u32>) -> String {
    let inside = within("(time() - @mde_update_first_seen_timestamp_seconds)", low, high);
    format!(
        "sum({inside} * on (job, instance, tenant, kb) @mde_update_missing_machines) \
         or sum(@mde_missing_updates) == 0"
    )
}

fn gap_age(low: u32, high: Option<u32>) -> String {
    let gap = "@mde_machine_missing_update_first_seen_timestamp_seconds";
    let chosen = of_chosen(gap);
    format!(
        "sum({}) or sum({}) == 0",
        within(&format!("(time() - ({chosen}))"), low, high),
        of_chosen("@mde_machine_missing_updates")
    )
}

/// The series of the machines that platform and device group choose.
fn of_chosen(series: &str) -> String {
    format!("{series} and on (job, instance, tenant, machine_id) @mde_machine_info")
}

fn machines() -> Vec<(u32, u32, Panel)> {
    let missing = of_chosen("@mde_machine_missing_updates");
    let not_seen = of_chosen("@mde_machine_last_seen_timestamp_seconds");
    let backlog =
        |from: u32, to: u32| format!("sum((({missing}) >= bool {from}) * (({missing}) <= bool {to}))");
    vec![
        (24, 10, worst_machines(&missing)),
        (8, 8, Panel::stacked(
            "Machines by backlog",
            "Judged machines by the number of updates that they miss. Good: nearly all at none, with one or \
             two after a Patch Tuesday. Six and more means that updates have failed for months.",
        ).query(format!("sum(({missing}) == bool 0)"), "none").query(backlog(1, 2), "1 or 2")
            .query(backlog(3, 5), "3 to 5").query(format!("sum(({missing}) >= bool 6)"), "6 and more")
            .color("none", Color::Good).color("1 or 2", Color::Neutral)
            .color("3 to 5", Color::Warning).color("6 and more", Color::Bad)),
        (8, 8, Panel::lines(
            "Missing updates by platform",
            "Pairs of machine and missing update. Good: the lines fall together. One that does not has a \
             rollout that does not reach it.",
        ).query(
            "sum by (os_platform) (@mde_machine_missing_updates \
             * on (job, instance, tenant, machine_id) group_left (os_platform) @mde_machine_info)",
            "{{os_platform}}",
        ).above_zero()),
        (8, 8, freshness(
            "Open gaps by age",
            "Every open gap by the time since it was first seen on its machine; needs the update level. Good: \
             nothing older than the deadline.",
            gap_age,
        )),
        (8, 6, Panel::stat(
            "Machines that could not be read",
            "Machines of which the newest attempt failed; their older data is served with its age. Good: 0. \
             Some 404 come and go; look at the exporter's page when it grows.",
        ).query(format!("sum(({}) == bool 0)", of_chosen("@mde_machine_up")), "")
            .bounds(Bounds::calm_below(1.0)).link("Exporter", TO_EXPORTER)),
        (8, 6, Panel::stat(
            "Machines not seen for a week",
            "Machines that Defender has not heard of for seven days: switched off, reinstalled or lost. Good: \
             those you know of. They cannot be patched, and after `poll.inactive_after` they are not judged.",
        ).query(format!("sum((time() - ({not_seen})) > bool 604800)"), "").bounds(Bounds::calm_below(1.0))),
        (8, 6, Panel::stat(
            "Machines with overdue updates",
            "Machines that miss an update past the shortest deadline of all policies. Good: 0. The table above \
             names the worst.",
        ).query(format!("sum(({}) > bool 0)", of_chosen("@mde_machine_overdue_updates")), "")
            .bounds(Bounds::below(1.0))),
    ]
}

fn worst_machines(missing: &str) -> Panel {
    let top = format!("topk(20, max by (tenant, machine_id, machine) ({missing}) > 0)");
    let of_top = |value: &str| format!("{value} and on (tenant, machine_id) {top}");
    Panel::table(
        "Machines that miss most",
        "The twenty machines that miss most updates; empty when none misses any. Good: machines that you know \
         the reason of. Start with those that are overdue and seen lately: they are on, and do not install. A \
         click shows what one of them misses and since when.",
        vec![
            Column::label("machine", "Machine").link("Show this machine", TO_MACHINE),
            Column::label("tenant", "Tenant"),
            Column::label("os_platform", "Platform"),
            Column::label("device_group", "Device group"),
            Column::value("Value #A", "Missing", Unit::Count).bar(),
            Column::value("Value #B", "Overdue", Unit::Count).bounds(Bounds::below(1.0)),
            Column::value("Value #C", "CVE fixes", Unit::Count),
            Column::value("Value #D", "Oldest gap", Unit::Seconds),
            Column::value("Value #E", "Seen by Defender before", Unit::Seconds),
            Column::label("machine_id", "Machine id").link("Show this machine", TO_MACHINE),
        ],
    )
    .query(
        format!(
            "{top} * on (tenant, machine_id) group_left (os_platform, device_group) \
             max by (tenant, machine_id, os_platform, device_group) (@mde_machine_info)"
        ),
        "",
    )
    .query(of_top("max by (tenant, machine_id) (@mde_machine_overdue_updates)"), "")
    .query(of_top("max by (tenant, machine_id) (@mde_machine_missing_updates_addressed_cves)"), "")
    .query(of_top("time() - min by (tenant, machine_id) (@mde_machine_oldest_missing_update_timestamp_seconds)"), "")
    .query(of_top("time() - max by (tenant, machine_id) (@mde_machine_last_seen_timestamp_seconds)"), "")
}
