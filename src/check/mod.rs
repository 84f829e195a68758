//! `check`: tries everything that a tenant's configuration needs, once, and says what to do about what
//! does not work.
//!
//! It is what a person runs when nothing works, or before anything does. So it asks through the very
//! client of the poller, where a thing that works here works there too; it retries nothing, gives every
//! call a short time, and goes on as far as that makes sense: a step that another one stands in the way
//! of is skipped and says so. It changes nothing, neither at the API nor in the state.
//!
//! [`examine`] makes the [`CheckSection`] of one tenant, step by step; [`cloud`] judges hosts, [`mod@storage`] the
//! folder of the state; [`messages`] is the one place for what is said, beside the errors of
//! [`defender`](crate::defender), which say what to do by themselves; [`report`] prints.

mod cloud;
mod messages;
mod report;
mod storage;
mod tenant_check;

pub use report::{CheckReport, CheckSection, StepOutcome};
pub use storage::storage;
pub use tenant_check::examine;
