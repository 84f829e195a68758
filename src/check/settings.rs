//! The settings on which the checks of every tenant depend.

use std::sync::Arc;

use crate::config::Poll;
use crate::facts::Facts;
use crate::model::{Policy, ServicingSettings};

/// What the checks of all tenants have in common.
#[derive(Clone, Debug)]
pub struct CheckedSettings {
    /// Poll interval and freshness.
    pub poll: Poll,
    /// The policies.
    pub policies: Vec<Policy>,
    /// The settings about servicing.
    pub servicing: ServicingSettings,
    /// The facts of the facts file; the default without one.
    pub facts: Arc<Facts>,
    /// True if the configuration has one tenant, so that a rule that selects none of its machines selects nothing.
    pub is_single_tenant: bool,
}
