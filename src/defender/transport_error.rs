//! Why a request had no whole reply, in words that a person can act on.
//!
//! The client's own errors say where in its machinery something went wrong; what a person needs is the
//! innermost cause and what to look at. Nothing here holds a URL: one may be a secret.

use std::error::Error;
use std::io::{self, ErrorKind};

use tokio_rustls::rustls::{CertificateError, Error as TlsError};

/// No connection, or it broke. Prints the innermost cause and, in brackets, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} [{}]", .cause.advice())]
pub struct TransportError {
    cause: Cause,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// No address belongs to the name.
    Name,
    Refused,
    Unreachable,
    /// The certificate is signed by an authority that is not known here.
    UnknownIssuer,
    WrongName,
    /// The certificate is not valid at this time.
    OutOfDate,
    OtherCertificate,
    /// The other side does not speak TLS.
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
            Self::Unreachable => "there is no way to the network; check routes, or set http.proxy_url",
            Self::UnknownIssuer => {
                "something in between may open TLS connections: put the certificate of its authority into \
                 http.ca_file"
            }
            Self::WrongName => {
                "the certificate is another host's; check the URL and DNS, and what is in between"
            }
            Self::OutOfDate => {
                "the certificate of the other side is not valid now; is the clock of this machine right?"
            }
            Self::OtherCertificate => "the certificate of the other side cannot be trusted",
            Self::NotTls => "the other side does not speak TLS; check the URL and its port, and the proxy",
            Self::ProxyUnreachable => {
                "the proxy cannot be reached; check http.proxy_url, or HTTPS_PROXY and NO_PROXY"
            }
            Self::ProxyLogin => "the proxy wants a user and password; put them into http.proxy_url",
            Self::ProxyRefused => "the proxy refuses to connect to this host; it has to be allowed there",
            Self::Broken => "the connection broke off; check what is in between, as proxies and firewalls",
        }
    }
}

impl TransportError {
    /// What `error`, which is no timeout, comes down to.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let chain = chain(&error);
        let innermost = chain.last().map(ToString::to_string).unwrap_or_default();
        // The words for an end that came too early are an address of a manual for programmers.
        let ended = io_kinds(&chain).any(|kind| kind == ErrorKind::UnexpectedEof);
        let detail = if ended { "the connection was closed too early".to_owned() } else { innermost };
        Self { cause: cause(&chain), detail }
    }

    /// Whether asking again cannot help, unless a person does something.
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

/// The error and everything below it.
fn chain(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut found = Vec::new();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        found.push(error);
        // What an I/O error wraps is not its source, but itself in other words.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    found
}

fn cause(chain: &[&(dyn Error + 'static)]) -> Cause {
    // Types of these two are private to the client, so their words have to do.
    let says = |text: &str| chain.iter().any(|error| error.to_string() == text);
    if says("tunnel error: proxy authorization required") {
        return Cause::ProxyLogin;
    }
    if says("tunnel error: unsuccessful") {
        return Cause::ProxyRefused;
    }
    if says("tunnel error: failed to create underlying connection") {
        return Cause::ProxyUnreachable;
    }
    if says("dns error") {
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
