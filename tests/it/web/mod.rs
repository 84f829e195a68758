//! The web server: TLS, passwords, its configuration file, and slow clients.

mod access;
mod file;
mod secrets;
mod slow_clients;
mod tls;
