//! Errors that end the process, and the display of error chains.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The error of a failed command. The variant decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The command line or a configuration file is invalid; nothing was started.
    #[error("{0}")]
    Configuration(String),
    /// The input is not a password that can be hashed.
    #[error("this password cannot be hashed: {0}")]
    Password(&'static str),
    /// The exporter cannot listen on an address.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address as it was given.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A task of the exporter exited without being asked to stop.
    #[error("task `{task}` exited unexpectedly")]
    TaskExited {
        /// The task.
        task: &'static str,
    },
    /// The state file is locked by another process.
    #[error("{0}")]
    Storage(String),
    /// A report cannot be made from the state on disk.
    #[error("no report: {0}")]
    Report(String),
    /// An operation of the system failed.
    #[error("cannot {operation}")]
    System {
        /// The operation that failed.
        operation: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A poll of `once` failed; the reasons were logged.
    #[error("not every tenant could be polled: {0}")]
    PollFailed(String),
    /// A source of `facts update` failed; the reasons were logged.
    #[error("not every source of facts could be read: {0}")]
    FactsFailed(String),
    /// A step of `check` failed; the report was printed.
    #[error("check failed for: {0}")]
    CheckFailed(String),
}

impl AppError {
    /// Returns 64 for usage and configuration (`EX_USAGE` of BSD's sysexits) and 1 for a failure at run time.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Configuration(_) | Self::Password(_)) { 64 } else { 1 })
    }
}

/// Displays an error and its sources on one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_displays_every_source_once() {
        let source = std::io::Error::other("permission denied");
        let error = AppError::Listen { address: ":80".to_owned(), source };
        assert_eq!(Chain(&error).to_string(), "cannot listen on `:80`: permission denied");
    }
}
