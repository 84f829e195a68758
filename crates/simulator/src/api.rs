//! Routing, the checks before each call, and the Defender calls themselves.
//!
//! Each call is logged. Then an injected fault applies, then the token, the role and the quota are checked,
//! in this order, and the fleet answers last.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};
use serde_json::json;
use tokio::time::Instant;

use super::calls::TokenRequest;
use super::endpoint::Endpoint;
use super::export::list;
use super::facts;
use super::faults::{Fault, FaultyCall, forbidden};
use super::fleet::MissingKbsReply;
use super::odata::{PageRequest, next_link, query_pairs};
use super::open_call::{OpenCall, path_and_query};
use super::options::Realism;
use super::record::MachineRecord;
use super::replies::{compressed_for, dated, envelope, json_reply, json_text, reply};
use super::state::SimulatorState;
use super::tls::ResetHandle;

/// Maximum size of a token request.
const LARGEST_FORM_BYTES: usize = 64 << 10;

const CONTEXT: &str = "https://api.securitycenter.microsoft.com/api/$metadata";

/// A request with its endpoint.
struct RoutedRequest {
    endpoint: Endpoint,
    /// The id of the machine, or of a document or product of a catalogue.
    machine: Option<String>,
    /// Set for [`Endpoint::Token`] only.
    token: Option<TokenRequest>,
    parts: Parts,
}

/// Answers every request of a connection.
pub(super) async fn handle(
    State(state): State<Arc<SimulatorState>>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some((endpoint, machine)) = route(&parts) else {
        let message = "The requested resource does not exist.";
        return envelope(StatusCode::NOT_FOUND, "NotFound", message);
    };
    let logged = machine.clone().filter(|_| !endpoint.is_catalogue());
    let open = OpenCall::begin(&state, endpoint, logged, &parts);
    let mut routed = RoutedRequest { endpoint, machine, token: None, parts };
    if endpoint == Endpoint::Token {
        let request = token_request(&routed.parts, body).await;
        state.calls().token(request.clone());
        routed.token = Some(request);
    }
    state.notify_called();
    let fault = state.faults().take(endpoint, routed.machine.as_deref());
    let response = match fault {
        None => ordinary(&state, &routed).await,
        Some((Fault::Hang, _)) => std::future::pending().await,
        Some((Fault::Reset, _)) => {
            connection.trigger();
            return reply(StatusCode::BAD_GATEWAY, "text/html", "");
        }
        Some((Fault::Delay(delay), _)) => {
            tokio::time::sleep(delay).await;
            ordinary(&state, &routed).await
        }
        Some((fault, _)) if endpoint.is_catalogue() && facts::concerns(&fault) => {
            facts::faulty(&state, endpoint, routed.machine.as_deref(), &routed.parts.headers, fault).await
        }
        Some((Fault::BrokenName(name), _)) => broken_name(answer(&state, &routed), &name).await,
        Some((fault, number)) => FaultyCall {
            endpoint,
            machine: routed.machine.as_deref(),
            base_url: &state.base_url,
            path: routed.parts.uri.path(),
            path_and_query: path_and_query(&routed.parts.uri),
            number,
        }
        .reply(fault),
    };
    open.end(response.status());
    dated(response, state.now())
}

/// The answer without a fault.
async fn ordinary(state: &SimulatorState, routed: &RoutedRequest) -> Response<Body> {
    let headers = &routed.parts.headers;
    if routed.endpoint.is_catalogue() {
        facts::answer(state, routed.endpoint, routed.machine.as_deref(), headers).await
    } else {
        compressed_for(headers, answer(state, routed)).await
    }
}

/// The reply with `name` as the name of its first record.
async fn broken_name(response: Response<Body>, name: &[u8]) -> Response<Body> {
    const FIELD: &[u8] = b"\"computerDnsName\":\"";
    let (parts, body) = response.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.unwrap_or_default().to_vec();
    if let Some(field) = body.windows(FIELD.len()).position(|part| part == FIELD) {
        let start = field + FIELD.len();
        let length = body[start..].iter().position(|&byte| byte == b'"').unwrap_or_default();
        body.splice(start..start + length, name.iter().copied());
    }
    Response::from_parts(parts, body.into())
}

