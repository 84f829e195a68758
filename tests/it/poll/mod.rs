//! The poller against the simulator: scope, schedule, quota, clock, export, failures and log.

mod clock;
mod export;
mod failures;
mod list_changes;
mod log_of_a_day;
mod machines;
mod quota;
mod servicing;
mod supersedence;
mod tags;
mod unreadable;
mod unsupported;
mod up;
