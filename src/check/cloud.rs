//! The check that hosts and scope belong to the configured cloud.

use url::Url;

use super::messages;
use super::report::StepOutcome;
use crate::config::{Cloud, Tenant};

/// Microsoft's hosts, including subdomains, and the clouds that they serve.
const HOSTS: [(&str, &[Cloud]); 9] = [
    ("login.microsoftonline.com", &[Cloud::Commercial, Cloud::Gcc]),
    ("login.microsoftonline.us", &[Cloud::GccHigh, Cloud::Dod]),
    ("api.security.microsoft.com", &[Cloud::Commercial]),
    ("securitycenter.microsoft.com", &[Cloud::Commercial]),
    ("securitycenter.windows.com", &[Cloud::Commercial]),
    ("securitycenter.onmicrosoft.com", &[Cloud::Commercial]),
    ("api-gcc.securitycenter.microsoft.us", &[Cloud::Gcc]),
    ("api-gov.securitycenter.microsoft.us", &[Cloud::GccHigh, Cloud::Dod]),
    ("api-gov.security.microsoft.us", &[Cloud::GccHigh, Cloud::Dod]),
];

/// Resources of Defender XDR, which are easily mistaken for the one with the application roles.
const OTHER_RESOURCES: [&str; 2] = ["api.security.microsoft.com", "api-gov.security.microsoft.us"];

/// Compares `authority_url`, `api_url` and `scope` with `cloud`.
pub(super) fn judge(tenant: &Tenant) -> (StepOutcome, String) {
    let scope = Url::parse(&tenant.scope).ok();
    let keys = [
        ("authority_url", Some(&tenant.authority_url)),
        ("api_url", Some(&tenant.api_url)),
        ("scope", scope.as_ref()),
    ];
    for (key, url) in keys {
        let Some(host) = url.and_then(Url::host_str) else { continue };
        if key == "scope" && OTHER_RESOURCES.contains(&host) {
            return (StepOutcome::Warning, messages::scope_of_another_api(tenant.cloud));
        }
        if let Some(clouds) = clouds_of(host)
            && !clouds.contains(&tenant.cloud)
        {
            return (StepOutcome::Warning, messages::wrong_cloud(key, host, clouds, tenant.cloud));
        }
    }
    (StepOutcome::Ok, tenant.cloud.as_str().to_owned())
}

/// Returns the clouds of a host; none for an unknown host, such as that of a private endpoint.
fn clouds_of(host: &str) -> Option<&'static [Cloud]> {
    let covers = |known: &str| {
        host.strip_suffix(known)
            .is_some_and(|front| front.is_empty() || front.ends_with('.') || front.ends_with('-'))
    };
    HOSTS.into_iter().find(|(known, _)| covers(known)).map(|(_, clouds)| clouds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_belongs_to_its_cloud() {
        for cloud in Cloud::ALL {
            for url in [cloud.authority_url(), cloud.api_url(), cloud.scope()] {
                let url = Url::parse(url).unwrap();
                assert!(clouds_of(url.host_str().unwrap()).unwrap().contains(&cloud), "{url}");
            }
        }
        assert_eq!(clouds_of("eu.api.security.microsoft.com"), Some([Cloud::Commercial].as_slice()));
        assert_eq!(clouds_of("api-eu3.securitycenter.microsoft.com"), Some([Cloud::Commercial].as_slice()));
        assert_eq!(clouds_of("127.0.0.1"), None);
        assert_eq!(clouds_of("notsecuritycenter.microsoft.com"), None);
    }
}
