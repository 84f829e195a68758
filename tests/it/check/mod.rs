//! The whole output of `check` for each problem that it diagnoses.
//!
//! Each group of cases is one golden file, so that a file reads like the chapter of a manual. Parts that
//! differ between runs (ports) and systems (errors of the resolver) are replaced.

mod api;
mod credentials;
mod judgement;
mod network;
mod run;
