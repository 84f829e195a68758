//! Signals that an operator sends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::AppError;

/// The signals that end the exporter, caught from the moment this is made.
#[derive(Debug)]
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    /// # Errors
    /// When the system does not let signals be caught.
    pub(super) fn catch() -> Result<Self, AppError> {
        let catch =
            |kind| signal(kind).map_err(|source| AppError::System { operation: "catch signals", source });
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; the signal's name. SIGHUP must not end a daemon: it is answered
    /// with a log line.
    pub(super) async fn wait(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP is ignored: a changed configuration needs a restart");
                }
            }
        }
    }
}
