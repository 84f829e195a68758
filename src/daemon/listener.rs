//! The sockets of the web server: bound to the addresses of the command line, or passed by systemd.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::cli::Flags;
use crate::error::AppError;

/// The sockets to listen on, before anything is bound.
pub(crate) enum Sockets {
    /// Addresses as `host:port`, `[v6]:port` or `:port`.
    Addresses(Vec<String>),
    /// Sockets passed by systemd.
    Passed(ListenFd),
}

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    /// The sockets that the flags select. Call this before a second thread starts: it removes the variables of
    /// systemd's socket activation from the environment.
    pub(crate) fn new(flags: &Flags) -> Self {
        if flags.systemd_socket {
            Self::Passed(ListenFd::from_env())
        } else {
            Self::Addresses(flags.listen_addresses.clone())
        }
    }

    /// Listens on all sockets.
    ///
    /// # Errors
    /// Fails if an address cannot be bound, or systemd passed no socket.
    pub(crate) async fn listen(self) -> Result<Vec<Listener>, AppError> {
        let addresses = match self {
            Self::Addresses(addresses) => addresses,
            Self::Passed(passed) => return take_passed(passed),
        };
        let mut listeners = Vec::new();
        for address in addresses {
            match bind(&address).await {
                Ok(bound) => listeners.extend(bound.into_iter().map(Listener::Tcp)),
                Err(source) => return Err(AppError::Listen { address, source }),
            }
        }
        Ok(listeners)
    }
}

impl Listener {
    /// The address for a reader: `ip:port` or a path.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(tokio::net::unix::SocketAddr::as_pathname);
                path.map_or_else(|| "unnamed socket".to_owned(), |path| path.display().to_string())
            }
        }
    }
}

/// Binds an address. `:port` means all addresses of IPv6 and IPv4, or of IPv4 alone on a host without IPv6. A
/// host name means each of its addresses that belongs to this host.
async fn bind(address: &str) -> io::Result<Vec<TcpListener>> {
    if let Some(port) = address.strip_prefix(':') {
        return match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if !is_missing_address(&error) => Err(error),
            Err(_) => Ok(vec![TcpListener::bind(format!("0.0.0.0:{port}")).await?]),
            Ok(listener) => Ok(vec![listener]),
        };
    }
    let mut bound = Vec::new();
    let mut missing = io::Error::new(ErrorKind::NotFound, "the name has no address");
    let resolved: BTreeSet<_> = tokio::net::lookup_host(address).await?.collect();
    for address in resolved {
        match TcpListener::bind(address).await {
            Ok(listener) => bound.push(listener),
            Err(error) if is_missing_address(&error) => missing = error,
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() { Err(missing) } else { Ok(bound) }
}

/// Returns whether the host lacks the address, such as an IPv6 address on a host without IPv6.
fn is_missing_address(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

fn take_passed(mut passed: ListenFd) -> Result<Vec<Listener>, AppError> {
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let listener = take_socket(&mut passed, index).map_err(|source| AppError::Listen {
            address: format!("socket {} of systemd", index + 1),
            source,
        })?;
        listeners.extend(listener);
    }
    if listeners.is_empty() {
        let source = io::Error::new(ErrorKind::NotFound, "systemd passed none; a socket unit is needed");
        return Err(AppError::Listen { address: "a socket of systemd".to_owned(), source });
    }
    Ok(listeners)
}

fn take_socket(passed: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    // A socket of another type stays in place.
    if let Ok(Some(listener)) = passed.take_unix_listener(index) {
        listener.set_nonblocking(true)?;
        return UnixListener::from_std(listener).map(|listener| Some(Listener::Unix(listener)));
    }
    let Some(listener) = passed.take_tcp_listener(index)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(|listener| Some(Listener::Tcp(listener)))
}
