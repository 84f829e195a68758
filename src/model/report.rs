//! Words of reports that the command line accepts.

use std::fmt;

use super::labels::words;

words! {
    /// The format of a report.
    #[derive(Default, clap::ValueEnum)]
    pub enum ReportFormat {
        /// Comma-separated values (RFC 4180) for spreadsheets and scripts
        #[default]
        Csv = "csv",
        /// One JSON object with the metadata and the rows
        Json = "json",
        /// A page to print, with a summary
        Html = "html",
    }
}

words! {
    /// The state in a row of a report: that of a missing update, or of a machine in a row without a KB.
    #[derive(clap::ValueEnum)]
    pub enum ReportState {
        /// A missing update past its deadline
        Overdue = "overdue",
        /// A missing update under an exception
        Accepted = "accepted",
        /// A missing update with a deadline that has not passed
        Due = "due",
        /// A missing update without a deadline
        None = "none",
        /// A machine that cannot be judged, or a missing update under a policy that lacks facts
        Unknown = "unknown",
        /// A machine without a missing update that has a deadline
        Compliant = "compliant",
        /// A machine of which Defender lists no missing updates
        Unsupported = "unsupported",
    }
}
