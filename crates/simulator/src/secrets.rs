//! The identifiers of the simulated tenant, and its secrets.
//!
//! Each secret contains the word "canary", so that a test can search for it in every place where it must not
//! appear.

pub(crate) const TENANT_ID: &str = "7b0c2a4e-5d1f-4c39-9e0a-3f6d1b8c2e55";
pub(crate) const CLIENT_ID: &str = "c1d7f3a0-92be-4f68-8a41-6e05d9b7f213";

pub(crate) const CLIENT_SECRET: &str = "SIMULATED~client-secret.canary_9f3Q";
pub(crate) const IDENTITY_HEADER: &str = "simulated-identity-header-canary";

/// The beginning of the signature of every download link.
pub(crate) const LINK_CANARY: &str = "SIMULATED~link-signature.canary_7kQ2";
