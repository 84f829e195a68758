//! The web server: TLS, passwords, its configuration file, and slow clients.

mod access;
mod client_certificates;
mod file;
mod links;
mod secrets;
mod slow_clients;
mod tls;
