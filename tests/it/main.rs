//! Behaviour of the whole exporter, over real HTTP and with the real binary.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod api;
mod architecture;
mod binary;
mod binary_commands;
mod binary_demo;
mod binary_serving;
mod binary_stop;
mod client;
mod client_faults;
mod client_links;
mod client_throttle;
mod config;
mod exposition;
mod metrics_golden;
mod readme;
mod poll;
mod poll_failures;
mod policy;
mod store;
mod tenant;
mod token;
mod token_routes;
