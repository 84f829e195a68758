//! Binds the addresses of the command line, before anything is started.

use tokio::net::TcpListener;

use crate::error::AppError;

/// Listens on every address, given as `host:port`, `[v6]:port` or `:port`.
///
/// # Errors
/// When one of them cannot be bound.
pub(super) async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, AppError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = bind_one(address).await;
        listeners.push(bound.map_err(|source| AppError::Listen { address: address.clone(), source })?);
    }
    Ok(listeners)
}

/// `:port` is every address of both families, or of IPv4 where there is no IPv6.
async fn bind_one(address: &str) -> std::io::Result<TcpListener> {
    match address.strip_prefix(':') {
        None => TcpListener::bind(address).await,
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
    }
}
