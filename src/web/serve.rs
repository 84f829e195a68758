//! Serves the router on listeners and limits the connections of clients.
//!
//! A slow, silent or vanished client must not delay the scrapes of others. Therefore every connection has
//! time limits, and there are at most [`Limits::connections`] of them: a further connection replaces the one
//! that has been quiet longest (`connections`). No client waits to be accepted. If file descriptors run out
//! first, the same connection is closed.
//!
//! The [`WebSecurity`](super::WebSecurity) that is current at accept time decides whether a connection uses
//! TLS. The handshake runs outside the accept loop and within the time limit for the head of the first
//! request. With TLS the client selects HTTP/2 or HTTP/1; without TLS there is HTTP/1 only.

mod connections;
mod handshake_log;
#[cfg(test)]
mod tests;
mod watched;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::security::WebSecurityReader;
use super::tls::HTTP2;
pub use connections::Limits;
use connections::{Connection, Connections};
use handshake_log::HandshakeLog;
use watched::{WatchedBody, WatchedStream};

/// The maximum size of the request line and headers together; a larger head is answered with 431. It leaves
/// room for a bearer token of one or two kilobytes.
const MAX_HEAD_BYTES: u16 = 16 * 1024;

/// The interval at which connections are checked, which is the precision of the time limits.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a failure to accept, which an immediate attempt would repeat.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The minimum interval between log lines about failures to accept.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// A source of connections.
pub trait Listen: Send + 'static {
    /// The byte stream of a connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Accepts the next connection. No connection is lost if the future is dropped.
    ///
    /// # Errors
    /// Returns an error if the client has disconnected already, or if file descriptors or memory are exhausted.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Returns the address of the client, if it has one.
    #[must_use]
    fn client(_: &Self::Stream) -> Option<SocketAddr> {
        None
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // A failure costs some latency only.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok(stream)
    }

    fn client(stream: &TcpStream) -> Option<SocketAddr> {
        stream.peer_addr().ok()
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok(stream)
    }
}

/// Serves a router. Clones share their limits; there is one for each listener.
#[derive(Clone, Debug)]
pub struct Server {
    router: Router,
    access: WebSecurityReader,
    http1: http1::Builder,
    connections: Arc<Connections>,
    handshakes: Arc<HandshakeLog>,
}

impl Server {
    /// Creates a server of `router`, with TLS if `access` has it.
    #[must_use]
    pub fn new(router: Router, access: WebSecurityReader, limits: Limits) -> Self {
        let mut http1 = http1::Builder::new();
        // The time limits of `connections` need no timer per request.
        http1.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES.into());
        let connections = Arc::new(Connections::new(limits));
        Self { router, access, http1, connections, handshakes: Arc::default() }
    }

    /// Serves `listener` until `stop`, then finishes the replies in flight. The caller limits the time for
    /// that: dropping the future closes all connections.
    pub async fn serve<L: Listen>(self, listener: L, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = None;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                stream = self.accept(&listener, &mut warned) => {
                    let connection = self.connections.add();
                    let client = L::client(&stream);
                    tasks.spawn(self.clone().handle(stream, client, connection, stop.clone()));
                }
                Some(_) = tasks.join_next() => {}
                _ = sweep.tick(), if !tasks.is_empty() => self.connections.close_overdue(),
            }
        }
        drop(listener);
        self.connections.close_idle();
        while !tasks.is_empty() {
            tokio::select! {
                _ = tasks.join_next() => {}
                _ = sweep.tick() => self.connections.close_overdue(),
            }
        }
    }

    /// Accepts the next connection. Failures are logged and retried.
    async fn accept<L: Listen>(&self, listener: &L, warned: &mut Option<Instant>) -> L::Stream {
        loop {
            let error = match listener.accept().await {
                Ok(stream) => return stream,
                Err(error) => error,
            };
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted
            ) {
                continue;
            }
            // File descriptors are exhausted in most cases, and closing a connection frees one.
            self.connections.close_quietest();
            if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                tracing::warn!(%error, "cannot accept a connection");
                *warned = Some(Instant::now());
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Handles the requests of a connection until it ends or is closed.
    async fn handle<S>(
        self,
        stream: S,
        client: Option<SocketAddr>,
        connection: Arc<Connection>,
        stop: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        tokio::select! {
            biased;
            () = self.serve_stream(stream, client, &connection, &stop) => {}
            () = connection.closed() => {}
        }
        self.connections.remove(&connection);
    }

    async fn serve_stream<S>(
        &self,
        stream: S,
        client: Option<SocketAddr>,
        connection: &Arc<Connection>,
        stop: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let tls = self.access.borrow().tls.clone();
        let Some(tls) = tls else {
            return self.serve_http1(stream, connection, stop).await;
        };
        let stream = match TlsAcceptor::from(tls).accept(stream).await {
            Ok(stream) => stream,
            Err(error) => return self.handshakes.failed(client, &error),
        };
        if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
            self.serve_http2(stream, connection, stop).await;
        } else {
            self.serve_http1(stream, connection, stop).await;
        }
    }

    async fn serve_http1<S>(&self, stream: S, connection: &Arc<Connection>, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(WatchedStream::new(stream, Arc::clone(connection)));
        let service = service_fn(|request| self.reply(request, connection));
        drive(self.http1.serve_connection(stream, service), stop).await;
    }

    async fn serve_http2<S>(&self, stream: S, connection: &Arc<Connection>, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection.set_http2();
        let mut http2 = http2::Builder::new(StreamTasks::default());
        http2.max_header_list_size(MAX_HEAD_BYTES.into());
        let stream = TokioIo::new(WatchedStream::new(stream, Arc::clone(connection)));
        let service = service_fn(|request| self.reply(request, connection));
        drive(http2.serve_connection(stream, service), stop).await;
    }

    /// The reply of the router, which the connection counts as in flight until it is complete.
    fn reply(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Result<Response<WatchedBody>, Infallible>> + Send + use<> {
        let in_flight = connection.request_started();
        let reply = TowerToHyperService::new(self.router.clone()).call(request);
        async move { Ok(reply.await?.map(|body| WatchedBody::new(body, in_flight))) }
    }
}

/// The request tasks of an HTTP/2 connection, which end with it.
#[derive(Clone, Debug, Default)]
struct StreamTasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

/// Drives a connection to its end; after `stop`, to the end of the reply in flight.
async fn drive(connection: impl GracefulConnection<Error = hyper::Error>, stop: &CancellationToken) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
