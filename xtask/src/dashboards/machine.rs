//! `machine.json`: what is wrong with this machine, and since when?

use crate::dashboards::bounds::STALE_LONG_SECS;
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};

const FILTERS: Filters =
    &[JOB, INSTANCE, TENANT, Filter { label: "machine_id", variable: "machine", picks: Picks::Machines }];

/// A week without a sign of life.
const SILENT_SECS: f64 = 7.0 * 86_400.0;

const TO_CATALOGUE: &str =
    "https://www.catalog.update.microsoft.com/Search.aspx?q=KB${__data.fields.kb:percentencode}";
const TO_PORTAL: &str =
    "https://security.microsoft.com/machines/v2/${__data.fields.machine_id:percentencode}/overview";

/// Machines that have no name are listed by their id. Names are not unique, ids are.
const LISTED: &str = "label_replace(\
    mde_machine_info{job=~\"$job\", instance=~\"$instance\", tenant=~\"$tenant\", machine=\"\"}, \
    \"machine\", \"$1\", \"machine_id\", \"(.*)\") \
    or mde_machine_info{job=~\"$job\", instance=~\"$instance\", tenant=~\"$tenant\", machine!=\"\"}";

/// What the list of missing updates says when there is none.
const LEVELS: &str = "\
A machine of which **nothing** is shown is not in scope, or its level of detail is not served: \
`mde_exporter_detail_level` on the exporter's page tells. `metrics.detail: auto` serves machines and their \
single updates as long as `metrics.series_limit` allows; raise the limit, or name fewer machines.

**unknown** is an answer: the machine was never read, not within `poll.expire_after`, or Defender has not \
seen it for `poll.inactive_after`. It does not mean that it is patched.";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-machine",
        title: "Defender patch gap / Machine",
        description: "One machine, as Microsoft Defender for Endpoint knows it: what is wrong with it, and \
                      since when? Needs the machine level, and the update level for the list of updates.",
        from: "now-90d",
        variables: [
            Variable::common("mde_up"),
            vec![Variable::one_of(
                "machine",
                "Machine",
                LISTED,
                "/machine=\"(?<text>[^\"]+)\",.*machine_id=\"(?<value>[^\"]+)\"/",
            )],
        ]
        .concat(),
        filters: FILTERS,
        marks: Marks::PatchTuesday,
        rows: vec![
            Row { title: "What is wrong?", shown: Shown::Open, panels: now() },
            Row { title: "Since when?", shown: Shown::Open, panels: history() },
            Row { title: "Which updates?", shown: Shown::Open, panels: updates() },
        ],
    }
}

fn now() -> Vec<(u32, u32, Panel)> {
    let identity = vec![
        Column::label("machine", "Machine"),
        Column::label("os_platform", "Platform"),
        Column::label("os_version", "Version"),
        Column::label("device_group", "Device group"),
        Column::label("tenant", "Tenant"),
        Column::label("machine_id", "Machine id").link("Microsoft Defender portal", TO_PORTAL),
    ];
    vec![
        (24, 4, Panel::table(
            "Machine",
            "What Defender says this machine is. Good: one line. Two mean that it changed while you look, or \
             that two exporters read it. The id leads to the machine in the Defender portal.",
            identity,
        ).query("max by (tenant, machine_id, machine, os_platform, os_version, device_group) (@mde_machine_info)", "")
            .without(&["Value"])),
        (4, 4, Panel::stat(
            "Missing updates",
            "Updates that Defender says the machine misses. Good: 0, or those of the newest batch. `unknown` \
             is not 0: see the note at the end of the page.",
        ).query("max(@mde_machine_missing_updates)", "").bounds(Bounds::calm_below(1.0))),
        (4, 4, Panel::stat(
            "Past the deadline",
            "Missing updates past the shortest deadline of all policies. Good: 0. If not, look on the machine \
             why they do not install: Windows Update history, free disk space, a restart that is waiting.",
        ).query("max(@mde_machine_overdue_updates)", "").bounds(Bounds::below(1.0))),
        (4, 4, Panel::stat(
            "CVE fixes outstanding",
            "CVEs that the missing updates fix, added up; the same CVE can be in several updates. Good: 0. \
             Compare machines with it, and do not report it as a number of distinct CVEs.",
        ).query("max(@mde_machine_missing_updates_addressed_cves)", "")),
        (4, 4, Panel::stat(
            "Oldest gap",
            "Time since the longest open gap was first seen. Good: none, which reads `none or unknown`. More \
             than the deadline of your policy is a machine to look at today.",
        ).query("time() - min(@mde_machine_oldest_missing_update_timestamp_seconds)", "")
            .unit(Unit::Seconds).decimals(1).nothing("none or unknown")),
        (4, 4, Panel::stat(
            "Seen by Defender before",
            "Time since the machine's last report to Defender. Good: less than a day or so. After a week it is \
             off, reinstalled or lost, and what is shown here is what it was then.",
        ).query("time() - max(@mde_machine_last_seen_timestamp_seconds)", "").unit(Unit::Seconds).decimals(1)
            .bounds(Bounds::calm_below(SILENT_SECS))),
        (4, 4, Panel::stat(
            "Read by the exporter before",
            "Age of the data on this page. Good: less than two poll intervals. Older data is kept until \
             `poll.expire_after`; see the exporter's page why it is not read.",
        ).query("time() - max(@mde_machine_last_success_timestamp_seconds)", "").unit(Unit::Seconds).decimals(1)
            .bounds(Bounds::below(STALE_LONG_SECS))),
    ]
}

