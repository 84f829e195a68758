//! Texts of `check`: first the result, then the advice in brackets. Errors that include their own advice are
//! displayed unchanged.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Auth, Cloud};
use crate::defender::token::SecretError;
use crate::defender::{ApiError, TokenClaims, TokenError};
use crate::error::Chain;

/// Reasons to skip a step.
pub(super) const NO_CONNECTION: &str = "there is no connection";
pub(super) const NO_TOKEN: &str = "there is no token";
pub(super) const NO_LIST: &str = "there is no list of machines";
pub(super) const NO_EXPORT_LIST: &str = "there is no list of files";
pub(super) const NO_MACHINE: &str = "no machine is in scope";

pub(super) const NO_JUDGED_MACHINE: &str = "no machine in scope can be judged";
pub(super) const NO_TIME: &str = "no reply contained the time";
pub(super) const OPAQUE_TOKEN: &str = "the token is opaque; the calls below show which roles it has";

/// Returns a number with a noun, in the plural if needed.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn seconds(duration: Duration) -> impl Display {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

pub(super) fn storage_is_writable(folder: &Path, exists: bool) -> String {
    let folder = folder.display();
    if exists {
        format!("`{folder}` can be written")
    } else {
        format!("`{folder}` does not exist yet and can be created")
    }
}

pub(super) fn storage_failed(folder: &Path, error: &io::Error) -> String {
    format!(
        "`{}` cannot be written: {error} [--storage.path must be a folder that the user of the exporter can write, \
         on a disk with free space; without it, first seen times are lost at every restart]",
        folder.display()
    )
}

pub(super) fn wrong_cloud(key: &str, host: &str, clouds: &[Cloud], configured: Cloud) -> String {
    let clouds: Vec<_> = clouds.iter().map(|cloud| cloud.as_str()).collect();
    format!(
        "{key} (`{host}`) belongs to {}, but cloud is {} [set cloud, and remove authority_url, api_url and scope]",
        clouds.join(" and "),
        configured.as_str()
    )
}

pub(super) fn scope_of_another_api(cloud: Cloud) -> String {
    format!(
        "scope belongs to another API (Microsoft Threat Protection), whose tokens have none of the required \
         roles [remove scope, or set it to {}]",
        cloud.scope()
    )
}

pub(super) const NO_IDENTITY: &str =
    "managed identities exist in Azure only: does this machine run there, with an identity assigned?";

pub(super) fn token(left: Duration) -> String {
    // Rounded, since the seconds that the reply took do not matter.
    let minutes = (left.as_secs() + 30) / 60;
    format!("valid for {minutes}m")
}

pub(super) fn no_token(error: &TokenError, auth: &Auth) -> String {
    let advice = match error {
        TokenError::SecretUnreadable { source, .. } => secret_advice(source),
        TokenError::Paused { .. } => "the authority asked to wait; try again then",
        // It includes its own advice.
        TokenError::UnsupportedIdentity { .. } => return error.to_string(),
        TokenError::Unusable { .. } => "check tenant_id, client_id and authority_url",
        TokenError::Refused(refusal) => match (&refusal.code, refusal.hint) {
            (Some(code), None) => {
                let number = code.trim_start_matches("AADSTS");
                return format!(
                    "{error} [https://login.microsoftonline.com/error?code={number} explains the code]"
                );
            }
            _ => return error.to_string(),
        },
        TokenError::BadReply { .. } => "another server may have answered; check authority_url and the proxy",
        TokenError::Network { .. } | TokenError::Timeout { .. } => {
            // For remote hosts the error includes its own advice.
            let Auth::ManagedIdentity { .. } = auth else { return Chain(error).to_string() };
            NO_IDENTITY
        }
    };
    format!("{} [{advice}]", Chain(error))
}

pub(super) fn secret_advice(error: &SecretError) -> &'static str {
    match error {
        SecretError::Unreadable { .. } => "check auth; the user of the exporter must be able to read it",
        SecretError::Empty { .. } => "write the secret into it",
        SecretError::NotSet { .. } => "set it in the environment of the exporter, or name a file in auth",
        SecretError::Unexpected { .. } => "another program may answer for the agent of Azure Arc",
        SecretError::OtherKind { .. } => "check the file that auth names",
        SecretError::Certificate { .. } => "one PEM file must contain the certificate and its RSA key",
    }
}

/// Returns the message for missing roles. `effect` is the consequence, if it is not obvious.
pub(super) fn roles_are_missing(missing: &[&str], claims: &TokenClaims, auth: &Auth, effect: &str) -> String {
    let what = if claims.roles.is_empty() {
        format!(
            "the token for `{}` has no application role; missing: {}",
            claims.audience,
            missing.join(", ")
        )
    } else {
        format!("the token lacks {}", missing.join(", "))
    };
    format!("{what}{effect} [{}]", granting(auth))
}

