//! One item of `tenants`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::auth::ClientIdUse;
use super::reader::{MapReader, ValueReader};
use super::values::{GUID_ALLOWED, base_url, guid, is_https_or_loopback, label, scope, tenant_id};
use super::{Cloud, Http, Quota, Tenant, auth, http, selectors};
use crate::model::Source;

/// Names of tenants, each with the path of the first tenant of that name.
pub(super) type TenantNames = HashMap<Arc<str>, String>;

pub(super) fn read(field: &ValueReader<'_>, folder: &Path, names: &mut TenantNames) -> Option<Tenant> {
    let section = field.section()?;
    let allowed = "a GUID or a domain name such as contoso.onmicrosoft.com is allowed";
    let tenant_id = section.required("tenant_id", allowed).and_then(|field| field.text(tenant_id));
    let name = name(&section, tenant_id.as_deref(), names);
    let auth_section = section
        .required("auth", "a mapping with one credential is allowed")
        .map(|field| auth::read(&field, folder));
    let client_id_use =
        auth_section.as_ref().map_or(ClientIdUse::Required, |auth_section| auth_section.client_id);
    let client_id = client_id(&section, client_id_use);
    let endpoints = endpoints(&section);
    let mapping = "a mapping is allowed";
    let http = section.optional_or("http", mapping, Http::default(), |field| http::read(field, folder));
    let source = section.optional_or("source", "machines or export is allowed", Source::default(), |field| {
        field.text(|word| Source::from_word(word).ok_or("is not a known source"))
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
        auth: auth_section?.auth?,
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

/// Reads `client_id`. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no client id is an answer, and so is a wrong one")]
fn client_id(section: &MapReader<'_>, client_id_use: ClientIdUse) -> Option<Option<String>> {
    if client_id_use == ClientIdUse::Required {
        let field = section.required("client_id", GUID_ALLOWED)?;
        return field.text(guid).map(Some);
    }
    let given = section.optional_or("client_id", GUID_ALLOWED, None, |field| field.text(guid).map(Some))?;
    if client_id_use == ClientIdUse::Unused && given.is_some() {
        let advice = "auth.managed_identity.client_id chooses a user-assigned identity";
        section.warning("client_id", "is not used with managed_identity", advice);
        return Some(None);
    }
    Some(given)
}

/// Hosts and scope of tokens and data.
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
    // The defaults of an unknown cloud do not matter: the tenant is not built.
    let defaults = cloud.unwrap_or(Cloud::Commercial);
    let authority_url = section.optional_or(
        "authority_url",
        "an https URL without path, query and user is allowed",
        constant(defaults.authority_url()),
        |field| field.text(|text| base_url(text, |url| url.scheme() == "https")),
    );
    let api_url = section.optional_or(
        "api_url",
        "an https URL, or an http URL of a loopback address, without path, query and user is allowed",
        constant(defaults.api_url()),
        |field| field.text(|text| base_url(text, is_https_or_loopback)),
    );
    let scope = section.optional_or(
        "scope",
        "one resource followed by /.default is allowed",
        defaults.scope().to_owned(),
        |field| field.text(scope),
    );
    Some(Endpoints { cloud: cloud?, authority_url: authority_url?, api_url: api_url?, scope: scope? })
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

fn constant(url: &str) -> Url {
    Url::parse(url).expect("Safe: a test parses the URLs of every cloud")
}
