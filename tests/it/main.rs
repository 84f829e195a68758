//! Behaviour of the whole exporter, over real HTTP and with the real binary.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]
#![expect(clippy::cast_precision_loss, reason = "counts and times of tests are far below 2^52")]
#![expect(clippy::float_cmp, reason = "the values compared are counts, or times that were written alike")]

mod api;
mod architecture;
mod binary;
mod binary_commands;
#[cfg(feature = "demo")]
mod binary_demo;
mod binary_listen;
mod binary_serving;
mod binary_stop;
mod certificates;
mod check;
mod client;
mod client_faults;
mod client_links;
mod client_throttle;
mod config;
mod day;
mod docs;
mod export_client;
mod export_server;
mod exposition;
mod log;
mod memory;
mod metrics_golden;
mod openmetrics;
mod packaging;
mod policy;
mod poll;
mod poll_export;
mod poll_failures;
mod poll_quota;
mod poll_scope;
mod reload;
mod rules;
mod secrets;
mod series_limit;
mod service;
mod slow_clients;
mod store;
mod tenant;
mod token;
mod token_routes;
mod web_access;
mod web_file;
mod web_secrets;
mod web_tls;
