//! One item of `tenants`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::auth::ClientId;
use super::section::{MapReader, ValueReader};
use super::{Cloud, Http, Quota, Source, Tenant, auth, selectors};

pub(super) const GUID_ALLOWED: &str = "a GUID such as 66666666-7777-8888-9999-000000000000 is allowed";

/// The names that tenants have, each with the path of the first tenant that has it.
pub(super) type TenantNames = HashMap<Arc<str>, String>;

pub(super) fn read(field: &ValueReader<'_>, folder: &Path, names: &mut TenantNames) -> Option<Tenant> {
    let section = field.section()?;
    let allowed = "a GUID or a domain name such as contoso.onmicrosoft.com is allowed";
    let tenant_id = section.required("tenant_id", allowed).and_then(|field| field.text(tenant_id));
    let name = name(&section, tenant_id.as_deref(), names);
    let choice = section
        .required("auth", "a mapping with one credential is allowed")
        .map(|field| auth::read(&field, folder));
    let use_of_it = choice.as_ref().map_or(ClientId::Required, |choice| choice.client_id);
    let client_id = client_id(&section, use_of_it);
    let endpoints = endpoints(&section);
    let mapping = "a mapping is allowed";
    let http = section.optional_or("http", mapping, Http::default(), |field| http(field, folder));
    let source = section.optional_or("source", "machines or export is allowed", Source::default(), |field| {
        field.text(|text| match text {
            "machines" => Ok(Source::Machines),
            "export" => Ok(Source::Export),
            _ => Err("is not a known source"),
        })
    });
    let machines = section
        .required("machines", "a mapping with at least one selector is allowed")
        .and_then(|field| selectors::read(&field));
    let quota = section.optional_or("quota", mapping, Quota::default(), quota);
    section.finish();
    let Endpoints { cloud, authority_url, api_url, scope } = endpoints?;
    Some(Tenant {
        name: name?,
        tenant_id: tenant_id?,
        client_id: client_id?,
        auth: choice?.auth?,
        cloud,
        authority_url,
        api_url,
        scope,
        http: http?,
        source: source?,
        machines: machines?,
        quota: quota?,
    })
}

fn name(section: &MapReader<'_>, tenant_id: Option<&str>, names: &mut TenantNames) -> Option<Arc<str>> {
    let name = match section.optional("name", "text without control characters is allowed") {
        Some(field) => field.text(label),
        None => tenant_id.map(Arc::from),
    };
    let name: Arc<str> = name?;
    if let Some(first) = names.get(&name) {
        let what = format!("is the same as that of {first}");
        let allowed = "a name of its own for each tenant is allowed; the default is the tenant_id";
        section.problem_of("name", what, allowed);
        return None;
    }
    names.insert(Arc::clone(&name), section.path().to_owned());
    Some(name)
}

/// Text that a person can tell from others as the value of a label.
pub(super) fn label(text: &str) -> Result<Arc<str>, &'static str> {
    match text {
        text if text.trim().is_empty() => Err("is blank"),
        text if text.contains(char::is_control) => Err("holds a control character"),
        text => Ok(text.into()),
    }
}

/// The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no client id is an answer, and so is a wrong one")]
fn client_id(section: &MapReader<'_>, use_of_it: ClientId) -> Option<Option<String>> {
    if use_of_it == ClientId::Required {
        let field = section.required("client_id", GUID_ALLOWED)?;
        return field.text(guid).map(Some);
    }
    let given = section.optional_or("client_id", GUID_ALLOWED, None, |field| field.text(guid).map(Some))?;
    if use_of_it == ClientId::Unused && given.is_some() {
        let advice = "auth.managed_identity.client_id chooses a user-assigned identity";
        section.warning("client_id", "is not used with managed_identity", advice);
        return Some(None);
    }
    Some(given)
}

/// Where tokens and data come from.
struct Endpoints {
    cloud: Cloud,
    authority_url: Url,
    api_url: Url,
    scope: String,
}

