//! The store of the export's files: another host than the API, which accepts links and no tokens.
//!
//! It answers as Azure Blob does. A request with an `Authorization` header is rejected even if its link is
//! valid, because a client that sends its token here has disclosed it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::faults::{CONTENT_TYPE, blob_not_found, error, error_with_detail, fault_reply};
use super::files::{ExportFileWriter, body};
use crate::endpoint::Endpoint;
use crate::export_versions::{FileKind, LinkError};
use crate::faults::Fault;
use crate::open_call::OpenCall;
use crate::random::guid;
use crate::replies::{dated, reply};
use crate::state::SimulatorState;
use crate::tls::ResetHandle;

/// Answers every request of a connection.
pub(crate) async fn handle(
    State(state): State<Arc<SimulatorState>>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    request: Request,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let open = OpenCall::begin(&state, Endpoint::ExportFile, None, &parts);
    state.notify_called();
    let fault = state.faults().take(Endpoint::ExportFile, None);
    let response = match fault {
        None => answer(&state, &parts),
        Some((Fault::Hang, _)) => std::future::pending().await,
        Some((Fault::Reset, _)) => {
            connection.trigger();
            reply(StatusCode::BAD_GATEWAY, "text/html", "")
        }
        Some((Fault::Delay(delay), _)) => {
            tokio::time::sleep(delay).await;
            answer(&state, &parts)
        }
        Some((fault @ Fault::Truncated, number)) => {
            let first = match open_file(&state, &parts.uri) {
                Ok(Some(mut writer)) => spawn_blocking(move || writer.next_piece()).await.ok().flatten(),
                _ => None,
            };
            fault_reply(fault, number, first)
        }
        Some((fault, number)) => fault_reply(fault, number, None),
    };
    open.end(response.status());
    dated(response, state.now())
}

fn answer(state: &Arc<SimulatorState>, parts: &Parts) -> Response<Body> {
    if parts.method != Method::GET {
        let text = "The resource doesn't support specified Http Verb.";
        return error(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text);
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let text = "Authentication information is not given in the correct format. Check the value of \
                    Authorization header.";
        return error(StatusCode::BAD_REQUEST, "InvalidAuthenticationInfo", text);
    }
    let now = state.now();
    let mut response = match open_file(state, &parts.uri) {
        Err(link_error) => return link_error_reply(&link_error, now),
        Ok(None) => reply(StatusCode::OK, CONTENT_TYPE, Body::empty()),
        Ok(Some(writer)) => reply(StatusCode::OK, CONTENT_TYPE, body(writer)),
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"));
    headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
    headers.insert("x-ms-version", HeaderValue::from_static("2019-12-12"));
    if let Ok(request) = guid(now.as_second().unsigned_abs(), 9).parse() {
        headers.insert("x-ms-request-id", request);
    }
    response
}

/// Opens the file of a link. None is the empty file.
fn open_file(state: &Arc<SimulatorState>, uri: &Uri) -> Result<Option<ExportFileWriter>, LinkError> {
    let response = state.exports().open(uri, state.now());
    response.map(|(version, kind)| match kind {
        FileKind::Rows(file) => Some(ExportFileWriter::new(state.clone(), version, file)),
        FileKind::Empty => None,
    })
}

fn link_error_reply(link_error: &LinkError, now: Timestamp) -> Response<Body> {
    let detail = match link_error {
        LinkError::Unknown => return blob_not_found(),
        LinkError::Malformed => "Signature fields not well formed.".to_owned(),
        LinkError::Forged => "Signature did not match. String to sign used was r".to_owned(),
        LinkError::Expired { start, expiry } => format!(
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
