//! Errors that end the process, and the printer of error chains.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Why a command ended badly. The kind decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The command line or a configuration file is wrong; nothing was started.
    #[error("{0}")]
    Configuration(String),
    /// What was read is no password that can be hashed.
    #[error("this password cannot be hashed: {0}")]
    Password(&'static str),
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// As it was given.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part of the exporter ended though nobody asked it to.
    #[error("{part} ended early")]
    EndedEarly {
        /// The part.
        part: &'static str,
    },
    /// The state cannot be used, because another process does.
    #[error("{0}")]
    Storage(String),
    /// An operation of the system failed.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A poll of `once` failed; the reasons were logged.
    #[error("not every tenant could be polled: {0}")]
    PollFailed(String),
    /// A step of `check` failed; what and why was printed.
    #[error("not everything works: {0}")]
    CheckFailed(String),
}

impl AppError {
    /// 64 for usage and configuration (`EX_USAGE` of BSD's sysexits), 1 for a failure at run time.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Configuration(_) | Self::Password(_)) { 64 } else { 1 })
    }
}

/// Prints an error and its sources in one line.
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
    fn a_chain_prints_every_source_once() {
        let source = std::io::Error::other("permission denied");
        let error = AppError::Listen { address: ":80".to_owned(), source };
        assert_eq!(Chain(&error).to_string(), "cannot listen on `:80`: permission denied");
    }
}
