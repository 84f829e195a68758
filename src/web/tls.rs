//! The rustls configuration for the TLS section of the web configuration.
//!
//! Each [`ServerConfig`] is built from one version of the files and has its own session storage: a client
//! cannot resume a session that was established under other rules.

mod client;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{Error, ServerConfig};

use crate::config::web::Tls;
use client::ClientVerifier;

/// The ALPN name of HTTP/2 (RFC 7301).
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Builds the rustls configuration.
///
/// # Errors
/// Returns an error if rustls rejects the settings, which the loading of the configuration prevents.
pub(super) fn server_config(tls: &Tls, http2: bool) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: tls.cipher_suites.clone(),
        kx_groups: tls.groups.clone(),
        ..aws_lc_rs::default_provider()
    });
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&tls.versions)?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(auth, &provider)?)),
    };
    let certificate = SingleCertAndKey::from(Arc::clone(&tls.certificate));
    let mut config = builder.with_cert_resolver(Arc::new(certificate));
    let protocols = if http2 { &[HTTP2, HTTP1][..] } else { &[HTTP1] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}
