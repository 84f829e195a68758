//! The section `http_server_config`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::reader::ValueReader;

/// The headers that may be set, the sentence about their allowed values, and the values of a closed list.
const HEADERS: [(&str, HeaderName, &str, &[&str]); 5] = [
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, ANY, &[]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, "deny or sameorigin is allowed", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, "nosniff is allowed", &["nosniff"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, ANY, &[]),
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, ANY, &[]),
];

const ANY: &str = "the text of the header is allowed";

/// Returns whether HTTP/2 is offered, and the headers of every response.
pub(super) fn read(field: &ValueReader<'_>) -> Option<(bool, HeaderMap)> {
    let section = field.section()?;
    let http2 = section.optional_or("http2", "true or false is allowed", true, ValueReader::boolean);
    let headers =
        section.optional_or("headers", "a mapping of headers is allowed", HeaderMap::new(), headers);
    section.finish();
    Some((http2?, headers?))
}

fn headers(field: &ValueReader<'_>) -> Option<HeaderMap> {
    let section = field.section()?;
    let mut headers = HeaderMap::new();
    let mut good = true;
    for (key, name, allowed, values) in HEADERS {
        let Some(field) = section.optional(key, allowed) else { continue };
        // The format defines a blank header as not set.
        if field.is_blank() {
            continue;
        }
        let value = field.text(|text| match HeaderValue::from_str(text) {
            Err(_) => Err("holds a control character"),
            Ok(_) if !values.is_empty() && !values.contains(&text) => Err("is not a known value"),
            Ok(value) => Ok(value),
        });
        match value {
            Some(value) => {
                headers.insert(name, value);
            }
            None => good = false,
        }
    }
    section.finish();
    good.then_some(headers)
}
