//! `check` as a person sees it: the whole output for everything that can go wrong.
//!
//! Each group of cases is one golden file, so that a file reads like the chapter of a manual. What is
//! different on each run (ports) and on each system (words of the resolver) is filtered.

mod api;
mod credentials;
mod network;
mod run;
