//! Prometheus exporter for missing security updates (KBs), as Microsoft Defender for Endpoint reports them.
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
//! - [`facts`] holds what public catalogues say about KBs.
//! - [`fleet`] holds the machines of a tenant with their missing updates. Pure.
//! - [`poll`] fetches due machines and applies the replies, one task per tenant.
//! - [`metrics`] renders fleets to an exposition.
//! - [`exposition`] writes the exposition formats, for fleet metrics and self metrics. A leaf.
//! - [`store`] keeps the fleets on disk, so that a restart loses nothing.
//! - [`publish`] persists fleets, renders them, and swaps the one snapshot that readers see.
//! - [`web`] serves the newest snapshot; a request never causes an API call.
//! - [`http`] makes HTTP clients with the connection settings of the configuration.
//! - [`file_kind`] names files that are mistaken for text or PEM. A leaf.
//! - [`group_access`] gives the group of a folder access to a file in it. A leaf.
//! - [`file_watch`] detects changes of files on disk. A leaf.
//! - [`report`] writes reports for auditors, a row for each missing update.
//! - [`text`] prepares text from outside: byte order marks, invisible characters. A leaf.
//! - [`check`] is the online diagnosis: it calls each required endpoint once and gives advice on failures.
//! - [`self_metrics`] counts events of the exporter itself and holds the live status of each tenant.
//! - [`daemon`] builds, runs, reloads and stops every part.
//! - [`app`] holds the commands, one file each.
//!
//! The simulated Defender API of the demo and the tests is a crate of its own, `crates/simulator`. Only the
//! command `demo` uses it, behind the feature `demo`.
//!
//! `tests/it/architecture.rs` defines the allowed imports, and `docs/design.md` describes the design.

pub mod app;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
mod daemon;
pub mod defender;
pub mod error;
pub mod exposition;
pub mod facts;
pub mod file_kind;
pub mod file_watch;
pub mod fleet;
pub mod group_access;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod publish;
pub mod report;
pub mod self_metrics;
pub mod store;
pub mod text;
pub mod web;
