//! The dashboard `update.json`: which machines miss one update, since when, and whose are they?

use crate::dashboards::bounds::{SPREAD_SHARE, WEEK_SECS};
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT, expand};
use crate::dashboards::grafana::{Bounds, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable};
use crate::dashboards::links::{TO_CATALOGUE, TO_TENANT};
use crate::dashboards::shared::{
    NAMED, burn_down, days_since, days_until, machine_columns, successor_column,
};

const FILTERS: Filters = &[JOB, INSTANCE, TENANT, Filter::one("kb", "kb", Picks::Update)];

/// The number of machines in the table.
const LISTED: u32 = 500;

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-update",
        title: "Defender missing updates / Update",
        description: "One update, as Microsoft Defender for Endpoint reports it: which machines miss it, since when, \
                      and whose are they? The list of machines needs the update level.",
        from: "now-90d",
        variables: [
            Variable::common("mde_up"),
            vec![Variable::one("kb", "KB", &expand("@mde_update_info", &[JOB, INSTANCE, TENANT]))],
        ]
        .concat(),
        filters: FILTERS,
        marks: Marks::PatchTuesday,
        rows: vec![
            Row { title: "How many machines miss it?", shown: Shown::Open, panels: now() },
            Row { title: "Is it being installed?", shown: Shown::Open, panels: history() },
            Row { title: "Whose machines miss it?", shown: Shown::Open, panels: owners() },
        ],
    }
}

fn now() -> Vec<(u32, u32, Panel)> {
    let age = |time: &str| days_since(&format!("min({time})"));
    vec![
        (6, 4, Panel::stat(
            "Machines that miss it",
            "Number of machines in scope that miss the update. Good: it falls to 0 within the deadline. `none or \
             unknown` is also shown when no exporter has reported the update.",
        ).query("sum(@mde_update_missing_machines)", "").bounds(Bounds::warning_from(1.0)).nothing("none or unknown")),
        (6, 4, Panel::stat(
            "Of all machines",
            "The same number as a share of the assessed machines. Good: below 25 % two weeks after the release; above \
             it `MdeUpdateSpread` fires.",
        ).query(
            "sum(@mde_update_missing_machines) / (sum(@mde_assessed_machines{state=~\"fresh|stale\"}) > 0)",
            "",
        ).unit(Unit::Share).bounds(Bounds::warning_from(SPREAD_SHARE)).nothing("none or unknown")),
        (6, 4, Panel::stat(
            "Since release",
            "Time since Microsoft released the update: with `facts` the day of the release, otherwise the Patch Tuesday \
             of the month in its title. Good: shorter than the deadline of your policy.",
        ).query(age("@mde_update_released_timestamp_seconds"), "").unit(Unit::Days)),
        (6, 4, Panel::stat(
            "Since first seen",
            "Time since any machine was first seen missing the update. Good: shorter than the deadline of your policy.",
        ).query(age("@mde_update_first_seen_timestamp_seconds"), "").unit(Unit::Days)),
        (24, 6, properties()),
    ]
}

/// The table of what is known about the update.
fn properties() -> Panel {
    Panel::table(
        "Update",
        "What Defender and the facts say about the update. Good: one row; two rows mean that tenants report it for \
         different products. Columns stay empty without `facts`. The due date is that of CISA's catalogue KEV. A KB in \
         the last column is a newer missing update that replaces this one: install that one. The KB links to the \
         Microsoft Update Catalog.",
        vec![
            Column::label("kb", "KB").link("Microsoft Update Catalog", TO_CATALOGUE),
            Column::label("title", "Title").grows(),
            Column::label("products", "Products"),
            Column::label("vendor_severity", "Rating"),
            Column::value("Value #B", "Exploited", Unit::Count).yes_or_no().bounds(Bounds::bad_from(1.0)),
            Column::value("Value #C", "Due by KEV in", Unit::Days).bounds(Bounds::rising(0.0, WEEK_SECS)),
            Column::value("Value #D", "CVEs in KEV", Unit::Count),
            Column::value("Value #E", "CVEs", Unit::Count),
            Column::value("Value #F", "CVSS", Unit::Score),
            Column::value("Value #G", "EPSS", Unit::Share),
            successor_column(),
        ],
    )
    .query("max by (kb, title, products) (@mde_update_info)", "")
    .query("max by (kb) (@mde_update_exploited)", "")
    .query(days_until("min by (kb) (@mde_update_known_exploited_due_timestamp_seconds)"), "")
    .query("max by (kb) (@mde_update_known_exploited_cves)", "")
    .query("max by (kb) (@mde_update_addressed_cves)", "")
    .query("max by (kb) (@mde_update_cvss_score)", "")
    .query("max by (kb) (@mde_update_epss_probability)", "")
    .query("max by (kb, vendor_severity) (@mde_update_vendor_severity_info)", "")
    .query("topk by (kb) (1, max by (kb, by) (@mde_update_superseded_info))", "")
    .without(&["Value #A", "Value #H", "Value #I"])
    .nothing("none or unknown")
}

