//! Signals that an operator sends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::AppError;

/// The signals that mean something, caught from the moment this is made.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) stop: Stop,
    pub(super) reload: Reload,
}

impl Signals {
    /// # Errors
    /// When the system does not let signals be caught.
    pub(super) fn catch() -> Result<Self, AppError> {
        let catch =
            |kind| signal(kind).map_err(|source| AppError::System { operation: "catch signals", source });
        Ok(Self {
            stop: Stop {
                terminate: catch(SignalKind::terminate())?,
                interrupt: catch(SignalKind::interrupt())?,
            },
            reload: Reload(catch(SignalKind::hangup())?),
        })
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Waits for one of them; its name.
    pub(super) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP.
#[derive(Debug)]
pub(super) struct Reload(Signal);

impl Reload {
    /// Waits for it. Several that come before it is asked for are one.
    pub(super) async fn wait(&mut self) {
        // None would mean that no more can come, which does not happen before the process ends.
        let _: Option<()> = self.0.recv().await;
    }
}
