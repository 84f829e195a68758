//! The facts stage: sources, facts file, updater and command.

mod command;
mod daemon;
mod file;
mod golden;
mod hosts;
mod servicing;
mod sources;