fn history() -> Vec<(u32, u32, Panel)> {
    vec![
        (12, 9, Panel::burn_down(
            "Burn-down after the release",
            "Machines that miss the update, on the days after its release. Good: a steep fall in the first days, and 0 \
             within the deadline. A line that stays level means that the rollout has stopped. It ends when nobody \
             misses the update any more. Prometheus must keep twelve weeks of data for this panel; its default is \
             15 days.",
        ).query(burn_down(), "")),
        (12, 9, Panel::steps(
            "Machines that miss it by tenant",
            "Machines that miss the update over time, by tenant. Good: all lines fall together. A tenant whose line \
             does not fall does not install the update.",
        ).query("sum by (tenant) (@mde_update_missing_machines)", "{{tenant}}").above_zero()),
    ]
}

fn owners() -> Vec<(u32, u32, Panel)> {
    let first_seen = "@mde_machine_missing_update_first_seen_timestamp_seconds";
    let with_group = format!(
        "{first_seen} * on (job, instance, tenant, machine_id) group_left (device_group) \
         max by (job, instance, tenant, machine_id, device_group) (@mde_machine_info)"
    );
    vec![
        (12, 9, Panel::table(
            "By tenant",
            "Machines that miss the update in each tenant. Good: an empty list. Defender's own count includes machines \
             out of scope. Click a tenant to open its fleet.",
            vec![
                Column::label("tenant", "Tenant").link("Show this tenant", TO_TENANT).grows(),
                Column::value("Value #A", "Machines", Unit::Count).bar(),
                Column::value("Value #B", "Of all", Unit::Share).bounds(Bounds::warning_from(SPREAD_SHARE)),
                Column::value("Value #C", "First seen", Unit::Days),
                Column::value("Value #D", "By Defender", Unit::Count),
            ],
        ).query("sort_desc(sum by (tenant) (@mde_update_missing_machines))", "")
            .query(
                "sum by (tenant) (@mde_update_missing_machines) \
                 / (sum by (tenant) (@mde_assessed_machines{state=~\"fresh|stale\"}) > 0)",
                "",
            )
            .query(days_since("min by (tenant) (@mde_update_first_seen_timestamp_seconds)"), "")
            .query("sum by (tenant) (@mde_update_reported_missing_machines)", "")
            .nothing("none or unknown")),
        (12, 9, Panel::table(
            "By device group",
            "Machines that miss the update in each device group, and the longest time for which one of them has missed \
             it. Good: an empty list. A group that stays at the top has no working rollout. The group without a name \
             contains the machines that are in no device group of Defender. Needs the update level.",
            vec![
                Column::label("tenant", "Tenant"),
                Column::label("device_group", "Device group").grows(),
                Column::value("Value #A", "Machines", Unit::Count).bar(),
                Column::value("Value #B", "Missing for", Unit::Days),
            ],
        ).query(format!("sort_desc(count by (tenant, device_group) ({with_group}))"), "")
            .query(days_since(&format!("min by (tenant, device_group) ({with_group})")), "")
            .nothing("none or unknown")),
        (24, 12, machines(first_seen)),
    ]
}

/// The table of the machines, with their own labels.
fn machines(first_seen: &str) -> Panel {
    let columns = machine_columns().into_iter().chain([
        Column::label("tenant", "Tenant"),
        Column::label("os_platform", "Platform"),
        Column::label("device_group", "Device group"),
        Column::value("Value #A", "Missing for", Unit::Days),
        Column::value("Value #B", "Overdue", Unit::Count).bounds(Bounds::bad_from(1.0)),
        Column::value("Value #C", "Last seen", Unit::Days),
    ]);
    let of_listed = |value: &str| format!("{value} and on (tenant, machine_id) {first_seen}");
    Panel::table(
        "Machines",
        "The machines that miss the update, those that have missed it for longest first; at most 500. Own labels, such as \
         the team of a machine, are the last columns. Good: an empty list. The column of overdue updates counts all \
         overdue updates of the machine. If the list is empty although machines miss the update, the update level is \
         not served: see `metrics.detail`. Click a machine to see its other updates.",
        columns.collect(),
    )
    .query(
        format!(
            "topk({LISTED}, {NAMED} * on (job, instance, tenant, machine_id) group_left () ({}))",
            days_since(&format!("min by (job, instance, tenant, machine_id) ({first_seen})"))
        ),
        "",
    )
    .query(of_listed("max by (tenant, machine_id) (@mde_machine_overdue_updates)"), "")
    .query(of_listed(&days_since("max by (tenant, machine_id) (@mde_machine_last_seen_timestamp_seconds)")), "")
    .without(&["job", "instance", "os_version"])
    .nothing("none or unknown")
}
