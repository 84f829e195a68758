//! The list of the export: the links to the files of the newest version.

use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use jiff::SignedDuration;
use serde_json::json;

use super::exported_machine::ExportedMachine;
use super::update_catalog::{ExportedKb, UpdateCatalog};
use crate::odata::query_pairs;
use crate::replies::{envelope, json_reply};
use crate::state::SimulatorState;

/// Answers `GET /api/machines/SoftwareVulnerabilitiesExport`.
pub(crate) fn list(state: &SimulatorState, uri: &Uri) -> Response<Body> {
    let pairs = query_pairs(uri);
    let hours = pairs.iter().find(|(key, _)| key == "sasValidHours").map(|(_, value)| value.parse());
    let Ok(hours @ 1..=6) = hours.unwrap_or(Ok(1)) else {
        let text = "The parameter 'sasValidHours' must be between 1 and 6.";
        return envelope(StatusCode::BAD_REQUEST, "InvalidInput", text);
    };
    let now = state.now();
    let mut exports = state.exports();
    let version = exports.listed(now, state.today());
    let links = exports.links(&version, now, SignedDuration::from_hours(hours));
    let links: Vec<String> = links.iter().map(|link| format!("{}{link}", state.files_url)).collect();
    let context = "https://api.securitycenter.microsoft.com/api/$metadata\
                   #microsoft.windowsDefenderATP.api.ExportFilesResponse";
    let body = json!({
        "@odata.context": context,
        "exportFiles": links,
        "generatedTime": version.generated.to_string(),
    });
    json_reply(StatusCode::OK, &body)
}

/// The missing updates of a machine in the newest version. None if the machine has no rows.
pub(crate) fn exported(state: &SimulatorState, machine_id: &str) -> Option<Vec<ExportedKb>> {
    let version = state.exports().newest(state.now(), state.today()).clone();
    let fleet = state.fleet();
    let position = fleet.position(machine_id)?;
    let machine = ExportedMachine::at(&fleet, position, version.day, version.generated)?;
    Some(UpdateCatalog::new(state.rows_per_update).expected(&machine, version.generated))
}
