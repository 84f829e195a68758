//! `POST /-/reload`: requests a reload and waits for its outcome.
//!
//! The request is sent to the daemon through a channel, and the outcome is returned the same way.

use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::WebState;

/// A request for a reload. The daemon answers it after the reload: with the changes or the problems, as text.
pub type ReloadRequest = oneshot::Sender<Result<String, String>>;

/// Answers 200 if the configuration file was applied, 400 if it was rejected, 403 without
/// `--web.enable-lifecycle`.
pub(super) async fn reload(State(state): State<WebState>) -> (StatusCode, String) {
    let Some(ask) = state.reload else {
        let text = "reload is disabled; enable it with the flag --web.enable-lifecycle\n";
        return (StatusCode::FORBIDDEN, text.to_owned());
    };
    let (request, answer) = oneshot::channel();
    // Sending fails only while the exporter stops; then the request is not answered either.
    drop(ask.send(request).await);
    match answer.await {
        Ok(Ok(done)) => (StatusCode::OK, done),
        Ok(Err(problems)) => (StatusCode::BAD_REQUEST, problems),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
}
