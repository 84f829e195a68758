//! What is said, beside the errors that say it themselves: first what was found, then, in brackets, what to
//! do.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Auth, Cloud, Http, Tenant};
use crate::defender::token::SecretError;
use crate::defender::{ApiError, TokenClaims, TokenError};
use crate::error::Chain;

/// Reasons to skip a step.
pub(super) const NO_CONNECTION: &str = "no connection can be made";
pub(super) const NO_TOKEN: &str = "there is no token";
pub(super) const NO_LIST: &str = "there is no list of machines";
pub(super) const NO_EXPORT_LIST: &str = "there is no list of files";
pub(super) const NOBODY_TO_ASK: &str = "no machine is in scope to ask for";
pub(super) const NO_TIME: &str = "no reply told the time";
pub(super) const OPAQUE_TOKEN: &str = "the token cannot be read; the calls below show what it is good for";

/// Proxy variables that count, in the order in which they do.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A number of things.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn seconds(duration: Duration) -> impl Display {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

pub(super) fn storage_is_fine(folder: &Path, exists: bool) -> String {
    let folder = folder.display();
    if exists {
        format!("`{folder}` can be written")
    } else {
        format!("`{folder}` is not there yet and can be made")
    }
}

pub(super) fn storage_is_not(folder: &Path, error: &io::Error) -> String {
    format!(
        "`{}` cannot be written: {error} [--storage.path must name a folder of the user that runs the exporter, \
         with room on its disk; without it every restart forgets what was known]",
        folder.display()
    )
}

pub(super) fn wrong_cloud(key: &str, host: &str, clouds: &[Cloud], configured: Cloud) -> String {
    let clouds: Vec<_> = clouds.iter().map(|cloud| cloud.as_str()).collect();
    format!(
        "{key} (`{host}`) belongs to {}, but cloud is {} [set cloud, and drop authority_url, api_url and scope]",
        clouds.join(" and "),
        configured.as_str()
    )
}

pub(super) fn scope_of_another_api(cloud: Cloud) -> String {
    format!(
        "scope is that of another API (Microsoft Threat Protection), whose tokens have none of the roles needed \
         here [drop scope, or set it to {}]",
        cloud.scope()
    )
}

pub(super) fn connection(tenant: &Tenant) -> String {
    let api = host_and_port(tenant.api_url.host_str(), tenant.api_url.port());
    let hosts = if let Auth::ManagedIdentity { .. } = tenant.auth {
        format!("{api}, and the identity endpoint of this machine")
    } else {
        let authority = host_and_port(tenant.authority_url.host_str(), tenant.authority_url.port());
        format!("{authority} and {api}")
    };
    format!("to {hosts}, {}", way(&tenant.http))
}

fn host_and_port(host: Option<&str>, port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", host.unwrap_or_default())
}

/// Never the user and password of a proxy, and so never the variable's value.
fn way(http: &Http) -> String {
    if let Some(proxy) = &http.proxy_url {
        let host = host_and_port(proxy.host_str(), proxy.port_or_known_default());
        return format!("through the proxy {}://{host}", proxy.scheme());
    }
    let is_set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match PROXY_VARIABLES.iter().find(is_set) {
        Some(variable) => format!("as {variable} and NO_PROXY say"),
        None => "through no proxy".to_owned(),
    }
}

pub(super) fn token(left: Duration) -> String {
    // In steps, since the time of the reply itself does not matter.
    let minutes = (left.as_secs() + 30) / 60;
    format!("good for {minutes}m")
}

