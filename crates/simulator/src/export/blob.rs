//! The store that the export's files lie in: another host than the API, which knows links and no tokens.
//!
//! It answers as Azure Blob does. A request with an `Authorization` header is refused, however good its link
//! is, because a client that sends its token here has given it away.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::faults::{CONTENT_TYPE, blob_not_found, error, error_with_detail, faulty};
use super::files::{FileWriter, body};
use super::snapshot::{LinkRefused, Part};
use crate::Endpoint;
use crate::api::OpenCall;
use crate::control::Shared;
use crate::faults::Fault;
use crate::random::guid;
use crate::replies::{dated, reply};
use crate::tls::Cut;

/// Answers everything that comes in over a connection.
pub(crate) async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let open = OpenCall::begin(&shared, Endpoint::ExportFile, None, &parts);
    shared.notify_called();
    let fault = shared.faults().take(Endpoint::ExportFile, None);
    let response = match fault {
        None => answer(&shared, &parts),
        Some((Fault::Hang, _)) => std::future::pending().await,
        Some((Fault::Reset, _)) => {
            cut.now();
            reply(StatusCode::BAD_GATEWAY, "text/html", "")
        }
        Some((Fault::Delay(delay), _)) => {
            tokio::time::sleep(delay).await;
            answer(&shared, &parts)
        }
        Some((fault @ Fault::Truncated, number)) => {
            let first = match open_file(&shared, &parts.uri) {
                Ok(Some(mut writer)) => spawn_blocking(move || writer.next_piece()).await.ok().flatten(),
                _ => None,
            };
            faulty(fault, number, first)
        }
        Some((fault, number)) => faulty(fault, number, None),
    };
    open.end(response.status());
    dated(response, shared.now())
}

fn answer(shared: &Arc<Shared>, parts: &Parts) -> Response<Body> {
    if parts.method != Method::GET {
        let text = "The resource doesn't support specified Http Verb.";
        return error(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text);
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let text = "Authentication information is not given in the correct format. Check the value of \
                    Authorization header.";
        return error(StatusCode::BAD_REQUEST, "InvalidAuthenticationInfo", text);
    }
    let now = shared.now();
    let mut found = match open_file(shared, &parts.uri) {
        Err(refused) => return refusal(&refused, now),
        Ok(None) => reply(StatusCode::OK, CONTENT_TYPE, Body::empty()),
        Ok(Some(writer)) => reply(StatusCode::OK, CONTENT_TYPE, body(writer)),
    };
    let headers = found.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"));
    headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
    headers.insert("x-ms-version", HeaderValue::from_static("2019-12-12"));
    if let Ok(request) = guid(now.as_second().unsigned_abs(), 9).parse() {
        headers.insert("x-ms-request-id", request);
    }
    found
}

/// The file that a link leads to; none is the empty one.
fn open_file(shared: &Arc<Shared>, uri: &Uri) -> Result<Option<FileWriter>, LinkRefused> {
    let found = shared.exports().open(uri, shared.now());
    found.map(|(snapshot, part)| match part {
        Part::Rows(file) => Some(FileWriter::new(shared.clone(), snapshot, file)),
        Part::Empty => None,
    })
}

fn refusal(refused: &LinkRefused, now: Timestamp) -> Response<Body> {
    let detail = match refused {
        LinkRefused::Unknown => return blob_not_found(),
        LinkRefused::Malformed => "Signature fields not well formed.".to_owned(),
        LinkRefused::Forged => "Signature did not match. String to sign used was r".to_owned(),
        LinkRefused::Expired { start, expiry } => format!(
            "Signature not valid in the specified time frame: Start [{start}] - Expiry [{expiry}] - Current [{}]",
            now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ),
    };
    error_with_detail(
        StatusCode::FORBIDDEN,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
         correctly including the signature.",
        &format!("<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"),
    )
}
