//! The client of the API: tokens, machine lists, missing KBs, the export, links, throttling and faults.

mod export;
mod faults;
mod links;
mod paging;
mod replies;
mod roles;
mod throttle;
mod token;
mod token_routes;
