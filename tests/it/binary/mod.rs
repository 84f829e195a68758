//! The real binary: commands, daemon, signals, reload, restarts, systemd and secrets.

mod client_certificate;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod exceptions;
mod listen;
mod log;
mod reload;
mod restart;
mod secrets;
mod servicing;
mod servicing_rules;
mod serving;
mod shard;
mod shared_application;
mod stop;
mod systemd;
mod users;
