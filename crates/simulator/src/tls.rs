//! The https listener of the simulator, with a certificate authority created for this run.
//!
//! Handshakes run outside the accept loop and have a time limit, so that a silent client delays nobody. A
//! [`ResetHandle`] resets its connection, for answers that are a reset.

use std::future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// The certificate of an authority, and a server configuration that the authority signed.
pub(super) struct ServerIdentity {
    /// The certificate of the authority, as PEM.
    pub(super) ca_pem: String,
    config: Arc<ServerConfig>,
}

impl ServerIdentity {
    /// Creates an authority and a certificate for `127.0.0.1` and `localhost`.
    ///
    /// They are valid at any time, because the simulator's clock can differ from the client's.
    pub(super) fn generate() -> io::Result<Self> {
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Simulated Defender temporary CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_pem = ca.self_signed(&ca_key).map_err(io::Error::other)?.pem();

        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &Issuer::new(ca, ca_key)))
            .map_err(io::Error::other)?;

        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .map_err(io::Error::other)?;
        Ok(Self { ca_pem, config: Arc::new(config) })
    }
}

/// A listener that returns connections after their handshake.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(TlsConnection, SocketAddr)>,
    address: SocketAddr,
    /// Accepts connections and performs handshakes; ends with the listener.
    _acceptor: JoinSet<()>,
}

impl TlsListener {
    pub(super) async fn bind(address: SocketAddr, identity: &ServerIdentity) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(16);
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, TlsAcceptor::from(identity.config.clone()), sender));
        Ok(Self { ready, address, _acceptor: acceptor })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsConnection, SocketAddr)>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Otherwise a reply in two writes would wait for the client's delayed acknowledgement.
                    stream.set_nodelay(true).ok();
                    handshakes.spawn(handshake(acceptor.clone(), stream, peer, ready.clone()));
                }
                Err(_) => tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    ready: mpsc::Sender<(TlsConnection, SocketAddr)>,
) {
    // A client that gives up or does not trust the authority is ignored.
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        let connection = TlsConnection { stream, reset: ResetHandle::default() };
        ready.send((connection, peer)).await.ok();
    }
}

impl Listener for TlsListener {
    type Io = TlsConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsConnection, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Resets the connection that it belongs to: nothing more is written, and the peer sees a reset.
#[derive(Debug, Clone, Default)]
pub(super) struct ResetHandle(Arc<AtomicBool>);

impl ResetHandle {
    pub(super) fn trigger(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for ResetHandle {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.io().reset.clone()
    }
}

/// A TLS stream that can be reset.
pub(super) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    reset: ResetHandle,
}

impl TlsConnection {
    fn check(&self) -> io::Result<()> {
        if !self.reset.0.load(Ordering::Acquire) {
            return Ok(());
        }
        self.stream.get_ref().0.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
