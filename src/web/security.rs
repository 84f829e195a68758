//! Access control: TLS, authentication, headers and rate limit of the web configuration file.
//!
//! A [`WebSecurity`] is built from one version of the file and replaced as a whole, so that a request never
//! sees a partial change. The value that is current when a connection is accepted decides about TLS; the value
//! that is current when a request is read decides about the request.
//!
//! [`guard`] runs before every page, in this order:
//!
//! 1. It sets the headers of the file on every reply, including refusals and errors; they replace headers of
//!    the page with the same name.
//! 2. The rate limit refuses with 429, before a password is verified.
//! 3. A missing or wrong password is refused with 401.
//! 4. The page is served.
//!
//! `/-/healthy` and `/-/ready` skip steps 2 and 3: many requests must not make a supervisor restart a healthy
//! process, and these pages expose nothing that needs a password.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

use super::auth::BasicAuth;
use super::rate_limit::TokenBucket;
use super::{WebState, path_label, tls};
use crate::config::web::WebConfig;
use crate::model::HttpPath;

/// The receiver of the current [`WebSecurity`].
pub type WebSecurityReader = watch::Receiver<Arc<WebSecurity>>;

/// The access control of the web server. The default has no TLS and admits every request.
#[derive(Debug, Default)]
pub struct WebSecurity {
    /// `None` serves without TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    headers: HeaderMap,
    passwords: Option<BasicAuth>,
    bucket: Option<TokenBucket>,
}

/// The reason that a valid configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum WebSecurityError {
    /// rustls rejects the settings.
    #[error("cannot set up TLS")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The key of the password cache needs random numbers.
    #[error("the system provides no random numbers")]
    Random(#[from] aws_lc_rs::error::Unspecified),
}

impl WebSecurity {
    /// A receiver of the default, which never changes.
    #[must_use]
    pub fn open() -> WebSecurityReader {
        watch::channel(Arc::default()).1
    }

    /// Builds the access control that `config` describes, with an empty password cache and a full token bucket.
    ///
    /// # Errors
    /// A configuration that was loaded without a problem is not known to cause an error.
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

    /// Returns whether connections use TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The refusal of a request with these headers; `None` if it is admitted.
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

/// Admits a request to its page or refuses it.
pub(super) async fn guard(State(state): State<WebState>, request: Request, next: Next) -> Response {
    // The borrow of the channel must be short, because it blocks the sender.
    let access = state.access.borrow().clone();
    let is_open = matches!(
        path_label(request.uri().path(), &state.telemetry_path),
        HttpPath::Healthy | HttpPath::Ready
    );
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
