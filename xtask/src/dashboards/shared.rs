//! Parts that several dashboards share: ages, columns, and the burn-down.

use crate::dashboards::grafana::Column;
use crate::dashboards::links::{TO_MACHINE, TO_SUCCESSOR, TO_UPDATE};

/// The days since a time.
pub(crate) fn days_since(time: &str) -> String {
    format!("(time() - {time}) / 86400")
}

/// The days until a time.
pub(crate) fn days_until(time: &str) -> String {
    format!("({time} - time()) / 86400")
}

/// The hours since a time.
pub(crate) fn hours_since(time: &str) -> String {
    format!("(time() - {time}) / 3600")
}

/// A column of KBs, which links to the dashboard of the update.
pub(crate) fn kb_column() -> Column {
    Column::label("kb", "KB").link("Show this update", TO_UPDATE)
}

/// A column of the KBs that replace an update.
pub(crate) fn successor_column() -> Column {
    Column::label("by", "Replaced by").link("Show this update", TO_SUCCESSOR)
}

/// The columns that name a machine; the hidden id is for the link.
pub(crate) fn machine_columns() -> [Column; 2] {
    [
        Column::label("machine", "Machine").link("Show this machine", TO_MACHINE).grows(),
        Column::label("machine_id", "Machine id").hidden(),
    ]
}

/// `mde_machine_info`, in which a machine without a name has its id as the name.
pub(crate) const NAMED: &str = "(label_replace(@mde_machine_info{machine=\"\"}, \"machine\", \"$1\", \"machine_id\", \
     \"(.*)\") or @mde_machine_info{machine!=\"\"})";

/// The machines that miss the updates of each month, on each day after the release of the update.
///
/// A row has the labels `month` and `day`. Both come out of one number such as 20260907, which `count_values` turns
/// into a label: 7 days after a release in September 2026. The days of the past are read at midnight UTC; the newest
/// value replaces that of the last midnight. Updates of the last twelve weeks are included.
pub(crate) fn burn_down() -> String {
    let released = "@mde_update_released_timestamp_seconds";
    let update = "job, instance, tenant, kb";
    let aged = format!(
        "(count_values by ({update}) (\"at\", 10000 * year({released}) + 100 * month({released}) \
         + floor((time() - {released}) / 86400 < 43)) * on ({update}) group_left () @mde_update_missing_machines)"
    );
    let recent = format!("on ({update}) last_over_time({released}[12w]) > time() - 12 * 604800");
    format!(
        "sum by (month, day) (label_replace(label_replace(\
         ({aged} or last_over_time({aged}[12w:1d])) and {recent}, \
         \"month\", \"$1-$2\", \"at\", \"(....)(..)..\"), \"day\", \"$1\", \"at\", \"......(..)\"))"
    )
}
