//! Prometheus exporter for the missing security updates (KBs) that Microsoft Defender for Endpoint
//! knows of.
//!
//! Data flows one way, one folder per stage:
//!
//! ```text
//! Defender API --> defender --> poll --> fleet --> publish: persist --> render --> swap --> web
//!                                                           |          |
//!                                                         store     metrics
//! ```
//!
//! - [`model`] holds the types that every module may use: ids, label values, policies, freshness. A leaf.
//! - [`config`] reads the YAML file into types that cannot hold an invalid value.
//! - [`defender`] is the API client: tokens, paging, retries, quota, tolerant decoding.
//! - [`fleet`] holds what is known of the machines, in our words. Pure.
//! - [`poll`] asks what is due and applies the answers, one task per tenant.
//! - [`metrics`] renders fleets to an exposition.
//! - [`exposition`] writes the exposition formats, for fleet metrics and self metrics. A leaf.
//! - [`store`] keeps what is known on disk, so that a restart forgets nothing.
//! - [`publish`] persists fleets, renders them, and swaps the one snapshot that readers see.
//! - [`web`] serves the newest snapshot; a request never causes an API call.
//! - [`file_watch`] tells when files on disk change; a leaf.
//! - [`check`] is the online diagnosis: it tries what the configuration needs once and gives advice on
//!   failures.
//! - [`self_metrics`] counts events of the exporter itself and holds the live status of each tenant.
//! - [`daemon`] builds, runs, reloads and stops every part.
//! - [`app`] holds the commands, one file each.
//!
//! The simulated Defender API of the demo and the tests is a crate of its own, `crates/simulator`. Only the
//! command `demo` uses it, behind the feature `demo`.
//!
//! `tests/it/architecture.rs` holds who may use whom.

pub mod app;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
mod daemon;
pub mod defender;
pub mod error;
pub mod exposition;
pub mod file_watch;
pub mod fleet;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod publish;
pub mod self_metrics;
pub mod store;
pub mod web;