fn history() -> Vec<(u32, u32, Panel)> {
    // Machines of the same group, whichever machine is chosen.
    let group = "(#mde_machine_missing_updates * on (job, instance, tenant, machine_id) \
                 group_left (device_group) #mde_machine_info) \
                 and on (tenant, device_group) @mde_machine_info";
    vec![
        (12, 8, Panel::steps(
            "Missing updates over time",
            "Missing updates, and those past the deadline. Good: up by one or two on a Patch \
             Tuesday and back to 0 within days. A line that never comes down is a machine that does not install.",
        ).query("max(@mde_machine_missing_updates)", "missing")
            .query("max(@mde_machine_overdue_updates)", "past the deadline").above_zero()
            .color("missing", Color::Warning).color("past the deadline", Color::Bad)),
        (12, 8, Panel::steps(
            "Against its group",
            "This machine beside the median and the worst of its device group. Good: at or below the median. \
             Above it, the machine has a problem of its own; if all are high, the rollout has.",
        ).query("max(@mde_machine_missing_updates)", "this machine")
            .query(format!("quantile(0.5, {group})"), "median of the group")
            .query(format!("max({group})"), "worst of the group").above_zero()),
        (24, 5, Panel::state_timeline(
            "Patched or not",
            "Whether the machine missed nothing. Good: green, with short gaps after a Patch Tuesday. Where \
             nothing is drawn, nothing was known.",
        ).query("max(@mde_machine_missing_updates) == bool 0", "updates")
            .query("min(@mde_machine_up)", "reading")
            .word(1.0, "fine", Color::Good).word(0.0, "not fine", Color::Warning)),
    ]
}

fn updates() -> Vec<(u32, u32, Panel)> {
    let first_seen = "@mde_machine_missing_update_first_seen_timestamp_seconds";
    let of_machine = |value: &str| format!("{value} and on (kb) {first_seen}");
    vec![
        (24, 10, Panel::table(
            "Updates that the machine misses",
            "Each missing update and how long it has been missing here. Good: an empty list. Install from the \
             top; where an update is missing on this machine alone, look at the machine, else at the rollout. \
             Empty though updates are missing: the update level is not served, see the note below.",
            vec![
                Column::label("kb", "KB").link("Microsoft Update Catalog", TO_CATALOGUE),
                Column::label("title", "Title"),
                Column::value("Value #A", "Missing here since", Unit::Seconds),
                Column::value("Value #C", "Since release", Unit::Seconds),
                Column::value("Value #D", "CVEs", Unit::Count),
                Column::value("Value #E", "Machines that miss it", Unit::Count),
            ],
        ).query(format!("sort_desc(max by (kb) (time() - {first_seen}))"), "")
            .query(of_machine("max by (kb, title) (@mde_update_info)"), "")
            .query(of_machine("time() - min by (kb) (@mde_update_released_timestamp_seconds)"), "")
            .query(of_machine("max by (kb) (@mde_update_addressed_cves)"), "")
            .query(of_machine("sum by (kb) (@mde_update_missing_machines)"), "")
            .without(&["Value #B"])),
        (24, 5, Panel::text("When something is missing here", LEVELS)),
    ]
}
