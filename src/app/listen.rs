//! Where the web server listens: at the addresses of the command line, or on what systemd passed.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::cli::Flags;
use crate::error::AppError;

/// What to listen on, before anything is bound.
pub(super) enum Sockets {
    /// Addresses as `host:port`, `[v6]:port` or `:port`.
    Addresses(Vec<String>),
    /// What systemd passed.
    Passed(ListenFd),
}

/// A socket that is listened on.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    /// What the flags say. To be called before there is a second thread: that systemd passed sockets is taken
    /// out of the environment.
    pub(super) fn of(flags: &Flags) -> Self {
        if flags.systemd_socket {
            Self::Passed(ListenFd::from_env())
        } else {
            Self::Addresses(flags.listen_addresses.clone())
        }
    }

    /// Listens on all of them.
    ///
    /// # Errors
    /// When one of them cannot be listened on, or systemd passed none.
    pub(super) async fn listen(self) -> Result<Vec<Listener>, AppError> {
        let addresses = match self {
            Self::Addresses(addresses) => addresses,
            Self::Passed(passed) => return take(passed),
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
    /// Its address, as a person writes it.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| String::new(), |at| at.to_string()),
            Self::Unix(listener) => {
                let at = listener.local_addr().ok();
                let path = at.as_ref().and_then(tokio::net::unix::SocketAddr::as_pathname);
                path.map_or_else(|| "a socket without a name".to_owned(), |path| path.display().to_string())
            }
        }
    }
}

/// `:port` is every address of both families, or of IPv4 where there is no IPv6. A name is every address that
/// it has, as far as it is one of this machine.
async fn bind(address: &str) -> io::Result<Vec<TcpListener>> {
    if let Some(port) = address.strip_prefix(':') {
        return match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if !is_of_a_missing_address(&error) => Err(error),
            Err(_) => Ok(vec![TcpListener::bind(format!("0.0.0.0:{port}")).await?]),
            Ok(bound) => Ok(vec![bound]),
        };
    }
    let (mut bound, mut missing) =
        (Vec::new(), io::Error::new(ErrorKind::NotFound, "the name has no address"));
    let resolved: BTreeSet<_> = tokio::net::lookup_host(address).await?.collect();
    for address in resolved {
        match TcpListener::bind(address).await {
            Ok(listener) => bound.push(listener),
            Err(error) if is_of_a_missing_address(&error) => missing = error,
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() { Err(missing) } else { Ok(bound) }
}

/// Whether nobody could listen there, as at an IPv6 address where there is no IPv6.
fn is_of_a_missing_address(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

fn take(mut passed: ListenFd) -> Result<Vec<Listener>, AppError> {
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let taken = take_one(&mut passed, index);
        let refused =
            |source| AppError::Listen { address: format!("socket {} of systemd", index + 1), source };
        listeners.extend(taken.map_err(refused)?);
    }
    if listeners.is_empty() {
        let source = io::Error::new(ErrorKind::NotFound, "none was passed; it takes a socket unit");
        return Err(AppError::Listen { address: "a socket of systemd".to_owned(), source });
    }
    Ok(listeners)
}

fn take_one(passed: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    // One of another kind stays where it is.
    if let Ok(Some(listener)) = passed.take_unix_listener(index) {
        listener.set_nonblocking(true)?;
        return UnixListener::from_std(listener).map(|listener| Some(Listener::Unix(listener)));
    }
    let Some(listener) = passed.take_tcp_listener(index)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(|listener| Some(Listener::Tcp(listener)))
}
