//! `GET /metrics`: the published exposition and the self metrics of this moment.
//!
//! Always 200, from the first moment. The fleet's part is ready bytes, so a scrape copies and does not
//! render.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::WebState;
use super::encoding::Encoding;
use crate::metrics::TEXT_CONTENT_TYPE;

pub(super) async fn metrics(State(state): State<WebState>, headers: HeaderMap) -> Response {
    // The guard must not live over the copying: the publisher would wait for it.
    let published = state.published.borrow().clone();
    let self_metrics = state.selfmon.encode();
    let described = [(header::CONTENT_TYPE, TEXT_CONTENT_TYPE), (header::VARY, "accept-encoding")];
    match Encoding::wanted(&headers) {
        Encoding::Identity => (described, published.body.plain(&self_metrics)).into_response(),
        Encoding::Gzip => {
            let encoded = [(header::CONTENT_ENCODING, "gzip")];
            (described, encoded, published.body.gzip(&self_metrics)).into_response()
        }
    }
}
