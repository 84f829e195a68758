//! An entry of the call log, from the arrival of a call to its answer.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use tokio::time::Instant;

use super::calls::Call;
use super::endpoint::Endpoint;
use super::replies::accepts_gzip;
use super::state::SimulatorState;

/// A logged call without an answer yet. If it is dropped without [`end`](Self::end), its status stays none.
pub(super) struct OpenCall {
    state: Arc<SimulatorState>,
    endpoint: Endpoint,
    number: u64,
    status: Option<u16>,
}

impl OpenCall {
    pub(super) fn begin(
        state: &Arc<SimulatorState>,
        endpoint: Endpoint,
        machine_id: Option<String>,
        parts: &Parts,
    ) -> Self {
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let number = state.calls().begin(Call {
            endpoint,
            path_and_query: path_and_query(&parts.uri).to_owned(),
            machine_id,
            authorization: authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into()),
            accepts_gzip: accepts_gzip(&parts.headers),
            at: Instant::now(),
            status: None,
        });
        Self { state: state.clone(), endpoint, number, status: None }
    }

    pub(super) fn end(mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.state.calls().end(self.number, self.endpoint, self.status);
    }
}

pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |both| both.as_str())
}
