//! The state file: round trips, damaged files, and files of earlier releases.

mod bad_files;
mod older_files;
mod restarts;
mod round_trip;
