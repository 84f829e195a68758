//! The state file: round trips, damaged files, and files of earlier releases.

mod bad_files;
mod burn_down;
mod import;
mod older_files;
mod reader;
mod restarts;
mod round_trip;
