//! The row with the missing updates.

use super::{ages, within};
use crate::dashboards::bounds::SPREAD_SHARE;
use crate::dashboards::grafana::{Bounds, Column, Panel, Unit};
use crate::dashboards::shared::{days_since, kb_column, successor_column};

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    let top = "topk(20, sum by (kb) (@mde_update_missing_machines))";
    let titled = "on (job, instance, tenant, kb) group_left (title) @mde_update_info";
    vec![
        (24, 10, Panel::table(
            "Updates that most machines miss",
            "The twenty updates that are missing on the most machines. Good: no update is missing on a \
             quarter of the fleet two weeks after its release; otherwise `MdeUpdateSpread` fires. New updates \
             at the top mean that the rollout is in progress; an old one was forgotten or fails to install. \
             Click a KB for its machines. The column before the last is Defender's own count, which includes machines out of scope; the last one names a newer missing update that replaces \
             this one, if there are `facts`.",
            vec![
                kb_column(),
                Column::label("title", "Title").grows(),
                Column::value("Value #A", "Machines", Unit::Count).bar(),
                Column::value("Value #B", "Of all", Unit::Share).bounds(Bounds::warning_from(SPREAD_SHARE)),
                Column::value("Value #C", "CVEs", Unit::Count),
                Column::value("Value #D", "Since release", Unit::Days),
                Column::value("Value #E", "Since first seen", Unit::Days),
                Column::value("Value #F", "By Defender", Unit::Count),
                successor_column(),
            ],
        ).query(format!("topk(20, sum by (kb, title) (@mde_update_missing_machines * {titled}))"), "")
            .query(format!("{top} / on () group_left () (sum(#mde_assessed_machines{{state=~\"fresh|stale\"}}) > 0)"), "")
            .query(format!("max by (kb) (@mde_update_addressed_cves) and on (kb) {top}"), "")
            .query(format!("{} and on (kb) {top}", days_since("min by (kb) (@mde_update_released_timestamp_seconds)")), "")
            .query(format!("{} and on (kb) {top}", days_since("min by (kb) (@mde_update_first_seen_timestamp_seconds)")), "")
            .query(format!("sum by (kb) (@mde_update_reported_missing_machines) and on (kb) {top}"), "")
            .query(format!("topk by (kb) (1, max by (kb, by) (@mde_update_superseded_info)) and on (kb) {top}"), "")
            .without(&["Value #G"])),
        (6, 8, ages(
            "Missing updates by age",
            "Missing updates by the time since any machine was first seen missing the update. Good: nearly \
             all are below 30 days. Those above 90 days point to a machine or an update without an owner.",
            update_age,
        )),
        (12, 8, Panel::table(
            "Biggest effect next",
            "CVE fixes that a complete rollout of the update brings: number of machines times number of CVEs. \
             Good: the list is short. Roll out from the top.",
            vec![
                kb_column(),
                Column::label("title", "Title").grows(),
                Column::value("Value", "CVE fixes", Unit::Count).bar(),
            ],
        ).query(
            format!(
                "topk(10, sum by (kb, title) (@mde_update_missing_machines * on (job, instance, tenant, kb) \
                 @mde_update_addressed_cves * {titled}))"
            ),
            "",
        )),
        (3, 8, Panel::stat(
            "Updates",
            "Number of updates that are missing on at least one machine. Good: those of two months, which is \
             five to ten for each version of Windows in the fleet.",
        ).query("count(count by (kb) (@mde_update_missing_machines)) or sum(@mde_missing_updates) == 0", "")),
        (3, 8, Panel::stat(
            "Deadline",
            "Deadline of the chosen policy, from the configuration of the exporter. Good: it matches the \
             rules of your organization; otherwise change `policies`.",
        ).query("max(@mde_policy_deadline_seconds) / 86400", "").unit(Unit::Days)),
    ]
}

fn update_age(low: u32, high: Option<u32>) -> String {
    let in_range = within("(time() - @mde_update_first_seen_timestamp_seconds)", low, high);
    format!(
        "sum({in_range} * on (job, instance, tenant, kb) @mde_update_missing_machines) \
         or sum(@mde_missing_updates) == 0"
    )
}
