//! What a page is built from.

use std::sync::Arc;

use jiff::Timestamp;

use super::query::PageQuery;
use crate::publish::Snapshot;

/// What a page is built from.
pub(super) struct PageContext {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) query: PageQuery,
    pub(super) now: Timestamp,
    pub(super) version: &'static str,
    /// The start of every link to another page.
    pub(super) links: String,
    /// The path of the page without its first slash.
    pub(super) path: String,
    pub(super) metrics_path: String,
}

impl PageContext {
    /// The link to the page `path`, which has no slash at its start, with a query.
    pub(super) fn link(&self, path: &str, query: &PageQuery) -> String {
        format!("{}{path}{}", self.links, query.suffix(&self.snapshot))
    }

    /// The link to this page with another query.
    pub(super) fn link_to_self(&self, query: &PageQuery) -> String {
        self.link(&self.path, query)
    }

    /// The link to the machines that match a query.
    pub(super) fn machines(&self, change: impl FnOnce(&mut PageQuery)) -> String {
        self.link("machines", &self.query.kept().with(change))
    }

    /// The link to the missing updates that match a query.
    pub(super) fn updates(&self, change: impl FnOnce(&mut PageQuery)) -> String {
        self.link("updates", &self.query.kept().with(change))
    }

    /// The name of the policy in effect; none without policies.
    pub(super) fn policy_name(&self) -> Option<&str> {
        self.snapshot.policies.get(self.query.policy).map(|policy| &*policy.name)
    }
}
