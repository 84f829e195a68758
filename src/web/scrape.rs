//! `GET /metrics`: the published exposition and the current self metrics.
//!
//! The reply is 200 from the start, 503 only above the limit of concurrent scrapes, and 400 only for an unknown detail
//! level. The exposition of the
//! fleet is pre-rendered and sent without a copy: a scrape encodes and compresses only the self metrics.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};

use super::WebState;
use super::negotiation::{wanted_encoding, wanted_format};
use super::scrape_limiter::ScrapePermit;
use crate::metrics::ExpositionBody;
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat};

/// The most characters of an unknown detail level that the answer repeats.
const LONGEST_WORD: usize = 32;

pub(super) async fn metrics(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(permit) = state.scrape_slots.take() else {
        // Another scrape may end within a second.
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many scrapes at once\n").into_response();
    };
    let (format, encoding) = (wanted_format(&headers), wanted_encoding(&headers));
    let level = match wanted_level(query.as_deref().unwrap_or_default()) {
        Ok(level) => level,
        Err(answer) => return (StatusCode::BAD_REQUEST, answer).into_response(),
    };
    let self_metrics = state.self_metrics.encode(format);
    // The borrow must be short, because it blocks the publisher.
    let published = state.published.borrow().clone();
    let answer = published.body.answer(level, format, encoding, self_metrics);
    let mut response = Response::new(Body::new(ResponseBody { answer, permit }));
    let described = response.headers_mut();
    described.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    described.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if encoding == ContentEncoding::Gzip {
        described.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn content_type(format: ExpositionFormat) -> &'static str {
    match format {
        ExpositionFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
        ExpositionFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}

/// The detail level of `?detail=`, the deepest one without it.
///
/// # Errors
/// Fails with the answer to a value that is no level.
fn wanted_level(query: &str) -> Result<DetailLevel, String> {
    let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "detail");
    let Some((_, word)) = named else { return Ok(DetailLevel::Update) };
    DetailLevel::from_word(&word).ok_or_else(|| {
        let word: String = word.chars().take(LONGEST_WORD).collect();
        format!("invalid value {word:?} of the parameter detail; these exist:\nfleet\nmachine\nupdate\n")
    })
}

/// A reply body of known length.
struct ResponseBody {
    answer: ExpositionBody,
    permit: ScrapePermit,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.permit.record_progress();
        Poll::Ready(self.answer.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.answer.remaining())
    }
}
