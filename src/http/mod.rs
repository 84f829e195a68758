//! HTTP clients with the connection settings of the configuration.
//!
//! Guarantees: TLS is rustls only. The certificates of `ca_file` are trusted in addition to the system's, and
//! are sufficient where the system has none. No redirect is followed, so that no credential is sent to a host
//! that is not configured. Every request has a time limit, except downloads, whose reader sets one.
//!
//! This module does not retry and contains nothing specific to the API or Entra.

mod body;
mod proxy_variable;
mod transport_error;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::config::{Auth, Http};
use crate::file_kind::unexpected_kind;
use crate::text::without_byte_order_mark;
use proxy_variable::quoted_proxy;

pub use body::{BodyReader, BodySender, body};
pub use transport_error::TransportError;

/// The time limit for a connection attempt, independent of the time limit for a reply.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The use of a proxy by requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Requests use `proxy_url` if it is set, else `HTTPS_PROXY` and `NO_PROXY`.
    Configured,
    /// Requests never use a proxy. For endpoints on the local machine, which a proxy cannot reach.
    Direct,
}

impl ProxyMode {
    /// The mode of token requests. The endpoint of a managed identity is on the local machine.
    #[must_use]
    pub fn of_tokens(auth: &Auth) -> Self {
        match auth {
            Auth::ManagedIdentity { .. } => Self::Direct,
            Auth::ClientSecret(_) | Auth::ClientCertificate(_) | Auth::WorkloadIdentity { .. } => {
                Self::Configured
            }
        }
    }
}

/// The reason that an HTTP client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The `ca_file` cannot be opened or read.
    #[error("cannot read the CA file `{}`", .path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The `ca_file` has no certificate in PEM form.
    #[error("the CA file `{}` holds no certificate in PEM form", .path.display())]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The `ca_file` has an invalid certificate.
    #[error("the CA file `{}` holds a broken certificate", .path.display())]
    CaBroken {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The `ca_file` is of another kind than PEM.
    #[error("the CA file `{}` {kind}", .path.display())]
    CaOtherKind {
        /// The file.
        path: PathBuf,
        /// The kind, and how the file becomes usable.
        kind: &'static str,
    },
    /// Neither the system nor a `ca_file` has a CA certificate.
    #[error(
        "this system has no CA certificate, so no https server can be trusted [install the package ca-certificates, \
         or set http.ca_file]"
    )]
    NoCaCertificate,
    /// The HTTP library rejects the settings, for example the URL of the proxy.
    #[error("cannot set up https connections")]
    Settings {
        /// The error of the HTTP library.
        source: reqwest::Error,
    },
}

/// Creates a client with the settings of `http`.
///
/// # Errors
///
/// Returns an error if `ca_file` is unreadable or contains something other than certificates, or if neither
/// the system nor `ca_file` has a CA certificate.
pub fn client(http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    build(Client::builder().timeout(http.timeout), http, route)
}

/// Creates a client like [`client`] for files of any size. The total time of a request is not limited, so the
/// reader must detect a stalled download. Bodies are not decompressed.
///
/// # Errors
///
/// As [`client`].
pub fn download_client(http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    build(Client::builder().no_gzip(), http, route)
}

