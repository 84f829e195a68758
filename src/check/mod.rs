//! `check`: the online diagnosis, which tries everything that the configuration of a tenant needs and
//! explains how to fix what fails.
//!
//! An operator runs it before the first start or if nothing works. It makes its calls through the client of
//! the poller, so a step that succeeds here also succeeds there. It does not retry, limits the time of
//! every call, and continues as far as possible: a step that depends on a failed one is skipped, with the
//! reason. It changes nothing, neither at the API nor in the state file.
//!
//! [`examine`] makes the [`CheckSection`] of one tenant, step by step. [`cloud`] checks hosts, [`mod@storage`]
//! the folder of the state file, [`mod@facts`] the facts file and its sources,
//! [`servicing`] the servicing of the machines in scope. [`messages`] has all texts except the errors of
//! [`defender`](crate::defender), which include their own advice. [`report`] displays the result.

mod cloud;
mod facts;
mod hosts;
mod judgement;
mod messages;
mod report;
mod servicing;
mod settings;
mod storage;
mod tenant_check;

pub use facts::facts;
pub use report::{CheckReport, CheckSection, StepOutcome};
pub use settings::CheckedSettings;
pub use storage::storage;
pub use tenant_check::examine;