pub(super) fn no_token(error: &TokenError, auth: &Auth) -> String {
    let advice = match error {
        TokenError::SecretUnreadable { source, .. } => match source {
            SecretError::Unreadable { .. } => {
                "look at auth; the user that runs the exporter must be able to read it"
            }
            SecretError::Empty { .. } => "put the secret into it",
            SecretError::NotSet { .. } => "set it in the environment of the exporter, or name a file in auth",
            SecretError::Certificate { .. } => "one PEM file must hold the certificate and its RSA key",
        },
        TokenError::Unusable { .. } => "look at tenant_id, client_id and authority_url",
        TokenError::Refused(refusal) => match (&refusal.code, refusal.hint) {
            (Some(code), None) => {
                let number = code.trim_start_matches("AADSTS");
                return format!(
                    "{error} [https://login.microsoftonline.com/error?code={number} explains the code]"
                );
            }
            _ => return error.to_string(),
        },
        TokenError::BadReply { .. } => {
            "something else may have answered: look at authority_url and the proxy"
        }
        TokenError::Network { .. } | TokenError::Timeout { .. } => {
            // They say it themselves, for hosts that are far away.
            let Auth::ManagedIdentity { .. } = auth else { return Chain(error).to_string() };
            "a managed identity is to be had in Azure only: does this machine run there, with one assigned?"
        }
    };
    format!("{} [{advice}]", Chain(error))
}

/// `so_what` is what comes of it, if that is not obvious.
pub(super) fn roles_are_missing(
    missing: &[&str],
    claims: &TokenClaims,
    auth: &Auth,
    so_what: &str,
) -> String {
    let what = if claims.roles.is_empty() {
        format!(
            "the token for `{}` has no application role at all; missing are {}",
            claims.audience,
            missing.join(", ")
        )
    } else {
        format!("the token lacks {}", missing.join(", "))
    };
    format!("{what}{so_what} [{}]", granting(auth))
}

fn granting(auth: &Auth) -> &'static str {
    match auth {
        Auth::ManagedIdentity { .. } => {
            "assign it to the service principal of the identity as an application role of WindowsDefenderATP; \
             PowerShell does it: New-MgServicePrincipalAppRoleAssignment"
        }
        _ => {
            "Entra admin center > App registrations > the application > API permissions > Add a permission > APIs \
             my organization uses > WindowsDefenderATP > Application permissions (not delegated ones), and then \
             Grant admin consent"
        }
    }
}

pub(super) fn role_is_missing(role: &str) -> String {
    format!("the role {role} is missing")
}

/// What comes of a machine list that is forbidden, where the exporter can do without.
pub(super) const NAMES_ARE_MISSING: &str = ", so that machines have no name and no platform";

pub(super) fn after(step: &str) -> String {
    format!("it would fail as the {step} did")
}

pub(super) fn api(error: &ApiError, auth: &Auth) -> String {
    let advice = match error {
        ApiError::Token(error) => return no_token(error, auth),
        ApiError::Forbidden { detail, .. } if !detail.message.contains("roles") => {
            "the tenant may not have this part of Defender for Endpoint, or it is switched off there"
        }
        ApiError::Unauthorized { .. } => {
            "the API does not take tokens for this scope; look at cloud, api_url and scope"
        }
        ApiError::Throttled { .. } => {
            "the calls of the application are used up, by an exporter that runs or by another program; wait that long"
        }
        ApiError::BadRequest { .. } => {
            "the API does not understand the request; look at machines.filter and tags"
        }
        ApiError::Server { detail, .. } if detail.target.is_empty() => {
            "trouble at Microsoft, or something in between has answered; try again later"
        }
        ApiError::Server { .. } => {
            "trouble at Microsoft; try again later, and give the correlation id to its support"
        }
        ApiError::UnexpectedStatus { .. } | ApiError::Decode { .. } | ApiError::TooLarge { .. } => {
            "something else may have answered; look at api_url and the proxy"
        }
        ApiError::Unusable { .. } | ApiError::PageLimit { .. } | ApiError::UnusableLink { .. } => {
            "trouble at Microsoft; try again later"
        }
        ApiError::ForeignLink { .. } => {
            "the list goes on in another cloud, or something else answers; look at api_url"
        }
        ApiError::Empty | ApiError::Incomplete { .. } => {
            "Defender makes a new one every six hours; try again then"
        }
        ApiError::NotFound { .. } => "look at api_url and cloud",
        // They say it themselves.
        ApiError::Forbidden { .. } | ApiError::Timeout { .. } | ApiError::Network { .. } => {
            return Chain(error).to_string();
        }
    };
    format!("{} [{advice}]", Chain(error))
}

pub(super) fn takes_too_long(limit: Duration) -> String {
    format!(
        "not done within {} [too many pages, or tags, for a quick look, or for quota.per_minute; the exporter takes \
         its time]",
        seconds(limit)
    )
}