fn granting(auth: &Auth) -> &'static str {
    match auth {
        Auth::ManagedIdentity { .. } => {
            "assign it to the service principal of the identity as an application role of WindowsDefenderATP, \
             with the PowerShell command New-MgServicePrincipalAppRoleAssignment"
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

/// The effect of a forbidden machine list, where the exporter can work without it.
pub(super) const NAMES_ARE_MISSING: &str = ", so machines have no name and no platform";

pub(super) fn after(step: &str) -> String {
    format!("it would fail like the step `{step}`")
}

pub(super) fn api(error: &ApiError, auth: &Auth) -> String {
    let advice = match error {
        ApiError::Token(error) => return no_token(error, auth),
        ApiError::Forbidden { detail, .. } if !detail.names_roles() => {
            "the tenant may not have this feature of Defender for Endpoint, or it is turned off"
        }
        ApiError::Unauthorized { .. } => {
            "the API does not accept tokens for this scope; check cloud, api_url and scope"
        }
        ApiError::Throttled { .. } => {
            "a running exporter or another program has used up the calls of the application; wait that long"
        }
        ApiError::BadRequest { .. } => {
            "the API does not understand the request; check machines.filter and tags"
        }
        ApiError::Server { detail, .. } if detail.target.is_empty() => {
            "a fault at Microsoft, or a server in between has answered; try again later"
        }
        ApiError::Server { .. } => {
            "a fault at Microsoft; try again later, and report the correlation id to Microsoft support"
        }
        ApiError::UnexpectedStatus { .. } | ApiError::Decode { .. } | ApiError::TooLarge { .. } => {
            "another server may have answered; check api_url and the proxy"
        }
        ApiError::Unusable { .. } | ApiError::PageLimit { .. } | ApiError::UnusableLink { .. } => {
            "a fault at Microsoft; try again later"
        }
        ApiError::ForeignLink { .. } => {
            "the list continues in another cloud, or another server has answered; check api_url"
        }
        ApiError::Empty | ApiError::Incomplete { .. } => {
            "Defender creates a new export every six hours; try again then"
        }
        ApiError::NotFound { .. } => "check api_url and cloud",
        // These errors include their own advice.
        ApiError::Forbidden { .. } | ApiError::Timeout { .. } | ApiError::Network { .. } => {
            return Chain(error).to_string();
        }
    };
    format!("{} [{advice}]", Chain(error))
}

pub(super) fn takes_too_long(limit: Duration) -> String {
    format!(
        "not finished within {} [too many pages or tags for this check, or for quota.per_minute; the exporter \
         itself waits longer]",
        seconds(limit)
    )
}

/// Returns the message for a machine that the API does not find, which shows that the call itself works.
pub(super) fn not_found_now(machine: &str) -> String {
    format!(
        "the API answers, but does not find machine {machine} now (404) [it may have left the tenant; otherwise this is \
         temporary, and the exporter retries]"
    )
}

pub(super) fn nothing_found(in_scope: usize, unmatched: &[String]) -> String {
    const SHOWN: usize = 5;
    let found = if in_scope == 0 { "no machine".to_owned() } else { count(in_scope, "machine") };
    let scope = format!("{found} in scope");
    if unmatched.is_empty() {
        return format!(
            "{scope} [every machine that the selectors choose is excluded; check machines.exclude]"
        );
    }
    let more = unmatched.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let shown: Vec<_> = unmatched.iter().take(SHOWN).map(|selector| format!("`{selector}`")).collect();
    format!(
        "{scope}; no machine matches {}{more} [check machines; Defender lists only devices that are \
         onboarded and were seen recently]",
        shown.join(", ")
    )
}

pub(super) fn quota_is_short(machines: usize, interval: Duration, possible: Duration) -> String {
    format!(
        "{} every {} exceed the quota; each is polled every {} instead [raise poll.interval, use \
         source: export, or raise quota.share or the limits if Microsoft allows more]",
        count(machines, "machine"),
        humantime::format_duration(interval),
        seconds(possible + Duration::from_millis(999))
    )
}

/// Returns the message for an export that is not stale.
pub(super) fn export(files: usize, age: Option<Duration>) -> String {
    let age = match age.map(|age| age.as_secs() / 3600) {
        None => String::new(),
        Some(0) => ", created less than 1 hour ago".to_owned(),
        Some(1) => ", created 1 hour ago".to_owned(),
        Some(hours) => format!(", created {hours} hours ago"),
    };
    format!("{}{age}", count(files, "file"))
}

pub(super) fn export_is_stale(files: usize, generated_at: Timestamp, stale_after: Duration) -> String {
    format!(
        "{}, created at {generated_at}, longer ago than poll.stale_after ({}) [Defender should create a new export \
         every six hours]",
        count(files, "file"),
        humantime::format_duration(stale_after)
    )
}

/// Returns the message for a failed download. Files come from hosts that are not configured, so a firewall
/// may not allow them.
pub(super) fn download_failed(host: &str, error: &ApiError) -> String {
    match error {
        ApiError::Network { .. } | ApiError::Timeout { .. } => {
            format!("files come from `{host}`, which firewall and proxy must allow: {}", Chain(error))
        }
        _ => {
            format!("files come from `{host}`: {} [try again; links expire]", Chain(error))
        }
    }
}

pub(super) fn clock_is_wrong(ahead: SignedDuration) -> String {
    format!(
        "the clock of this machine is {} that of the API [set it, and enable NTP (timedatectl): Entra rejects \
         assertions with a wrong time, and first seen times would be wrong]",
        offset(ahead)
    )
}

pub(super) fn clock_is_fine(ahead: SignedDuration) -> String {
    if ahead.abs() < SignedDuration::from_secs(10) {
        "the same as that of the API".to_owned()
    } else {
        format!("{} that of the API", offset(ahead))
    }
}

/// Returns text such as `about 20m behind`; `ahead` is the time by which the clock of the API is ahead.
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
    fn offsets_have_a_direction_and_a_rounded_amount() {
        assert_eq!(offset(SignedDuration::from_secs(1195)), "about 20m behind");
        assert_eq!(offset(SignedDuration::from_secs(-45)), "about 45s ahead of");
        assert_eq!(offset(SignedDuration::from_hours(49)), "about 2days 1h behind");
        assert_eq!(clock_is_fine(SignedDuration::from_secs(-2)), "the same as that of the API");
        assert_eq!(clock_is_fine(SignedDuration::from_secs(30)), "about 30s behind that of the API");
    }
}
