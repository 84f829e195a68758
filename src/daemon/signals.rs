//! The signals that the daemon handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::AppError;

/// The handled signals. They are caught from the creation of this value on.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(super) stop: StopSignals,
    pub(super) reload: ReloadSignal,
}

impl Signals {
    /// Starts to catch the signals.
    ///
    /// # Errors
    /// Fails if the system refuses a signal handler.
    pub(crate) fn catch() -> Result<Self, AppError> {
        let catch =
            |kind| signal(kind).map_err(|source| AppError::System { operation: "catch signals", source });
        Ok(Self {
            stop: StopSignals {
                terminate: catch(SignalKind::terminate())?,
                interrupt: catch(SignalKind::interrupt())?,
            },
            reload: ReloadSignal(catch(SignalKind::hangup())?),
        })
    }
}

impl Signals {
    /// Waits for a signal to stop.
    #[cfg(feature = "demo")]
    pub(crate) async fn stopped(&mut self) {
        self.stop.wait().await;
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Waits for one of the signals and returns its name.
    pub(super) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP.
#[derive(Debug)]
pub(super) struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Waits for the signal. Several signals between two calls count as one.
    pub(super) async fn wait(&mut self) {
        // `None` would mean that no further signal can arrive; that does not happen before the process ends.
        let _: Option<()> = self.0.recv().await;
    }
}
