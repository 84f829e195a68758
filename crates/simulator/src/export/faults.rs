//! The replies to a download that meets a fault.
//!
//! Errors are XML as Azure Blob writes it. Bodies are gzip, so that a defect appears only when they are
//! unpacked. Faults of paging do not apply to a download, so they are server errors.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::fault_bodies::{broken, dripping, gzip, gzip_beginning, huge_gzip};
use crate::faults::{Fault, gateway_page, status};
use crate::random::{guid, machine_id};
use crate::replies::reply;

pub(super) const CONTENT_TYPE: &str = "application/octet-stream";

/// Size of one piece of a body that is too large.
const PIECE_BYTES: usize = 1 << 20;

/// An empty stored block of deflate: it can follow any other block and adds no output.
const EMPTY_BLOCK: &[u8] = &[0, 0, 0, 0xff, 0xff];

const WRONG_SHAPES: &[u8] =
    b"[1,2]\n7\nnull\n\"text\"\n{\"DeviceId\":[1],\"CveId\":{},\"SoftwareVendor\":7}\n\
    {\"value\":[{\"DeviceId\":\"a\"}],\"RecommendedSecurityUpdateId\":5065429}\n";

/// The reply for a fault. `first` is the gzip beginning of the requested file.
pub(super) fn fault_reply(fault: Fault, number: u64, first: Option<Bytes>) -> Response<Body> {
    match fault {
        Fault::Status(code) => error(status(code), code_of(code), "The request could not be completed."),
        Fault::Aadsts(_) => error(status(400), code_of(400), "The request could not be completed."),
        Fault::HtmlError(code) => reply(status(code), "text/html", gateway_page(code)),
        Fault::Throttle { retry_after, .. } => {
            let mut busy = error(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "The server is busy.");
            if let Some(value) = retry_after.and_then(|value| value.parse().ok()) {
                busy.headers_mut().insert(header::RETRY_AFTER, value);
            }
            busy
        }
        Fault::Truncated => {
            let complete = first.unwrap_or_else(|| gzip(&rows(number, PIECE_BYTES)));
            broken(CONTENT_TYPE, complete.slice(..complete.len() / 2))
        }
        Fault::NotJson => {
            reply(StatusCode::OK, CONTENT_TYPE, gzip(b"The service is being updated.\nPlease try again.\n"))
        }
        Fault::WrongShape => reply(StatusCode::OK, CONTENT_TYPE, gzip(WRONG_SHAPES)),
        Fault::SlowDrip => dripping(CONTENT_TYPE, gzip_beginning(&rows(number, 5_000)), EMPTY_BLOCK),
        Fault::HugeBody => huge_gzip(CONTENT_TYPE, &rows(number, PIECE_BYTES)),
        Fault::Unavailable(retry_after) => {
            let mut busy = error(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "The server is busy.");
            if let Ok(value) = retry_after.parse() {
                busy.headers_mut().insert(header::RETRY_AFTER, value);
            }
            busy
        }
        Fault::CompressedBomb => huge_gzip(CONTENT_TYPE, &vec![b' '; PIECE_BYTES]),
        Fault::Redirect(url) => {
            let mut redirect = reply(StatusCode::FOUND, "text/html", "");
            if let Ok(url) = url.parse() {
                redirect.headers_mut().insert(header::LOCATION, url);
            }
            redirect
        }
        Fault::Unauthorized => {
            error(StatusCode::UNAUTHORIZED, "NoAuthenticationInformation", "Server failed to authenticate.")
        }
        Fault::Forbidden(_) => error(
            StatusCode::FORBIDDEN,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        ),
        Fault::NotFound => blob_not_found(),
        Fault::Body(bytes) => reply(StatusCode::OK, CONTENT_TYPE, bytes),
        Fault::EndlessPaging
        | Fault::EndlessEmptyPages
        | Fault::RepeatedLink
        | Fault::ForeignNextLink(_)
        | Fault::Hang
        | Fault::Reset
        | Fault::Delay(_)
        | Fault::BrokenName(_)
        | Fault::Shrunken
        | Fault::OlderRevision
        | Fault::Padded
        | Fault::RefusedToOthers => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "The server encountered an internal error. Please retry the request.",
        ),
    }
}

/// Ordinary rows of invented machines, at least `bytes` bytes.
fn rows(number: u64, bytes: usize) -> Vec<u8> {
    let mut rows = Vec::new();
    for index in 0.. {
        if rows.len() >= bytes {
            break;
        }
        let id = machine_id(99, number * 10_000 + index);
        let kb = 4_000_000 + index % 10;
        let row = json!({
            "Id": format!("{id}_microsoft_windows_10_10.0.19045.1_CVE-2020-{kb}_"),
            "DeviceId": id,
            "DeviceName": format!("made-up-{index}.corp.example"),
            "OSPlatform": "Windows10",
            "SoftwareVendor": "microsoft",
            "SoftwareName": "windows_10",
            "CveId": format!("CVE-2020-{kb}"),
            "VulnerabilitySeverityLevel": "Low",
            "RecommendedSecurityUpdate": "March 2020 Security Updates",
            "RecommendedSecurityUpdateId": kb.to_string(),
            "FirstSeenTimestamp": "2020-03-10 17:30:00",
        });
        rows.extend_from_slice(row.to_string().as_bytes());
        rows.push(b'\n');
    }
    rows
}

pub(super) fn blob_not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
}

/// An error as Azure Blob writes it.
pub(super) fn error(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    error_with_detail(status, code, message, "")
}

/// An error with `detail` after its message.
pub(super) fn error_with_detail(
    status: StatusCode,
    code: &'static str,
    message: &str,
    detail: &str,
) -> Response<Body> {
    let request = guid(u64::from(status.as_u16()), 7);
    // The service begins its XML with a byte order mark.
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}\n\
         RequestId:{request}\nTime:2025-01-11T11:35:13.1234567Z</Message>{detail}</Error>"
    );
    let mut response = reply(status, "application/xml", body);
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
    response
}

fn code_of(code: u16) -> &'static str {
    match code {
        400 => "InvalidQueryParameterValue",
        401 => "NoAuthenticationInformation",
        403 => "AuthenticationFailed",
        404 => "BlobNotFound",
        409 => "PublicAccessNotPermitted",
        503 => "ServerBusy",
        _ => "InternalError",
    }
}
