//! The dashboard `machine.json`: which updates does one machine miss, and since when?

use crate::dashboards::bounds::{SERVICING_ENDING_SECS, STALE_LONG_SECS, WEEK_SECS};
use crate::dashboards::expression::{Filter, Filters, INSTANCE, JOB, Picks, TENANT, expand};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};
use crate::dashboards::links::TO_PORTAL;
use crate::dashboards::shared::{days_since, days_until, hours_since, kb_column};

const FILTERS: Filters = &[JOB, INSTANCE, TENANT, Filter::one("machine_id", "machine", Picks::Machines)];

/// The machines for the variable. A machine without a name is listed by its id. Names are not unique, ids are.
const LISTED: &str = "max by (machine, machine_id) (label_replace(\
    @mde_machine_info{machine=\"\"}, \"machine\", \"$1\", \"machine_id\", \"(.*)\") \
    or @mde_machine_info{machine!=\"\"})";

/// The note on missing data.
const NO_DATA_NOTE: &str = "\
If **nothing** is shown for a machine, it is not in scope, or its detail level is not served: see \
`mde_exporter_detail_level` on the dashboard of the exporter. `metrics.detail: auto` serves the levels of \
machines and updates as long as they fit `metrics.series_limit`; raise the limit, or select fewer machines.

