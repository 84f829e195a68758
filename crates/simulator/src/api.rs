//! Routes: which endpoint a request is for, what stands in front of it, and the Defender calls themselves.
//!
//! Each call is logged, meets the fault that is switched on for it, then the token, the role and the quota,
//! in this order, and only then the fleet.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};
use serde_json::json;
use tokio::time::Instant;

use super::calls::{Call, TokenRequest};
use super::control::Shared;
use super::export;
use super::faults::{Fault, Faulty, forbidden};
use super::fleet::Missing;
use super::odata::{PageRequest, next_page, query_pairs};
use super::record::Record;
use super::replies::{compressed_for, dated, envelope, json_reply, json_text, reply};
use super::tls::Cut;
use super::{Awkwardness, Endpoint};

/// A token request is small.
const LARGEST_FORM_BYTES: usize = 64 << 10;

const CONTEXT: &str = "https://api.securitycenter.microsoft.com/api/$metadata";

/// A request whose endpoint is known.
struct Asked {
    endpoint: Endpoint,
    machine: Option<String>,
    /// Only for [`Endpoint::Token`].
    token: Option<TokenRequest>,
    parts: Parts,
}

/// Answers everything that comes in over a connection.
pub(super) async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some((endpoint, machine)) = route(&parts) else {
        let message = "The requested resource does not exist.";
        return envelope(StatusCode::NOT_FOUND, "NotFound", message);
    };
    let open = OpenCall::begin(&shared, endpoint, machine.clone(), &parts);
    let mut asked = Asked { endpoint, machine, token: None, parts };
    if endpoint == Endpoint::Token {
        let request = token_request(&asked.parts, body).await;
        shared.calls().token(request.clone());
        asked.token = Some(request);
    }
    shared.notify_called();
    let fault = shared.faults().take(endpoint, asked.machine.as_deref());
    let response = match fault {
        None => compressed_for(&asked.parts.headers, answer(&shared, &asked)).await,
        Some((Fault::Hang, _)) => std::future::pending().await,
        Some((Fault::Reset, _)) => {
            cut.now();
            return reply(StatusCode::BAD_GATEWAY, "text/html", "");
        }
        Some((Fault::Delay(delay), _)) => {
            tokio::time::sleep(delay).await;
            answer(&shared, &asked)
        }
        Some((fault, number)) => Faulty {
            endpoint,
            machine: asked.machine.as_deref(),
            base_url: &shared.base_url,
            path: asked.parts.uri.path(),
            path_and_query: path_and_query(&asked.parts.uri),
            number,
        }
        .reply(fault),
    };
    open.end(response.status());
    dated(response, shared.now())
}

fn route(parts: &Parts) -> Option<(Endpoint, Option<String>)> {
    let path = parts.uri.path().trim_matches('/');
    let mut segments: Vec<&str> = path.split('/').collect();
    if segments.len() > 2 && segments[0] == "api" && segments[1] == "v1.0" {
        segments.remove(1);
    }
    let found = match (&parts.method, segments.as_slice()) {
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
        _ => return None,
    };
    Some(found)
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |both| both.as_str())
}

/// A call in the log that has no answer yet. Dropped without [`end`](Self::end), it stays without.
pub(super) struct OpenCall {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    number: u64,
    status: Option<u16>,
}

impl OpenCall {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        endpoint: Endpoint,
        machine_id: Option<String>,
        parts: &Parts,
    ) -> Self {
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let number = shared.calls().begin(Call {
            endpoint,
            path_and_query: path_and_query(&parts.uri).to_owned(),
            machine_id,
            authorization: authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into()),
            at: Instant::now(),
            status: None,
        });
        Self { shared: shared.clone(), endpoint, number, status: None }
    }

    pub(super) fn end(mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.shared.calls().end(self.number, self.endpoint, self.status);
    }
}

async fn token_request(parts: &Parts, body: Body) -> TokenRequest {
    let fields = if parts.method == Method::POST {
        let form = to_bytes(body, LARGEST_FORM_BYTES).await.unwrap_or_default();
        // A form is encoded as a query is.
        let uri = format!("/?{}", String::from_utf8_lossy(&form)).parse::<Uri>().unwrap_or_default();
        query_pairs(&uri)
    } else {
        query_pairs(&parts.uri)
    };
    TokenRequest { path: parts.uri.path().to_owned(), fields, at: Instant::now() }
}

fn answer(shared: &Shared, asked: &Asked) -> Response<Body> {
    let parts = &asked.parts;
    if let Some(request) = &asked.token {
        let mut authority = shared.authority();
        return match request.tenant() {
            Some(_) => authority.token(request, shared.now()),
            None => authority.managed_identity(request, &parts.headers, shared.now()),
        };
    }
    if let Err(refusal) = admit(shared, asked.endpoint, parts) {
        return *refusal;
    }
    let machine = asked.machine.as_deref().unwrap_or_default();
    let answer = match asked.endpoint {
        Endpoint::FindByTag => find_by_tag(shared, &parts.uri),
        Endpoint::Machine => machine_by_id(shared, machine),
        Endpoint::MissingKbs => missing_kbs(shared, machine, &parts.uri),
        Endpoint::Export => Ok(export::list(shared, &parts.uri)),
        Endpoint::Machines | Endpoint::Token | Endpoint::ExportFile => machines(shared, &parts.uri),
    };
    answer.unwrap_or_else(|refusal| *refusal)
}

