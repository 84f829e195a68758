//! The public catalogues about the simulated KBs, in the form of the real ones: CVRF documents of Microsoft,
//! the KEV catalogue of CISA, EPSS scores of FIRST, and the end of servicing as endoflife.date writes it.
//!
//! They follow the simulated calendar. A document exists once its Update Tuesday came, it is revised for a
//! month, and KEV lists a CVE some days after its release. They contain the oddities of the real ones, and
//! some KBs of the fleet are in no document.
//!
//! ```text
//! files, answer -> cvrf      -> vulnerability -> fixes, products
//!               -> kev, epss -> exploitation
//!               -> servicing
//! ```

mod cvrf;
mod epss;
mod exploitation;
mod fixes;
mod kev;
mod msrc_index;
mod products;
mod servicing;
mod vulnerability;

use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;

use self::msrc_index::MonthDocument;
use super::calendar::Day;
use super::endpoint::Endpoint;
use super::fault_bodies::broken;
use super::faults::{Fault, gateway_page};
use super::fleet::MissingKb;
use super::replies::{compressed_for, reply};
use super::state::SimulatorState;

/// The beginning of the exporter's user agent.
const EXPORTER: &str = "mde_exporter/";

const JSON: &str = "application/json; charset=utf-8";

/// A part of a catalogue that a fault asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Complete,
    Shrunken,
    OlderRevision,
    Padded,
}

/// The catalogues of one day.
struct Catalogues {
    today: Day,
    /// The updates that a test set. They are listed in the document that their title names.
    set: Vec<MissingKb>,
}

impl Catalogues {
    fn of(state: &SimulatorState) -> Self {
        let mut set: Vec<MissingKb> = state.fleet().all_set().cloned().collect();
        set.sort_by(|one, other| one.id.cmp(&other.id));
        set.dedup_by(|one, other| one.id == other.id);
        Self { today: state.today(), set }
    }

    /// The contents of a catalogue. `name` is the id of a document or the name of a product. None if there is
    /// no such catalogue.
    fn contents(&self, endpoint: Endpoint, name: &str, variant: Variant) -> Option<Vec<u8>> {
        let text = match endpoint {
            Endpoint::MsrcIndex => msrc_index::index(self.today),
            Endpoint::MsrcDocument => {
                cvrf::document(self, MonthDocument::parse(name).filter(|id| id.exists(self.today))?, variant)
            }
            Endpoint::Kev => kev::catalogue(self.today, variant == Variant::Shrunken),
            Endpoint::Epss => return Some(gzip(&epss::scores(self.today, variant == Variant::Shrunken))),
            Endpoint::Servicing => servicing::product(name, self.today, variant == Variant::Shrunken)?,
            _ => return None,
        };
        Some(text.into_bytes())
    }
}

/// The catalogue with this path, and the name of the document or product.
pub(super) fn route(segments: &[&str]) -> Option<(Endpoint, Option<String>)> {
    Some(match segments {
        ["cvrf", "v3.0", "updates"] => (Endpoint::MsrcIndex, None),
        ["cvrf", "v3.0", "cvrf", id] => (Endpoint::MsrcDocument, Some((*id).to_owned())),
        ["kev", "known_exploited_vulnerabilities.json"] => (Endpoint::Kev, None),
        ["epss", "epss_scores-current.csv.gz"] => (Endpoint::Epss, None),
        ["servicing", product] => (Endpoint::Servicing, Some((*product).to_owned())),
        _ => return None,
    })
}

/// The answer without a fault.
pub(super) async fn answer(
    state: &SimulatorState,
    endpoint: Endpoint,
    name: Option<&str>,
    headers: &HeaderMap,
) -> Response<Body> {
    variant(state, endpoint, name, headers, Variant::Complete).await
}

/// Returns whether [`faulty`] answers this fault.
pub(super) fn concerns(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Shrunken | Fault::OlderRevision | Fault::Padded | Fault::RefusedToOthers | Fault::Truncated
    )
}

/// The answer with a fault that depends on the contents or on the client.
pub(super) async fn faulty(
    state: &SimulatorState,
    endpoint: Endpoint,
    name: Option<&str>,
    headers: &HeaderMap,
    fault: Fault,
) -> Response<Body> {
    let of = |wanted| variant(state, endpoint, name, headers, wanted);
    match fault {
        Fault::Shrunken => of(Variant::Shrunken).await,
        Fault::OlderRevision => of(Variant::OlderRevision).await,
        Fault::Padded => of(Variant::Padded).await,
        Fault::Truncated => {
            let mut contents = contents(state, endpoint, name, Variant::Complete).unwrap_or_default();
            contents.truncate(contents.len() / 2);
            broken(content_type(endpoint), Bytes::from(contents))
        }
        _ if is_exporter(headers) => of(Variant::Complete).await,
        _ => reply(StatusCode::FORBIDDEN, "text/html", gateway_page(403)),
    }
}

fn is_exporter(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with(EXPORTER))
}

fn contents(
    state: &SimulatorState,
    endpoint: Endpoint,
    name: Option<&str>,
    variant: Variant,
) -> Option<Vec<u8>> {
    Catalogues::of(state).contents(endpoint, name.unwrap_or_default(), variant)
}

async fn variant(
    state: &SimulatorState,
    endpoint: Endpoint,
    name: Option<&str>,
    headers: &HeaderMap,
    variant: Variant,
) -> Response<Body> {
    if endpoint == Endpoint::MsrcDocument && !accepts_json(headers) {
        return reply(StatusCode::OK, "application/xml", "<?xml version=\"1.0\"?><cvrf:cvrfdoc/>");
    }
    let Some(contents) = contents(state, endpoint, name, variant) else {
        return reply(StatusCode::NOT_FOUND, "text/html", gateway_page(404));
    };
    let response = reply(StatusCode::OK, content_type(endpoint), contents);
    if endpoint == Endpoint::Epss { response } else { compressed_for(headers, response).await }
}

/// Returns whether the client asks for JSON. The real API answers XML to all others.
fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("application/json"))
}

fn content_type(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Epss => "application/gzip",
        // As a repository serves its files.
        Endpoint::Kev => "text/plain; charset=utf-8",
        _ => JSON,
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// See [`Control::catalogue_files`](super::Control::catalogue_files).
pub(super) fn files(state: &SimulatorState, months: usize) -> Vec<(String, Vec<u8>)> {
    let catalogues = Catalogues::of(state);
    let documents = msrc_index::newest_documents(catalogues.today, months);
    let mut files: Vec<(Endpoint, String, String)> =
        documents.map(|id| (Endpoint::MsrcDocument, id.to_string(), format!("{id}.json"))).collect();
    let kev = "known_exploited_vulnerabilities.json".to_owned();
    files.push((Endpoint::Kev, String::new(), kev));
    files.push((Endpoint::Epss, String::new(), "epss_scores-current.csv.gz".to_owned()));
    for product in servicing::PRODUCTS {
        files.push((Endpoint::Servicing, product.to_owned(), format!("{product}.json")));
    }
    let file = |(endpoint, name, file): (Endpoint, String, String)| {
        Some((file, catalogues.contents(endpoint, &name, Variant::Complete)?))
    };
    files.into_iter().filter_map(file).collect()
}
