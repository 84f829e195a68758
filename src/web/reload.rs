//! `POST /-/reload`: asks for a reload and waits for what comes of it.
//!
//! What a reload is, this module does not know: the request goes out through a channel, and its answer
//! comes back.

use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::WebState;

/// A reload that somebody asks for. To be answered when it is over: with what it did, or with the problems
/// that it met, as text.
pub type ReloadRequest = oneshot::Sender<Result<String, String>>;

/// 200 when the configuration file was applied, 400 when it could not be, 403 when nobody may ask.
pub(super) async fn reload(State(state): State<WebState>) -> (StatusCode, String) {
    let Some(ask) = state.reload else {
        let text = "not allowed; the flag --web.enable-lifecycle allows it\n";
        return (StatusCode::FORBIDDEN, text.to_owned());
    };
    let (request, answer) = oneshot::channel();
    // Nobody takes it any more when the exporter stops; then nobody answers it either.
    drop(ask.send(request).await);
    match answer.await {
        Ok(Ok(done)) => (StatusCode::OK, done),
        Ok(Err(problems)) => (StatusCode::BAD_REQUEST, problems),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
}