fn build(builder: ClientBuilder, http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    let settings = |source: reqwest::Error| {
        if is_without_ca(&source) { HttpError::NoCaCertificate } else { HttpError::Settings { source } }
    };
    let mut builder = builder
        .user_agent(concat!("mde_exporter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(http.timeout.min(CONNECT_TIMEOUT))
        .redirect(redirect::Policy::none());
    if let Some(path) = &http.ca_file {
        builder = builder.tls_certs_merge(certificates(path)?);
    }
    match (route, &http.proxy_url) {
        (ProxyMode::Direct, _) => builder = builder.no_proxy(),
        (ProxyMode::Configured, Some(url)) => {
            builder = builder.proxy(Proxy::all(url.clone()).map_err(settings)?);
        }
        (ProxyMode::Configured, None) => {
            if let Some(proxy) = quoted_proxy() {
                builder = builder.proxy(proxy);
            }
        }
    }
    builder.build().map_err(settings)
}

/// Returns whether the error is that of a system without CA certificates. Its type is private to a dependency of
/// the HTTP library.
fn is_without_ca(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("No CA certificates were loaded") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads the certificates of a PEM file. Each is validated here, because the error of the HTTP library would
/// not name the file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, HttpError> {
    let broken =
        |source: Box<dyn Error + Send + Sync>| HttpError::CaBroken { path: path.to_path_buf(), source };
    let pem =
        std::fs::read(path).map_err(|source| HttpError::CaUnreadable { path: path.to_path_buf(), source })?;
    let pem = without_byte_order_mark(&pem);
    let other_kind = |error| match unexpected_kind(pem) {
        Some(kind) => HttpError::CaOtherKind { path: path.to_path_buf(), kind },
        None => error,
    };
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|error| other_kind(broken(Box::new(error))))?;
        RootCertStore::empty().add(der.clone()).map_err(|error| broken(Box::new(error)))?;
        certificates.push(Certificate::from_der(&der).map_err(|error| broken(Box::new(error)))?);
    }
    if certificates.is_empty() {
        return Err(other_kind(HttpError::CaEmpty { path: path.to_path_buf() }));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_ca(path: &Path) -> Result<Client, HttpError> {
        let http = Http { timeout: Duration::from_secs(5), ca_file: Some(path.into()), proxy_url: None };
        client(&http, ProxyMode::Configured)
    }

    fn with_ca_text(text: &str) -> Result<Client, HttpError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        with_ca(file.path())
    }

    #[test]
    fn unusable_ca_file_is_named() {
        let missing = Path::new("no/such/ca.pem");
        assert_eq!(with_ca(missing).unwrap_err().to_string(), "cannot read the CA file `no/such/ca.pem`");
        let no_certificate = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(matches!(with_ca_text(""), Err(HttpError::CaEmpty { .. })));
        assert!(matches!(with_ca_text(&no_certificate), Err(HttpError::CaEmpty { .. })));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(with_ca_text(garbage), Err(HttpError::CaBroken { .. })));
        assert!(matches!(with_ca_text(&garbage.replace("AAAA", "%%")), Err(HttpError::CaBroken { .. })));
    }

    #[test]
    fn ca_file_of_another_kind_is_named() {
        let identity = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap();
        let trusted = identity.cert.pem().replace(" CERTIFICATE", " TRUSTED CERTIFICATE");
        let utf_16: Vec<u8> = identity.cert.pem().encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (content, kind) in [
            (identity.cert.der().to_vec(), "DER"),
            (trusted.into_bytes(), "TRUSTED CERTIFICATE"),
            (utf_16, "UTF-16"),
            (b"\x30\x82\x0a\x00\x02\x01\x03\x30".to_vec(), "PFX"),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&content).unwrap();
            let error = with_ca(file.path()).unwrap_err();
            assert!(matches!(error, HttpError::CaOtherKind { .. }), "{error}");
            assert!(error.to_string().contains(kind), "{error}");
        }
    }

    #[test]
    fn ca_file_may_begin_with_a_byte_order_mark_and_hold_any_text() {
        let pem = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap().cert.pem();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[b"\xef\xbb\xbf", pem.as_bytes(), b"M\xfcnchen\n", pem.as_bytes()].concat()).unwrap();
        assert!(with_ca(file.path()).is_ok());
    }

    #[test]
    fn ca_file_may_hold_several_certificates() {
        let one = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap().cert.pem();
        let two = rcgen::generate_simple_self_signed(vec!["two.example".into()]).unwrap().cert.pem();
        assert!(with_ca_text(&format!("{one}{two}")).is_ok());
    }
}
