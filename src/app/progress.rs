//! The progress of a command, for people who wait.

use std::io::{IsTerminal as _, Write as _, stderr};

/// One line on a terminal that is written again and again.
pub(super) struct TerminalLine {
    is_shown: bool,
}

impl TerminalLine {
    /// A line that is shown if stderr is a terminal.
    pub(super) fn new() -> Self {
        Self { is_shown: stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(super) fn write(&self, text: &str) {
        if self.is_shown {
            // Progress that cannot be shown is no failure of the command.
            write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush()).unwrap_or_default();
        }
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        self.write("");
    }
}
