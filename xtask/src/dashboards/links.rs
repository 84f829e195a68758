//! Links from the cells of tables to other dashboards and to pages of Microsoft.

/// URL parameters that keep the selected variables and the time range.
macro_rules! selection {
    () => {
        "&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    };
}

/// The fleet dashboard of the tenant in the row.
pub(crate) const TO_TENANT: &str =
    concat!("/d/mde-fleet?var-tenant=${__data.fields.tenant:percentencode}", selection!());

/// The fleet dashboard of the device group in the row.
pub(crate) const TO_GROUP: &str = concat!(
    "/d/mde-fleet?var-device_group=${__data.fields.device_group:percentencode}&${tenant:queryparam}",
    selection!()
);

/// The dashboard of the machine in the row.
pub(crate) const TO_MACHINE: &str = concat!(
    "/d/mde-machine?var-tenant=${__data.fields.tenant:percentencode}",
    "&var-machine=${__data.fields.machine_id:percentencode}",
    selection!()
);

/// The dashboard of the update in the row.
pub(crate) const TO_UPDATE: &str =
    concat!("/d/mde-update?var-kb=${__data.fields.kb:percentencode}&${tenant:queryparam}", selection!());

/// The dashboard of the update that replaces the one in the row.
pub(crate) const TO_SUCCESSOR: &str =
    concat!("/d/mde-update?var-kb=${__data.fields.by:percentencode}&${tenant:queryparam}", selection!());

/// The dashboard of the exporter.
pub(crate) const TO_EXPORTER: &str = concat!("/d/mde-exporter?${tenant:queryparam}", selection!());

/// The update in the row, in the Microsoft Update Catalog.
pub(crate) const TO_CATALOGUE: &str =
    "https://www.catalog.update.microsoft.com/Search.aspx?q=KB${__data.fields.kb:percentencode}";

/// The machine in the row, in the Microsoft Defender portal.
pub(crate) const TO_PORTAL: &str =
    "https://security.microsoft.com/machines/v2/${__data.fields.machine_id:percentencode}/overview";
