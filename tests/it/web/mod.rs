//! The web server: TLS, passwords, its configuration file, downloads, and slow clients.

mod access;
mod client_certificates;
mod downloads;
mod file;
mod links;
mod secrets;
mod slow_clients;
mod slow_downloads;
mod tls;
mod updates;
