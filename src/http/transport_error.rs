//! Errors of requests without a complete reply, with advice for the operator.
//!
//! The errors of the HTTP library name its internal layers. An operator needs the innermost cause and a place
//! to look at. Nothing here holds a URL, which may be a secret.

use std::error::Error;
use std::io::{self, ErrorKind};

use tokio_rustls::rustls::{CertificateError, Error as TlsError};

/// A failed or interrupted connection. Displays the innermost cause and, in brackets, advice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} [{}]", .cause.advice())]
pub struct TransportError {
    cause: Cause,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The host name has no address.
    Name,
    Refused,
    Unreachable,
    /// The certificate is signed by an authority that is not trusted.
    UnknownIssuer,
    WrongName,
    /// The certificate has expired or is not valid yet.
    OutOfDate,
    OtherCertificate,
    /// The server does not speak TLS.
    NotTls,
    ProxyUnreachable,
    ProxyLogin,
    ProxyRefused,
    Broken,
}

impl Cause {
    fn advice(self) -> &'static str {
        match self {
            Self::Name => "the name of the host has no address here; check DNS, or set http.proxy_url",
            Self::Refused => {
                "nothing listens there, or a firewall refuses; check the URL, or set http.proxy_url"
            }
            Self::Unreachable => "the network is unreachable; check routes, or set http.proxy_url",
            Self::UnknownIssuer => {
                "a proxy may intercept TLS connections: add the certificate of its authority to http.ca_file"
            }
            Self::WrongName => "the certificate belongs to another host; check the URL, DNS and proxies",
            Self::OutOfDate => {
                "the certificate of the server is not valid now; check the clock of this machine"
            }
            Self::OtherCertificate => "the certificate of the server is not trusted",
            Self::NotTls => "the server does not speak TLS; check the URL, its port and the proxy",
            Self::ProxyUnreachable => {
                "the proxy cannot be reached; check http.proxy_url, or HTTPS_PROXY and NO_PROXY"
            }
            Self::ProxyLogin => "the proxy requires a user and password; add them to http.proxy_url",
            Self::ProxyRefused => "the proxy refuses to connect to this host; allow the host there",
            Self::Broken => "the connection was interrupted; check proxies and firewalls",
        }
    }
}

impl TransportError {
    /// Classifies `error`, which must not be a timeout.
    #[must_use]
    pub fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let chain = chain(&error);
        let innermost = chain.last().map(ToString::to_string).unwrap_or_default();
        // The library's text for an unexpected end of file is a link to developer documentation.
        let ended = io_kinds(&chain).any(|kind| kind == ErrorKind::UnexpectedEof);
        let detail = if ended { "the connection was closed too early".to_owned() } else { innermost };
        Self { cause: cause(&chain), detail }
    }

    /// The innermost cause, without the advice.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns whether the proxy is the cause, and not the host behind it.
    #[must_use]
    pub fn concerns_proxy(&self) -> bool {
        matches!(self.cause, Cause::ProxyUnreachable | Cause::ProxyLogin)
    }

    /// Returns whether a retry cannot succeed without a change by an operator.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(
            self.cause,
            Cause::UnknownIssuer
                | Cause::WrongName
                | Cause::OutOfDate
                | Cause::OtherCertificate
                | Cause::ProxyLogin
        )
    }
}

/// The error and its sources.
fn chain(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut errors = Vec::new();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        errors.push(error);
        // An I/O error does not return the error that it wraps as its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    errors
}

fn cause(chain: &[&(dyn Error + 'static)]) -> Cause {
    // The types of these errors are private to the HTTP library, so they are recognised by their text.
    let has_text = |text: &str| chain.iter().any(|error| error.to_string() == text);
    if has_text("tunnel error: proxy authorization required") {
        return Cause::ProxyLogin;
    }
    if has_text("tunnel error: unsuccessful") {
        return Cause::ProxyRefused;
    }
    if has_text("tunnel error: failed to create underlying connection") {
        return Cause::ProxyUnreachable;
    }
    if has_text("dns error") {
        return Cause::Name;
    }
    if let Some(tls) = chain.iter().find_map(|error| error.downcast_ref::<TlsError>()) {
        return of_tls(tls);
    }
    io_kinds(chain).find_map(of_kind).unwrap_or(Cause::Broken)
}

fn io_kinds(chain: &[&(dyn Error + 'static)]) -> impl Iterator<Item = ErrorKind> {
    chain.iter().filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

fn of_tls(error: &TlsError) -> Cause {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => Cause::UnknownIssuer,
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Cause::WrongName,
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Cause::OutOfDate,
        TlsError::InvalidCertificate(_) => Cause::OtherCertificate,
        TlsError::InvalidMessage(_) => Cause::NotTls,
        _ => Cause::Broken,
    }
}

fn of_kind(kind: ErrorKind) -> Option<Cause> {
    match kind {
        ErrorKind::ConnectionRefused => Some(Cause::Refused),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            Some(Cause::Unreachable)
        }
        _ => None,
    }
}
