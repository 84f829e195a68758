//! The log of failed TLS handshakes. Anyone who reaches the port can cause them, so their number is bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::rustls::{CertificateError, Error, InvalidMessage};

/// The number of lines in each [`PERIOD`].
const LINES: u32 = 5;

const PERIOD: Duration = Duration::from_mins(1);

/// Logs failed handshakes, at most [`LINES`] in each [`PERIOD`].
#[derive(Debug, Default)]
pub(super) struct HandshakeLog(Mutex<Bound>);

#[derive(Debug, Default)]
struct Bound {
    period_start: Option<Instant>,
    lines: u32,
    /// The number of failures without a line since the last line.
    suppressed: u64,
}

impl Bound {
    /// Returns whether the next failure has a line and, if so, the number of failures without one before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.period_start.is_none_or(|start| now >= start + PERIOD) {
            (self.period_start, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl HandshakeLog {
    pub(super) fn failed(&self, client: Option<SocketAddr>, error: &io::Error) {
        let admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        if let Some(suppressed) = admitted {
            let client = client.map(tracing::field::display);
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::info!(client, reason = reason(error), suppressed, "TLS handshake failed");
        }
    }
}

fn reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|source| source.downcast_ref::<Error>());
    match tls {
        Some(Error::NoCertificatesPresented) => "the client sent no certificate".to_owned(),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the client certificate is not in client_ca_file, and no authority of that file issued it"
                .to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "the client certificate has no name of client_allowed_sans".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::Other(problem))) => {
            format!("the client certificate is refused: {problem}")
        }
        Some(Error::InvalidCertificate(problem)) => format!("the client certificate is refused: {problem}"),
        Some(Error::AlertReceived(alert)) => format!("the client ended the handshake: {alert:?}"),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the client does not use TLS; it may request http instead of https".to_owned()
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the client disconnected".to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_above_the_bound_are_counted_in_the_next_line() {
        let mut bound = Bound::default();
        let mut admit = || bound.admit(Instant::now());
        assert_eq!([(); 5].map(|()| admit()), [Some(0); 5]);
        assert_eq!([(); 3].map(|()| admit()), [None; 3]);
        tokio::time::advance(PERIOD).await;
        assert_eq!([(); 2].map(|()| admit()), [Some(3), Some(0)]);
    }
}
