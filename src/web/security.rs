//! Who is let in, and how: what the web configuration file stands for while the exporter runs.
//!
//! An [`WebSecurity`] is made whole from one reading of the file and swapped as a whole, so that a request
//! never sees half a change. A connection is secured by the one in force when it is made, a request judged
//! by the one in force when it is read.
//!
//! [`guard`] stands before every page. From the outside in:
//!
//! 1. the headers of the file are set on every answer, refusals and errors included; a page's own header
//!    of that name gives way;
//! 2. the rate limit refuses with 429, before a password costs anything;
//! 3. the password is asked for with 401;
//! 4. the page is served.
//!
//! `/-/healthy` and `/-/ready` skip 2 and 3: a flood of requests must not make a supervisor restart what
//! works, and they tell nothing that needs a password.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

use super::auth::BasicAuth;
use super::rate_limit::TokenBucket;
use super::{HEALTHY, READY, WebState, path_label, tls};
use crate::config::web::WebConfig;

/// The access in force.
pub type WebSecurityReader = watch::Receiver<Arc<WebSecurity>>;

/// Who is let in, and how. The default lets everybody in, in the clear.
#[derive(Debug, Default)]
pub struct WebSecurity {
    /// None serves in the clear.
    pub(super) tls: Option<Arc<ServerConfig>>,
    headers: HeaderMap,
    passwords: Option<BasicAuth>,
    bucket: Option<TokenBucket>,
}

/// Why a configuration that is good cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebSecurityError {
    /// rustls refuses the settings.
    #[error("TLS cannot be set up")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// BasicAuth need random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] aws_lc_rs::error::Unspecified),
}

impl WebSecurity {
    /// Everybody is let in, in the clear, for good.
    #[must_use]
    pub fn open() -> WebSecurityReader {
        watch::channel(Arc::default()).1
    }

    /// The access that `config` describes. Nobody is known yet, and the rate limit starts anew.
    ///
    /// # Errors
    /// None that a configuration that was read without a problem is known to cause.
    pub fn new(config: &WebConfig) -> Result<Self, WebSecurityError> {
        let tls = config.tls.as_ref().map(|tls| tls::server_config(tls, config.http2)).transpose()?;
        let has_users = !config.users.is_empty();
        Ok(Self {
            tls,
            headers: config.headers.clone(),
            passwords: has_users.then(|| BasicAuth::new(&config.users)).transpose()?,
            bucket: config.rate_limit.map(TokenBucket::new),
        })
    }

    /// Whether connections are secured.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The refusal of a request with these headers, if it is one.
    async fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        if self.bucket.as_ref().is_some_and(|bucket| !bucket.take()) {
            return Some((StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response());
        }
        let passwords = self.passwords.as_ref()?;
        if passwords.authenticate(headers).await {
            return None;
        }
        let challenge = HeaderValue::from_static("Basic realm=\"mde_exporter\", charset=\"UTF-8\"");
        let challenge = [(header::WWW_AUTHENTICATE, challenge)];
        Some((StatusCode::UNAUTHORIZED, challenge, "unauthorized\n").into_response())
    }
}

/// Lets a request through to its page, or not.
pub(super) async fn guard(State(state): State<WebState>, request: Request, next: Next) -> Response {
    // The guard of the channel must not live longer: whoever swaps would wait for it.
    let access = state.access.borrow().clone();
    let is_open = matches!(path_label(request.uri().path(), &state.telemetry_path), HEALTHY | READY);
    let refusal = if is_open { None } else { access.refusal(request.headers()).await };
    let mut response = match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in &access.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}