/// A machine that is not found for a moment shows that all else works.
pub(super) fn not_found_now(machine: &str) -> String {
    format!(
        "the API answers, but does not find machine {machine} now (404) [it may have left; else this passes: the \
         exporter asks again]"
    )
}

pub(super) fn nothing_found(in_scope: usize, unmatched: &[String]) -> String {
    const SHOWN: usize = 5;
    let found = if in_scope == 0 { "no machine".to_owned() } else { count(in_scope, "machine") };
    let scope = format!("{found} in scope");
    if unmatched.is_empty() {
        return format!("{scope} [everything found is excluded: look at machines.exclude]");
    }
    let more = unmatched.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let shown: Vec<_> = unmatched.iter().take(SHOWN).map(|selector| format!("`{selector}`")).collect();
    format!(
        "{scope}; nothing is found by {}{more} [look at machines; only devices that are \
             onboarded and were seen of late are listed]",
        shown.join(", ")
    )
}

pub(super) fn quota_is_short(machines: usize, interval: Duration, possible: Duration) -> String {
    format!(
        "{} every {} are more than the quota allows, each is read every {} instead [raise poll.interval, use \
         source: export, or raise quota.share or the limits if Microsoft allows more]",
        count(machines, "machine"),
        humantime::format_duration(interval),
        seconds(possible + Duration::from_millis(999))
    )
}

/// An export that is as new as it should be.
pub(super) fn export(files: usize, age: Option<Duration>) -> String {
    let age = match age.map(|age| age.as_secs() / 3600) {
        None => String::new(),
        Some(0) => ", made less than 1 hour ago".to_owned(),
        Some(1) => ", made 1 hour ago".to_owned(),
        Some(hours) => format!(", made {hours} hours ago"),
    };
    format!("{}{age}", count(files, "file"))
}

pub(super) fn export_is_stale(files: usize, generated_at: Timestamp, stale_after: Duration) -> String {
    format!(
        "{}, made at {generated_at}, which is longer ago than poll.stale_after ({}) [Defender should make a new one \
         every six hours]",
        count(files, "file"),
        humantime::format_duration(stale_after)
    )
}

/// Downloads come from hosts that nobody configured, so a firewall may know nothing of them.
pub(super) fn files_out_of_reach(host: &str, error: &ApiError) -> String {
    match error {
        ApiError::Network { .. } | ApiError::Timeout { .. } => {
            format!("files come from `{host}`, which firewall and proxy must allow: {}", Chain(error))
        }
        _ => {
            format!("files come from `{host}`: {} [try again: links are good for a while only]", Chain(error))
        }
    }
}

pub(super) fn clock_is_wrong(ahead: SignedDuration) -> String {
    format!(
        "the clock of this machine is {} that of the API [set it, and let NTP keep it (timedatectl): Entra refuses \
         proofs of a wrong time, and first seen times would be wrong]",
        offset(ahead)
    )
}

pub(super) fn clock_is_fine(ahead: SignedDuration) -> String {
    if ahead.abs() < SignedDuration::from_secs(10) {
        "as that of the API".to_owned()
    } else {
        format!("{} that of the API", offset(ahead))
    }
}

/// As `about 20m behind`; `ahead` is theirs.
fn offset(ahead: SignedDuration) -> String {
    let exact = ahead.unsigned_abs();
    let unit = if exact < Duration::from_mins(2) { 1 } else { 60 };
    let rounded = Duration::from_secs((exact.as_secs() + unit / 2) / unit * unit);
    let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
    format!("about {} {direction}", humantime::format_duration(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_say_direction_and_a_round_amount() {
        assert_eq!(offset(SignedDuration::from_secs(1195)), "about 20m behind");
        assert_eq!(offset(SignedDuration::from_secs(-45)), "about 45s ahead of");
        assert_eq!(offset(SignedDuration::from_hours(49)), "about 2days 1h behind");
        assert_eq!(clock_is_fine(SignedDuration::from_secs(-2)), "as that of the API");
        assert_eq!(clock_is_fine(SignedDuration::from_secs(30)), "about 30s behind that of the API");
    }
}