fn route(parts: &Parts) -> Option<(Endpoint, Option<String>)> {
    let path = parts.uri.path().trim_matches('/');
    let mut segments: Vec<&str> = path.split('/').collect();
    if segments.len() > 2 && segments[0] == "api" && segments[1] == "v1.0" {
        segments.remove(1);
    }
    let matched = match (&parts.method, segments.as_slice()) {
        (&Method::POST, [_, "oauth2", "v2.0", "token"])
        | (&Method::GET, ["msi", "token"] | ["metadata", "identity", "oauth2", "token"]) => {
            (Endpoint::Token, None)
        }
        (&Method::GET, ["api", "machines"]) => (Endpoint::Machines, None),
        (&Method::GET, ["api", "machines", "findbytag"]) => (Endpoint::FindByTag, None),
        (&Method::GET, ["api", "machines", "SoftwareVulnerabilitiesExport"]) => (Endpoint::Export, None),
        (&Method::GET, ["api", "machines", id]) => (Endpoint::Machine, Some((*id).to_owned())),
        (&Method::GET, ["api", "machines", id, "getmissingkbs"]) => {
            (Endpoint::MissingKbs, Some((*id).to_owned()))
        }
        (&Method::GET, segments) => return facts::route(segments),
        _ => return None,
    };
    Some(matched)
}

async fn token_request(parts: &Parts, body: Body) -> TokenRequest {
    let fields = if parts.method == Method::POST {
        let form = to_bytes(body, LARGEST_FORM_BYTES).await.unwrap_or_default();
        // A form is encoded in the same way as a query.
        let uri = format!("/?{}", String::from_utf8_lossy(&form)).parse::<Uri>().unwrap_or_default();
        query_pairs(&uri)
    } else {
        query_pairs(&parts.uri)
    };
    TokenRequest { path: parts.uri.path().to_owned(), fields, at: Instant::now() }
}

fn answer(state: &SimulatorState, routed: &RoutedRequest) -> Response<Body> {
    let parts = &routed.parts;
    if let Some(request) = &routed.token {
        let mut authority = state.authority();
        return match request.tenant() {
            Some(_) => authority.token(request, state.now()),
            None => authority.managed_identity(request, &parts.headers, state.now()),
        };
    }
    if let Err(error) = admit(state, routed.endpoint, parts) {
        return *error;
    }
    let machine = routed.machine.as_deref().unwrap_or_default();
    let answer = match routed.endpoint {
        Endpoint::FindByTag => find_by_tag(state, &parts.uri),
        Endpoint::Machine => machine_by_id(state, machine),
        Endpoint::MissingKbs => missing_kbs(state, machine, &parts.uri),
        Endpoint::Export => Ok(list::list(state, &parts.uri)),
        _ => machines(state, &parts.uri),
    };
    answer.unwrap_or_else(|error| *error)
}

/// An error reply; boxed, because it is large and rare.
type ErrorReply = Box<Response<Body>>;

fn admit(state: &SimulatorState, endpoint: Endpoint, parts: &Parts) -> Result<(), ErrorReply> {
    let now = Instant::now();
    let token = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let required = match endpoint {
        Endpoint::MissingKbs => "Software.Read.All",
        Endpoint::Export => "Vulnerability.Read.All",
        _ => "Machine.Read.All",
    };
    {
        let authority = state.authority();
        let Some(roles) = token.and_then(|token| authority.roles_of(token, now)) else {
            return Err(Box::new(unauthorized()));
        };
        if !roles.iter().any(|role| role == required || role.replace("ReadWrite", "Read") == required) {
            return Err(Box::new(forbidden(required, roles)));
        }
    }
    let mut quotas = state.quotas();
    let quota = match endpoint {
        Endpoint::MissingKbs => &mut quotas.missing_kbs,
        Endpoint::Export => &mut quotas.export,
        _ => &mut quotas.machines,
    };
    quota.admit(now).map_err(|exceeded| {
        let mut response = envelope(StatusCode::TOO_MANY_REQUESTS, "429", &exceeded.message());
        response.headers_mut().insert(header::RETRY_AFTER, exceeded.retry_after_secs.into());
        Box::new(response)
    })
}

