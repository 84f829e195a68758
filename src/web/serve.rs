//! From a listener to the router: connections, and how long a client may hold one.
//!
//! A client that is slow, silent or gone must not keep a scrape from its answer. So every connection has its
//! limits in time and there are never more than [`Limits::connections`] of them: one more takes the place of
//! the one that has been quiet longest (`connections`). Nobody waits to be accepted. Where files run out
//! before, the same one gives its file back.
//!
//! Whether there is TLS below HTTP says the [`WebSecurity`](super::WebSecurity) in force when a connection is made. The
//! handshake is off the accept path and within the limit for the head of the first request, so that one that
//! hangs is a silent client like any other. In it the client chooses HTTP/2 or HTTP/1; in the clear there is
//! HTTP/1 alone.

mod connections;
#[cfg(test)]
mod tests;
mod watched;

use std::convert::Infallible;
use std::io;
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
use watched::{WatchedBody, WatchedStream};

/// Most bytes of a request's line and headers together; more is answered with 431. A bearer token of a
/// kilobyte or two has its place, and there is nothing else that is long.
const MOST_HEAD_BYTES: u16 = 16 * 1024;

/// How often connections are looked at: limits are kept to this precision.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure to accept, which the next attempt would only repeat.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Failures to accept are logged so often at most.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Where connections come from.
pub trait Listen: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the client is gone already, or files or memory are short.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // Costs a little latency when it fails, nothing else.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok(stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok(stream)
    }
}

/// Serves a router. Clones share their limits: those of one exporter listen at its addresses.
#[derive(Clone, Debug)]
pub struct Server {
    router: Router,
    access: WebSecurityReader,
    http1: http1::Builder,
    connections: Arc<Connections>,
}

impl Server {
    /// A server of `router`, with TLS when `access` says so.
    #[must_use]
    pub fn new(router: Router, access: WebSecurityReader, limits: Limits) -> Self {
        let mut http1 = http1::Builder::new();
        // The limits in time are ours: they cost no timer for each request.
        http1.header_read_timeout(None).max_header_size(MOST_HEAD_BYTES.into());
        let connections = Arc::new(Connections::new(limits));
        Self { router, access, http1, connections }
    }

    /// Answers on `listener` until `stop`, then finishes the replies that were begun. How long that may take
    /// is the caller's to limit: dropping the future ends all connections.
    pub async fn serve(self, listener: impl Listen, stop: CancellationToken) {
        let mut answering = JoinSet::new();
        let mut look = interval(SWEEP_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = None;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                stream = self.accept(&listener, &mut warned) => {
                    let connection = self.connections.add();
                    answering.spawn(self.clone().answer(stream, connection, stop.clone()));
                }
                Some(_) = answering.join_next() => {}
                _ = look.tick(), if !answering.is_empty() => self.connections.close_overdue(),
            }
        }
        drop(listener);
        self.connections.close_unasked();
        while !answering.is_empty() {
            tokio::select! {
                _ = answering.join_next() => {}
                _ = look.tick() => self.connections.close_overdue(),
            }
        }
    }

    /// The next connection, whatever comes before it.
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
            // There are no more files, most likely, and a connection less is a file more.
            self.connections.close_quietest();
            if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                tracing::warn!(%error, "cannot accept a connection");
                *warned = Some(Instant::now());
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Answers the requests of a connection until it ends, or has to.
    async fn answer<S>(self, stream: S, connection: Arc<Connection>, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        tokio::select! {
            biased;
            () = self.speak(stream, &connection, &stop) => {}
            () = connection.has_to_go() => {}
        }
        self.connections.remove(&connection);
    }

    async fn speak<S>(&self, stream: S, connection: &Arc<Connection>, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let tls = self.access.borrow().tls.clone();
        let Some(tls) = tls else {
            return self.speak_http1(stream, connection, stop).await;
        };
        let stream = match TlsAcceptor::from(tls).accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
            self.speak_http2(stream, connection, stop).await;
        } else {
            self.speak_http1(stream, connection, stop).await;
        }
    }

    async fn speak_http1<S>(&self, stream: S, connection: &Arc<Connection>, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(WatchedStream::new(stream, Arc::clone(connection)));
        let service = service_fn(|request| self.reply(request, connection));
        drive(self.http1.serve_connection(stream, service), stop).await;
    }

    async fn speak_http2<S>(&self, stream: S, connection: &Arc<Connection>, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection.speaks_http2();
        let mut http2 = http2::Builder::new(Streams::default());
        http2.max_header_list_size(MOST_HEAD_BYTES.into());
        let stream = TokioIo::new(WatchedStream::new(stream, Arc::clone(connection)));
        let service = service_fn(|request| self.reply(request, connection));
        drive(http2.serve_connection(stream, service), stop).await;
    }

    /// The router's reply; the connection has it in hand until it is complete.
    fn reply(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Result<Response<WatchedBody>, Infallible>> + Send + use<> {
        let in_hand = connection.asked();
        let reply = TowerToHyperService::new(self.router.clone()).call(request);
        async move { Ok(reply.await?.map(|body| WatchedBody::new(body, in_hand))) }
    }
}

/// The requests of an HTTP/2 connection; they end with it.
#[derive(Clone, Debug, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

/// Drives a connection to its end, which `stop` brings nearer: after the reply under way.
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
        tracing::debug!(%error, "a connection failed");
    }
}
