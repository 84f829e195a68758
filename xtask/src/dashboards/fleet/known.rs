//! The row with missing updates as such, exceptions, and the machines that nothing is known about.

use super::{ASSESSED, exceptions, share_in_state};
use crate::dashboards::bounds::{INACTIVE_SHARE, UNKNOWN_SHARE};
use crate::dashboards::grafana::{Bounds, Color, Panel, Unit};
use crate::dashboards::links::TO_EXPORTER;

pub(super) fn panels() -> Vec<(u32, u32, Panel)> {
    let not_patched = format!("sum({ASSESSED}) - sum(@mde_compliant_machines)");
    vec![
        (8, 4, Panel::stat(
            "Missing updates",
            "Number of missing updates: one KB missing on one machine counts as one. Good: it falls to almost \
             zero between two Patch Tuesdays. The second number is the sum of the CVEs that these updates \
             fix; a CVE that several updates fix is counted several times.",
        ).query("sum(@mde_missing_updates)", "updates").query("sum(@mde_missing_updates_addressed_cves)", "CVE fixes")),
        (8, 4, Panel::stat(
            "Unknown machines",
            "Share of the machines in scope that were never read, or not within `poll.expire_after`, without \
             unsupported machines. They count as neither patched nor unpatched. Good: none; above 5 % \
             `MdeCollectionIncomplete` fires. To find the cause, open the dashboard of the exporter.",
        ).query(share_in_state("unknown", ""), "").unit(Unit::Share)
            .bounds(Bounds::falling(UNKNOWN_SHARE)).link("Exporter", TO_EXPORTER)),
        (8, 4, Panel::stat(
            "Inactive machines",
            "Share of the machines in scope that are inactive: Defender has not seen them for \
             `poll.inactive_after`, so its data about them is not used. Unsupported machines are left out. \
             Good: few; above 10 % \
             `MdeMachinesInactive` fires. Find these machines or remove them from Defender.",
        ).query(share_in_state("inactive", ""), "").unit(Unit::Share).bounds(Bounds::falling(INACTIVE_SHARE))),
        (12, 8, Panel::stacked(
            "Machines by state",
            "The machines in scope without unsupported ones. Good: nearly all miss nothing. The machines that are not \
             patched miss updates, or are past end of servicing. Grey is not green: \
             nothing is known about unknown machines, and the data of inactive machines is not used.",
        ).query("sum(@mde_compliant_machines)", "miss nothing")
            .query(not_patched, "not patched")
            .query("sum(@mde_assessed_machines{state=\"inactive\"})", "inactive")
            .query("sum(@mde_assessed_machines{state=\"unknown\"})", "unknown")
            .color("miss nothing", Color::Good).color("not patched", Color::Warning)
            .color("inactive", Color::Inactive).color("unknown", Color::Unknown)),
        (12, 8, exceptions::panel()),
    ]
}