fn unauthorized() -> Response<Body> {
    let message = "Authorization token is missing, invalid or expired.";
    let mut response = envelope(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn machines(state: &SimulatorState, uri: &Uri) -> Result<Response<Body>, ErrorReply> {
    let request = page_request(uri)?;
    let now = state.now();
    page(state, uri, &request, |record| request.filter.matches(record, now))
}

fn find_by_tag(state: &SimulatorState, uri: &Uri) -> Result<Response<Body>, ErrorReply> {
    let request = page_request(uri)?;
    let pairs = query_pairs(uri);
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some(tag) = value("tag") else {
        let text = "The required parameter 'tag' is missing.";
        return Err(Box::new(envelope(StatusCode::BAD_REQUEST, "MissingRequiredParameter", text)));
    };
    let prefix = value("useStartsWithFilter").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    page(state, uri, &request, |record| {
        record.has_tag(|own| if prefix { own.starts_with(tag) } else { own == tag })
    })
}

fn page_request(uri: &Uri) -> Result<PageRequest, ErrorReply> {
    PageRequest::parse(uri)
        .map_err(|message| Box::new(envelope(StatusCode::BAD_REQUEST, "ODataError", &message)))
}

/// One page of the list. A realistic list has an empty page with a next link after the first page.
fn page(
    state: &SimulatorState,
    uri: &Uri,
    request: &PageRequest,
    matches: impl Fn(&MachineRecord) -> bool,
) -> Result<Response<Body>, ErrorReply> {
    let fleet = state.fleet();
    let listing = fleet.listing(matches);
    if listing.is_empty() && fleet.in_scope().next().is_none() {
        let text = "No recent machines were found";
        return Err(Box::new(envelope(StatusCode::NOT_FOUND, "ResourceNotFound", text)));
    }
    let size = request.top.unwrap_or(state.page_size).min(state.page_size);
    let end = (request.skip + size).min(listing.len());
    let is_empty_page = state.realism == Realism::Realistic
        && request.skip == size
        && request.skip < listing.len()
        && request.token.is_none();
    let (slice, next) = if is_empty_page {
        (&[][..], Some((request.skip, Some("empty"))))
    } else {
        let more = request.top.is_none() && end < listing.len();
        (&listing[request.skip.min(end)..end], more.then_some((end, None)))
    };
    let next =
        next.and_then(|(skip, token)| next_link(state.next_links(), &state.base_url, uri, skip, token));
    let now = state.now();
    // Text, record by record: ten thousand records as JSON values take many times the memory.
    let mut body = format!("{{\"@odata.context\":\"{CONTEXT}#Machines\",\"value\":[");
    for (place, record) in slice.iter().enumerate() {
        body.push_str(if place == 0 { "" } else { "," });
        body.push_str(&record.to_json(now).to_string());
    }
    body.push(']');
    if let Some(next) = next {
        body.push_str(",\"@odata.nextLink\":");
        body.push_str(&json!(next).to_string());
    }
    body.push('}');
    Ok(json_text(StatusCode::OK, body))
}

fn machine_by_id(state: &SimulatorState, id: &str) -> Result<Response<Body>, ErrorReply> {
    let fleet = state.fleet();
    let record =
        fleet.record(id).or_else(|| fleet.record_by_name(id)).ok_or_else(|| Box::new(not_found(id)))?;
    let mut body = record.to_json(state.now());
    body["@odata.context"] = json!(format!("{CONTEXT}#Machines/$entity"));
    Ok(json_reply(StatusCode::OK, &body))
}

fn missing_kbs(state: &SimulatorState, id: &str, uri: &Uri) -> Result<Response<Body>, ErrorReply> {
    if query_pairs(uri).iter().any(|(key, _)| key.starts_with('$')) {
        let text = "Query options are not supported by this resource.";
        return Err(Box::new(envelope(StatusCode::BAD_REQUEST, "ODataError", text)));
    }
    match state.fleet().answer(id, state.today(), state.now()) {
        MissingKbsReply::NotFound => Err(Box::new(not_found(id))),
        MissingKbsReply::Verbatim(body) => Ok(reply(StatusCode::OK, "application/json", body)),
        MissingKbsReply::Entries(entries) => {
            let context =
                format!("{CONTEXT}#Collection(microsoft.windowsDefenderATP.api.PublicProductFixDto)");
            Ok(json_reply(StatusCode::OK, &json!({"@odata.context": context, "value": entries})))
        }
    }
}

fn not_found(id: &str) -> Response<Body> {
    let message = format!("Machine {id} was not found");
    envelope(StatusCode::NOT_FOUND, "ResourceNotFound", &message)
}