fn endpoints(section: &MapReader<'_>) -> Option<Endpoints> {
    let cloud = section.optional_or(
        "cloud",
        "one of commercial, gcc, gcc_high, dod is allowed",
        Cloud::Commercial,
        |field| {
            field.text(|text| {
                let named = Cloud::ALL.into_iter().find(|cloud| cloud.as_str() == text);
                named.ok_or("is not a known cloud")
            })
        },
    );
    // The defaults of a cloud that is not known do not matter: nothing is made of them.
    let of = cloud.unwrap_or(Cloud::Commercial);
    let authority_url = section.optional_or(
        "authority_url",
        "an https URL without path, query and user is allowed",
        constant(of.authority_url()),
        |field| field.text(|text| base_url(text, |url| url.scheme() == "https")),
    );
    let api_url = section.optional_or(
        "api_url",
        "an https URL, or an http URL of a loopback address, without path, query and user is allowed",
        constant(of.api_url()),
        |field| field.text(|text| base_url(text, is_https_or_loopback)),
    );
    let scope = section.optional_or(
        "scope",
        "one resource followed by /.default is allowed",
        of.scope().to_owned(),
        |field| field.text(scope),
    );
    Some(Endpoints { cloud: cloud?, authority_url: authority_url?, api_url: api_url?, scope: scope? })
}

fn http(field: &ValueReader<'_>, folder: &Path) -> Option<Http> {
    let section = field.section()?;
    let timeout = section.optional_or(
        "timeout",
        "a duration above 0s, up to 1h, such as 60s, is allowed",
        Http::default().timeout,
        |field| field.duration(Duration::from_nanos(1)..=Duration::from_hours(1)),
    );
    let ca_file = section.optional_or("ca_file", "the path of a PEM file is allowed", None, |field| {
        path(field, folder).map(Some)
    });
    let proxy_url = section.optional_or(
        "proxy_url",
        "a URL such as http://proxy.example:3128 is allowed",
        None,
        |field| field.text(proxy_url).map(Some),
    );
    section.finish();
    Some(Http { timeout: timeout?, ca_file: ca_file?, proxy_url: proxy_url? })
}

fn quota(field: &ValueReader<'_>) -> Option<Quota> {
    let section = field.section()?;
    let default = Quota::default();
    let calls = "a whole number from 1 is allowed";
    let count = |field: &ValueReader<'_>| field.number(|text| text.parse::<NonZeroU32>().ok());
    let per_minute = section.optional_or("per_minute", calls, default.per_minute, count);
    let per_hour = section.optional_or("per_hour", calls, default.per_hour, count);
    let share =
        section.optional_or("share", "a number above 0, at most 1, is allowed", default.share, |field| {
            let fits = |share: &f64| *share > 0.0 && *share <= 1.0;
            field.number(|text| text.parse().ok().filter(fits))
        });
    section.finish();
    Some(Quota { per_minute: per_minute?, per_hour: per_hour?, share: share? })
}

/// A path; a relative one is taken from `folder`. A text of several lines is none, but the secret itself
/// that somebody put in the place of its path: it must not be kept, and shown, as one.
pub(super) fn path(field: &ValueReader<'_>, folder: &Path) -> Option<PathBuf> {
    field.text(|text| match text {
        text if text.contains('\0') => Err("holds a NUL character"),
        text if text.contains('\n') => Err("is a text of several lines and no path"),
        text => Ok(folder.join(text)),
    })
}

pub(super) fn guid(text: &str) -> Result<String, &'static str> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if lengths.eq([8, 4, 4, 4, 12]) && groups.iter().all(hex) {
        Ok(text.to_owned())
    } else {
        Err("is not a GUID")
    }
}

/// A GUID, or one of the tenant's domains. Names without a dot (`common`, `organizations`) stand for
/// many tenants and cannot issue a token to an application.
fn tenant_id(text: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner)
    };
    let domain = text.contains('.') && text.len() <= 253 && text.split('.').all(label);
    if domain || guid(text).is_ok() { Ok(text.to_owned()) } else { Err("is not a tenant id") }
}

/// Entra takes client credentials for one resource at a time.
fn scope(text: &str) -> Result<String, &'static str> {
    let resource = text.strip_suffix("/.default").ok_or("does not end in /.default")?;
    if resource.is_empty() {
        Err("names no resource")
    } else if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        Err("holds white space")
    } else {
        Ok(text.to_owned())
    }
}

fn base_url(text: &str, scheme_fits: impl FnOnce(&Url) -> bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if url.host_str().is_none_or(str::is_empty) {
        Err("names no host")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("holds a user")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("holds a query or fragment")
    } else if url.path() != "/" {
        Err("holds a path")
    } else if !scheme_fits(&url) {
        Err("has the wrong scheme")
    } else {
        Ok(url)
    }
}

fn is_https_or_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = || host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && loopback()
}

fn proxy_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        "http" | "https" => Err("names no host"),
        _ => Err("has a scheme other than http and https"),
    }
}

fn constant(url: &str) -> Url {
    Url::parse(url).expect("Safe: a test parses the URLs of every cloud")
}