/// A reply that is an error; boxed, as it is large and rare.
type Refusal = Box<Response<Body>>;

fn admit(shared: &Shared, endpoint: Endpoint, parts: &Parts) -> Result<(), Refusal> {
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
        let authority = shared.authority();
        let Some(roles) = token.and_then(|token| authority.roles_of(token, now)) else {
            return Err(Box::new(unauthorized()));
        };
        if !roles.iter().any(|role| role == required || role.replace("ReadWrite", "Read") == required) {
            return Err(Box::new(forbidden(required, roles)));
        }
    }
    let mut quotas = shared.quotas();
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

fn machines(shared: &Shared, uri: &Uri) -> Result<Response<Body>, Refusal> {
    let request = page_request(uri)?;
    let now = shared.now();
    page(shared, uri, &request, |record| request.filter.matches(record, now))
}

fn find_by_tag(shared: &Shared, uri: &Uri) -> Result<Response<Body>, Refusal> {
    let request = page_request(uri)?;
    let pairs = query_pairs(uri);
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some(tag) = value("tag") else {
        let text = "The required parameter 'tag' is missing.";
        return Err(Box::new(envelope(StatusCode::BAD_REQUEST, "MissingRequiredParameter", text)));
    };
    let prefix = value("useStartsWithFilter").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    page(shared, uri, &request, |record| {
        record.has_tag(|own| if prefix { own.starts_with(tag) } else { own == tag })
    })
}

fn page_request(uri: &Uri) -> Result<PageRequest, Refusal> {
    PageRequest::of(uri)
        .map_err(|message| Box::new(envelope(StatusCode::BAD_REQUEST, "ODataError", &message)))
}

/// One page of the list. An awkward list has an empty page, with a next link, after the first.
fn page(
    shared: &Shared,
    uri: &Uri,
    request: &PageRequest,
    matches: impl Fn(&Record) -> bool,
) -> Result<Response<Body>, Refusal> {
    let fleet = shared.fleet();
    let listing = fleet.listing(matches);
    if listing.is_empty() && fleet.in_scope().next().is_none() {
        let text = "No recent machines were found";
        return Err(Box::new(envelope(StatusCode::NOT_FOUND, "ResourceNotFound", text)));
    }
    let size = request.top.unwrap_or(shared.page_size).min(shared.page_size);
    let end = (request.skip + size).min(listing.len());
    let gap = shared.awkwardness == Awkwardness::Real
        && request.skip == size
        && request.skip < listing.len()
        && request.token.is_none();
    let (slice, next) = if gap {
        (&[][..], Some(next_page(uri, request.skip, Some("gap"))))
    } else {
        let more = request.top.is_none() && end < listing.len();
        (&listing[request.skip.min(end)..end], more.then(|| next_page(uri, end, None)))
    };
    let now = shared.now();
    // Text, record by record: ten thousand of them as values take many times the room.
    let mut body = format!("{{\"@odata.context\":\"{CONTEXT}#Machines\",\"value\":[");
    for (place, record) in slice.iter().enumerate() {
        body.push_str(if place == 0 { "" } else { "," });
        body.push_str(&record.to_json(now).to_string());
    }
    body.push(']');
    if let Some(next) = next {
        let next = json!(format!("{}{next}", shared.base_url));
        body.push_str(",\"@odata.nextLink\":");
        body.push_str(&next.to_string());
    }
    body.push('}');
    Ok(json_text(StatusCode::OK, body))
}

fn machine_by_id(shared: &Shared, id: &str) -> Result<Response<Body>, Refusal> {
    let fleet = shared.fleet();
    let record =
        fleet.record(id).or_else(|| fleet.record_by_name(id)).ok_or_else(|| Box::new(not_found(id)))?;
    let mut body = record.to_json(shared.now());
    body["@odata.context"] = json!(format!("{CONTEXT}#Machines/$entity"));
    Ok(json_reply(StatusCode::OK, &body))
}

fn missing_kbs(shared: &Shared, id: &str, uri: &Uri) -> Result<Response<Body>, Refusal> {
    if query_pairs(uri).iter().any(|(key, _)| key.starts_with('$')) {
        let text = "Query options are not supported by this resource.";
        return Err(Box::new(envelope(StatusCode::BAD_REQUEST, "ODataError", text)));
    }
    match shared.fleet().answer(id, shared.today()) {
        Missing::NotFound => Err(Box::new(not_found(id))),
        Missing::Verbatim(body) => Ok(reply(StatusCode::OK, "application/json", body)),
        Missing::Entries(entries) => {
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
