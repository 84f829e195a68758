//! Replies as bytes: JSON, the API's error envelope, and gzip for clients that accept it.

use std::io::Write;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::random::guid;

/// Minimum size of a compressed body.
const SMALLEST_COMPRESSED_BYTES: usize = 1 << 10;

/// Sets the `Date` header to the simulated time. The server would send the system's time.
pub(super) fn dated(mut response: Response<Body>, now: Timestamp) -> Response<Body> {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = date.parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// A reply of any kind.
pub(super) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A reply with a JSON body and the API's content type.
pub(super) fn json_reply(status: StatusCode, body: &Value) -> Response<Body> {
    json_text(status, body.to_string())
}

/// A reply with this text as its JSON body.
pub(super) fn json_text(status: StatusCode, body: String) -> Response<Body> {
    reply(status, "application/json; odata.metadata=minimal; odata.streaming=true", body)
}

/// The API's error envelope: `code`, `message`, and a correlation id as `target`.
pub(super) fn envelope(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let target = guid(message.len() as u64, u64::from(status.as_u16()));
    // A target is not always a GUID.
    let target = if status == StatusCode::NOT_FOUND { format!("|{target}.") } else { target };
    json_reply(status, &json!({"error": {"code": code, "message": message, "target": target}}))
}

/// Returns whether the client accepts gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|encoding| encoding.trim() == "gzip")
}

/// Compresses the reply with gzip if the client accepts it and the body is large enough.
pub(super) async fn compressed_for(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    if !accepts_gzip(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Bodies made by this module are complete and in memory.
    let plain = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if plain.len() < SMALLEST_COMPRESSED_BYTES {
        return Response::from_parts(parts, plain.into());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(&plain).and_then(|()| encoder.finish()) {
        Ok(compressed) => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, compressed.into())
        }
        Err(_) => Response::from_parts(parts, plain.into()),
    }
}
