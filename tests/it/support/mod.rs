//! Tools of the tests.

pub(crate) mod any_fleets;
pub(crate) mod api;
pub(crate) mod binary;
pub(crate) mod canaries;
pub(crate) mod certificates;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod export_server;
pub(crate) mod exposition;
pub(crate) mod facts_host;
pub(crate) mod facts_updater;
pub(crate) mod fleets;
pub(crate) mod golden;
pub(crate) mod log;
pub(crate) mod pages;
pub(crate) mod paused_time;
pub(crate) mod poller;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod running_poller;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod tenant;