**unknown** means that the machine was never read, or not within `poll.expire_after`, or that Defender has not \
seen it for `poll.inactive_after`. It does not mean that the machine is patched.";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-machine",
        title: "Defender missing updates / Machine",
        description: "One machine, as Microsoft Defender for Endpoint reports it: which updates does it miss, and \
                      since when? Needs the machine level, and the update level for the list of updates.",
        from: "now-90d",
        variables: [
            Variable::common("mde_up"),
            vec![Variable::one_of(
                "machine",
                "Machine",
                &expand(LISTED, &[JOB, INSTANCE, TENANT]),
                "/machine=\"(?<text>.+)\",machine_id=\"(?<value>[^\"]+)\"/",
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
        Column::label("machine", "Machine").grows(),
        Column::label("os_platform", "Platform"),
        Column::label("os_version", "Version"),
        Column::label("device_group", "Device group"),
        Column::label("tenant", "Tenant"),
        Column::label("machine_id", "Machine id").link("Microsoft Defender portal", TO_PORTAL),
    ];
    vec![
        (24, 4, Panel::table(
            "Machine",
            "Properties of the machine in Defender. Good: one row. Two rows mean that the machine changed \
             recently, or that two exporters poll it. The id links to the machine in the Defender portal.",
            identity,
        ).query("max by (tenant, machine_id, machine, os_platform, os_version, device_group) (@mde_machine_info)", "")
            .without(&["Value"])),
        (6, 4, Panel::stat(
            "Missing updates",
            "Number of updates that the machine misses, as Defender reports it. Good: 0, or only updates of \
             the newest month. `unknown` is not 0: see the note at the end of the dashboard.",
        ).query("max(@mde_machine_missing_updates)", "").bounds(Bounds::warning_from(1.0))),
        (6, 4, Panel::stat(
            "Overdue",
            "Missing updates that are overdue under at least one policy; those under an exception in effect are not. \
             Good: 0. Otherwise find out on the machine why they do not install: check the Windows Update history, \
             the free disk space and pending restarts.",
        ).query("max(@mde_machine_overdue_updates)", "").bounds(Bounds::bad_from(1.0))),
        (6, 4, Panel::stat(
            "Exploited and missing",
            "Missing updates that fix a vulnerability which is being exploited. Good: 0. Install them first. Nothing \
             is shown without `facts` in the configuration, or while KEV was never loaded.",
        ).query("max(@mde_machine_missing_exploited_updates)", "").bounds(Bounds::bad_from(1.0))),
        (6, 4, Panel::stat(
            "CVE fixes missing",
            "Sum of the CVEs that the missing updates fix; a CVE that several updates fix is counted several \
             times. Good: 0. Use it to compare machines, not as a number of distinct CVEs.",
        ).query("max(@mde_machine_missing_updates_addressed_cves)", "")),
        (8, 4, Panel::stat(
            "Oldest missing update",
            "Time since the first seen time of the oldest missing update. Good: none, which is shown as `none \
             or unknown`. Check a machine today if the value is above the deadline of your policy.",
        ).query(days_since("min(@mde_machine_oldest_missing_update_timestamp_seconds)"), "")
            .unit(Unit::Days).nothing("none or unknown")),
        (8, 4, Panel::stat(
            "Last seen by Defender",
            "Time since the machine's last report to Defender. Good: less than about a day. After a week the \
             machine is off, reinstalled or lost, and this dashboard shows its state at that time.",
        ).query(days_since("max(@mde_machine_last_seen_timestamp_seconds)"), "").unit(Unit::Days)
            .bounds(Bounds::warning_from(WEEK_SECS))),
        (8, 4, Panel::stat(
            "Last read",
            "Time since the exporter read the data on this dashboard. Good: less than two poll intervals. Older data is \
             kept until `poll.expire_after`; the dashboard of the exporter shows why the machine is not polled.",
        ).query(hours_since("max(@mde_machine_last_success_timestamp_seconds)"), "").unit(Unit::Hours)
            .bounds(Bounds::bad_from(STALE_LONG_SECS))),
    ]
}

/// The table of the ends of servicing of the machine's version.
fn servicing() -> Panel {
    let of_machine = |value: &str| {
        format!(
            "max by (os_platform, os_version, edition) ({value}) and on (os_platform, os_version) @mde_machine_info"
        )
    };
    Panel::table(
        "Servicing of its version",
        "The end of servicing of the machine's Windows version, by the editions that machines of this version may have; \
         Defender does not report the edition. `extended` is the end of Extended Security Updates. The last day is \
         included, in UTC. Good: the end that applies to this machine is months away; a negative time has passed. \
         After it the machine misses no update, because none is released, and is not patched. No row: the version is \
         not in the servicing table.",
        vec![
            Column::label("edition", "Edition").grows(),
            Column::value("Value #A", "Ends in", Unit::Days).bounds(Bounds::rising(0.0, SERVICING_ENDING_SECS)),
            Column::value("Value #B", "Last day", Unit::Date),
        ],
    )
    .query(of_machine(&days_until("@mde_servicing_end_timestamp_seconds")), "")
    .query(of_machine("1000 * (@mde_servicing_end_timestamp_seconds - 43200)"), "")
    .without(&["os_platform", "os_version"])
}

fn history() -> Vec<(u32, u32, Panel)> {
    // The machines of the selected machine's group.
    let group = "(#mde_machine_missing_updates * on (job, instance, tenant, machine_id) \
                 group_left (device_group) #mde_machine_info) \
                 and on (tenant, device_group) @mde_machine_info";
    vec![
        (12, 8, Panel::steps(
            "Missing updates over time",
            "Number of missing updates, and of those that are overdue. Good: one or two more after a Patch \
             Tuesday, and 0 again within days. A line that never falls means that updates do not install on \
             the machine.",
        ).query("max(@mde_machine_missing_updates)", "missing")
            .query("max(@mde_machine_overdue_updates)", "overdue").above_zero()
            .color("missing", Color::Warning).color("overdue", Color::Bad)),
        (12, 8, Panel::steps(
            "Against its group",
            "Missing updates of this machine, and the median and the maximum of its device group. Good: at or \
             below the median. A value above it is a problem of this machine; if all values are high, it is a \
             problem of the rollout.",
        ).query("max(@mde_machine_missing_updates)", "this machine")
            .query(format!("quantile(0.5, {group})"), "median of the group")
            .query(format!("max({group})"), "worst of the group").above_zero()),
        (12, 6, servicing()),
        (12, 6, Panel::state_timeline(
            "Patched or not",
            "Times at which the machine missed no update. Good: green, with short interruptions after a Patch \
             Tuesday. Nothing is drawn where the state was unknown.",
        ).query("max(@mde_machine_missing_updates) == bool 0", "updates")
            .query("min(@mde_machine_up)", "reading")
            .value_text(1.0, "ok", Color::Good).value_text(0.0, "not ok", Color::Warning)),
    ]
}

fn updates() -> Vec<(u32, u32, Panel)> {
    let first_seen = "@mde_machine_missing_update_first_seen_timestamp_seconds";
    let of_machine = |value: &str| format!("{value} and on (kb) {first_seen}");
    vec![
        (24, 10, Panel::table(
            "Updates that the machine misses",
            "Each missing update, for how long the machine has missed it, and on how many machines it is missing. Good: \
             an empty list. Install exploited ones first, then from the top. The due date is that of CISA's catalogue \
             KEV. If only this machine misses an update, check the machine, otherwise the rollout. Click a KB for its \
             machines. If the list is empty although updates are missing, the update level is not served: see the note \
             below.",
            vec![
                kb_column(),
                Column::label("title", "Title").grows(),
                Column::value("Value #A", "Missing for", Unit::Days),
                Column::value("Value #C", "Since release", Unit::Days),
                Column::value("Value #D", "CVEs", Unit::Count),
                Column::value("Value #E", "Machines", Unit::Count),
                Column::value("Value #F", "Exploited", Unit::Count).yes_or_no().bounds(Bounds::bad_from(1.0)),
                Column::value("Value #G", "Due by KEV in", Unit::Days).bounds(Bounds::rising(0.0, WEEK_SECS)),
                Column::value("Value #H", "CVSS", Unit::Score),
            ],
        ).query(format!("sort_desc({})", days_since(&format!("min by (kb) ({first_seen})"))), "")
            .query(of_machine("max by (kb, title) (@mde_update_info)"), "")
            .query(of_machine(&days_since("min by (kb) (@mde_update_released_timestamp_seconds)")), "")
            .query(of_machine("max by (kb) (@mde_update_addressed_cves)"), "")
            .query(of_machine("sum by (kb) (@mde_update_missing_machines)"), "")
            .query(of_machine("max by (kb) (@mde_update_exploited)"), "")
            .query(of_machine(&days_until("min by (kb) (@mde_update_known_exploited_due_timestamp_seconds)")), "")
            .query(of_machine("max by (kb) (@mde_update_cvss_score)"), "")
            .without(&["Value #B"])),
        (24, 5, Panel::text("When something is missing here", NO_DATA_NOTE)),
    ]
}
