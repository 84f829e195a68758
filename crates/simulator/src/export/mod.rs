//! The bulk export `SoftwareVulnerabilitiesExport`: a list of links, and the files that they lead to.
//!
//! The list is the API's, with a token, a role and a quota; the files lie in a store on another port, which
//! wants no token. A file holds a row per machine, software and CVE, so what a machine misses has to be put
//! together from them. As in the real export the data is a snapshot: it is that of the simulated day on which
//! it was made, however late it is read. What a test tells a machine to miss is shown at once.
//!
//! The export shows the shape of a real one and not its size: of an update that fixes a hundred CVEs, only
//! [`Options::rows_per_update`](super::Options::rows_per_update) are listed.
//!
//! ```text
//! list:  snapshot -> links         file:  blob -> files -> assessment -> rows
//!                                                             subject, findings
//! ```

use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use jiff::SignedDuration;
use serde_json::json;

use super::control::Shared;
use super::odata::query_pairs;
use super::replies::{envelope, json_reply};

mod assessment;
mod blob;
mod faults;
mod files;
mod findings;
mod rows;
mod snapshot;
mod subject;

pub(super) use blob::handle;
pub use findings::ExportedKb;
pub(super) use snapshot::{Exports, LINK_CANARY};

use findings::Findings;
use subject::Subject;

/// Answers `GET /api/machines/SoftwareVulnerabilitiesExport`.
pub(super) fn list(shared: &Shared, uri: &Uri) -> Response<Body> {
    let pairs = query_pairs(uri);
    let hours = pairs.iter().find(|(key, _)| key == "sasValidHours").map(|(_, value)| value.parse());
    let Ok(hours @ 1..=6) = hours.unwrap_or(Ok(1)) else {
        let text = "The parameter 'sasValidHours' must be between 1 and 6.";
        return envelope(StatusCode::BAD_REQUEST, "InvalidInput", text);
    };
    let now = shared.now();
    let mut exports = shared.exports();
    let snapshot = exports.listed(now, shared.today());
    let links = exports.links(&snapshot, now, SignedDuration::from_hours(hours));
    let links: Vec<String> = links.iter().map(|link| format!("{}{link}", shared.files_url)).collect();
    let context = "https://api.securitycenter.microsoft.com/api/$metadata\
                   #microsoft.windowsDefenderATP.api.ExportFilesResponse";
    let body = json!({
        "@odata.context": context,
        "exportFiles": links,
        "generatedTime": snapshot.generated.to_string(),
    });
    json_reply(StatusCode::OK, &body)
}

/// What the newest snapshot says about a machine; none when it has no rows.
pub(super) fn exported(shared: &Shared, machine_id: &str) -> Option<Vec<ExportedKb>> {
    let snapshot = shared.exports().newest(shared.now(), shared.today()).clone();
    let fleet = shared.fleet();
    let place = fleet.place(machine_id)?;
    let subject = Subject::at(&fleet, place, snapshot.day, snapshot.generated)?;
    Some(Findings::new(shared.rows_per_update).truth(&subject, snapshot.generated))
}
