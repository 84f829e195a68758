//! The simulator's https listener, with a certificate authority made for this run.
//!
//! Handshakes happen off the accept path and have a time limit, so a silent client holds up nobody. A
//! connection can be [`Cut`], which is how the simulator answers with a reset.

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

/// A certificate authority's certificate, and what a server needs to be trusted by it.
pub(super) struct Identity {
    /// The authority's certificate, PEM.
    pub(super) ca_pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// Makes an authority and a certificate for `127.0.0.1` and `localhost`.
    ///
    /// They are valid at any time, because the simulator's clock need not be the client's.
    pub(super) fn generate() -> io::Result<Self> {
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Simulated Defender throw-away CA");
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

/// Connections whose handshake is done.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
    /// Accepts and shakes hands; ends with the listener.
    _acceptor: JoinSet<()>,
}

impl TlsListener {
    pub(super) async fn bind(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
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
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // A reply in two writes would else wait for the client's delayed acknowledgement.
                    stream.set_nodelay(true).ok();
                    handshakes.spawn(shake_hands(acceptor.clone(), stream, peer, ready.clone()));
                }
                Err(_) => tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    // A client that gives up or does not trust the authority is its own affair.
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        let connection = Connection { stream, cut: Cut::default() };
        ready.send((connection, peer)).await.ok();
    }
}

impl Listener for TlsListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Cuts the connection it belongs to: nothing more is written, and the peer sees a reset.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Cut {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.io().cut.clone()
    }
}

/// A TLS stream that can be cut.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    cut: Cut,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if !self.cut.0.load(Ordering::Acquire) {
            return Ok(());
        }
        self.stream.get_ref().0.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
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
