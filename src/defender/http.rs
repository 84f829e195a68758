//! The HTTP client of a tenant: one set of connection settings for tokens and API alike.
//!
//! It promises: rustls only; certificates of `ca_file` are trusted in addition to the system's, and
//! suffice where the system has none; no redirect is followed, so that no credential goes to a host
//! that was not configured; every request has a time limit, but for downloads, whose reader sets one.
//!
//! It does not retry and knows neither the API nor Entra.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::config::{Auth, Http};

/// A host that does not answer is given up after so long, however long a slow reply may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which way requests take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Through `proxy_url` when there is one, else as `HTTPS_PROXY` and `NO_PROXY` say.
    Configured,
    /// Never through a proxy: for endpoints of this very machine, which a proxy cannot reach.
    Direct,
}

impl ProxyMode {
    /// The way that token requests take: the endpoint of a managed identity is on the machine.
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

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The `ca_file` cannot be opened or read.
    #[error("cannot read the CA file `{}`", .path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The `ca_file` has no certificate in PEM form.
    #[error("the CA file `{}` holds no certificate in PEM form", .path.display())]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The `ca_file` has a certificate that is none.
    #[error("the CA file `{}` holds a broken certificate", .path.display())]
    CaBroken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client refuses its settings: the proxy's URL, or no CA certificate anywhere.
    #[error("cannot set up https connections")]
    Settings {
        /// What is wrong with them.
        source: reqwest::Error,
    },
}

/// A client with the settings of `http`.
///
/// # Errors
///
/// When `ca_file` cannot be read or holds something else than certificates, and when there is no CA
/// certificate at all, neither in the system nor in `ca_file`.
pub fn client(http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    build(Client::builder().timeout(http.timeout), http, route)
}

/// As [`client`], for files of any size: the time of a whole request is not limited, so whoever reads
/// one has to notice that it stalls. Bodies come as they are, packed or not.
///
/// # Errors
///
/// As [`client`].
pub fn download_client(http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    build(Client::builder().no_gzip(), http, route)
}

fn build(builder: ClientBuilder, http: &Http, route: ProxyMode) -> Result<Client, HttpError> {
    let settings = |source| HttpError::Settings { source };
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
        (ProxyMode::Configured, None) => {}
    }
    builder.build().map_err(settings)
}

/// The certificates of a PEM file. Each is tried here, since the client's own error would not name
/// the file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, HttpError> {
    let broken =
        |source: Box<dyn Error + Send + Sync>| HttpError::CaBroken { path: path.to_path_buf(), source };
    let pem =
        std::fs::read(path).map_err(|source| HttpError::CaUnreadable { path: path.to_path_buf(), source })?;
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| broken(Box::new(error)))?;
        RootCertStore::empty().add(der.clone()).map_err(|error| broken(Box::new(error)))?;
        certificates.push(Certificate::from_der(&der).map_err(|error| broken(Box::new(error)))?);
    }
    if certificates.is_empty() {
        return Err(HttpError::CaEmpty { path: path.to_path_buf() });
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
    fn ca_file_may_hold_several_certificates() {
        let one = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap().cert.pem();
        let two = rcgen::generate_simple_self_signed(vec!["two.example".into()]).unwrap().cert.pem();
        assert!(with_ca_text(&format!("{one}{two}")).is_ok());
    }
}
