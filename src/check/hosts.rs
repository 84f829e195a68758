//! Texts of `check` about hosts, proxies and client certificates.

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::messages::{NO_IDENTITY, count, secret_advice};
use super::report::StepOutcome;
use crate::config::{Auth, Http, Tenant};
use crate::defender::token::SecretError;
use crate::defender::{CertificateValidity, ConnectionError, HostConnection, HostPurpose};
use crate::error::Chain;

/// Environment variables of the proxy, in order of precedence.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The remaining validity of a client certificate below which it is time for a new one.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(super) fn connected(hosts: &[HostConnection], http: &Http) -> String {
    let mut names: Vec<_> = hosts.iter().map(|connection| connection.host.as_str()).collect();
    names.dedup();
    format!("to {}, {}", names.join(" and "), route(http))
}

pub(super) fn not_connected(connection: &HostConnection, error: &ConnectionError, tenant: &Tenant) -> String {
    let host = &connection.host;
    let is_identity = matches!(tenant.auth, Auth::ManagedIdentity { .. });
    if connection.purpose == HostPurpose::Tokens && is_identity {
        return format!("`{host}` cannot be reached: {} [{NO_IDENTITY}]", error.detail());
    }
    let route = route(&tenant.http);
    if error.concerns_proxy() {
        format!("`{host}` cannot be reached {route}: {error}")
    } else {
        format!("`{host}` cannot be reached, {route}: {error}")
    }
}

/// Returns the outcome and the message for a client certificate that is valid within `validity`.
pub(super) fn certificate(validity: CertificateValidity, now: Timestamp) -> (StepOutcome, String) {
    let CertificateValidity { not_before, not_after } = validity;
    let (until, left) = (not_after.strftime("%Y-%m-%d"), not_after.duration_since(now));
    let renew = "create a new one, upload it under Certificates & secrets of the application, and put it with its key \
                 into client_certificate_file";
    if left < SignedDuration::ZERO {
        return (StepOutcome::Failed, format!("expired on {until} [{renew}]"));
    }
    if not_before > now {
        let from = not_before.strftime("%Y-%m-%d %H:%M");
        let text = format!("not valid before {from} UTC [check the clock of this machine]");
        return (StepOutcome::Failed, text);
    }
    let text = format!("valid until {until}");
    if left <= EXPIRES_SOON {
        let left = count(usize::try_from(left.as_hours() / 24).unwrap_or_default(), "day");
        return (StepOutcome::Warning, format!("{text}, for {left} [{renew}]"));
    }
    (StepOutcome::Ok, text)
}

pub(super) fn no_certificate(error: &SecretError) -> String {
    format!("{} [{}]", Chain(error), secret_advice(error))
}

fn host_and_port(host: Option<&str>, port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", host.unwrap_or_default())
}

/// Describes the proxy. Never contains its user and password, so never the value of a variable.
fn route(http: &Http) -> String {
    if let Some(proxy) = &http.proxy_url {
        let host = host_and_port(proxy.host_str(), proxy.port_or_known_default());
        return format!("through the proxy {}://{host}", proxy.scheme());
    }
    let is_set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match PROXY_VARIABLES.iter().find(is_set) {
        Some(variable) => {
            let proxy = environment_proxy(variable).map(|host| format!("{host} ")).unwrap_or_default();
            format!("through the proxy {proxy}of {variable}, except for NO_PROXY")
        }
        None => "without a proxy".to_owned(),
    }
}

/// Returns host and port of the proxy in a variable, and nothing else of it.
fn environment_proxy(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok()?;
    let plain = value.trim().trim_matches(['"', '\'']);
    let url = if plain.contains("://") { Url::parse(plain) } else { Url::parse(&format!("http://{plain}")) };
    let url = url.ok()?;
    Some(host_and_port(Some(url.host_str()?), url.port_or_known_default()))
}
