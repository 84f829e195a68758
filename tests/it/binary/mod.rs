//! The real binary: commands, daemon, signals, reload, restarts, systemd and secrets.

mod commands;
#[cfg(feature = "demo")]
mod demo;
mod listen;
mod reload;
mod restart;
mod secrets;
mod serving;
mod stop;
mod systemd;
mod users;
