//! What is remembered on disk.

mod bad_files;
mod older_files;
mod restarts;
mod round_trip;
