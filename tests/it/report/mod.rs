//! Reports for auditors.

mod command;
mod formats;
mod golden;
mod rows;
