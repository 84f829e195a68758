//! Behaviour of the whole exporter, over real HTTP and with the real binary.
//!
//! Each folder or file holds the tests of one behaviour:
//!
//! - `architecture`: the imports between the modules of each crate
//! - `binary`: the real binary: commands, daemon, signals, reload, restarts, systemd and secrets
//! - `check`: the output of `check` for each problem that it diagnoses
//! - `client`: the client of the API: tokens, machine lists, missing KBs, the export, throttling and faults
//! - `config`: the configuration file and its error messages
//! - `docs`: the statements of the README and the pages of `docs/`
//! - `facts`: the facts stage: sources, facts file, updater and command
//! - `metrics`: the exposition: golden text, formats, policies and the series limit
//! - `packaging`: the systemd units and the Debian package
//! - `poll`: the poller: scope, schedule, quota, export, failures and log
//! - `report`: reports for auditors: rows, formats and the command
//! - `rules`: alert rules, their tests and their runbooks
//! - `store`: the state file: round trips, damaged files and files of earlier releases
//! - `vocabulary`: unique type names and retired words
//! - `web`: the web server: TLS, passwords, its configuration file and slow clients
//!
//! `support` holds the tools that these tests share.

#![expect(clippy::unwrap_used, reason = "tools of the tests may panic")]
#![expect(clippy::cast_precision_loss, reason = "counts and times of tests are far below 2^52")]
#![expect(clippy::float_cmp, reason = "the values compared are counts, or times that were written equally")]

mod architecture;
mod binary;
mod check;
mod client;
mod config;
mod docs;
mod facts;
mod metrics;
mod packaging;
mod poll;
mod report;
mod rules;
mod store;
mod support;
mod vocabulary;
mod web;
