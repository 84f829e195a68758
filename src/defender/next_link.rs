//! Next links: where they lead, and the options that they lack.
//!
//! Links of this API have oddities. A link may name another geographic host than the request, or the
//! configured host with `http` or another port. It may lack the names of its options, so that it grows from
//! page to page and selects other records: `?=value&$skip=1`.

use reqwest::Url;
use url::form_urlencoded;

use super::{ApiError, Client};
use crate::model::ApiOperation;

impl Client {
    /// Resolves `link` and verifies that the token may be sent there. A link to the configured host leads to
    /// the configured origin; a link to another host of the cloud uses https.
    pub(super) fn trusted_link(
        &self,
        endpoint: ApiOperation,
        current: &Url,
        link: &str,
    ) -> Result<Url, ApiError> {
        let foreign = |origin: String| ApiError::ForeignLink { endpoint, origin };
        let url = current.join(link).map_err(|_| foreign("no URL".to_owned()))?;
        let api = &self.api_url;
        let is_web = matches!(url.scheme(), "http" | "https");
        let has_user = !url.username().is_empty() || url.password().is_some();
        let same_cloud = || api.port().is_none() && self.is_known_host(api) && self.is_known_host(&url);
        let origin = if !is_web || has_user {
            None
        } else if url.host() == api.host() {
            Some((api.scheme(), api.port()))
        } else {
            same_cloud().then_some(("https", None))
        };
        let refused = || foreign(url.origin().ascii_serialization());
        let (scheme, port) = origin.ok_or_else(refused)?;
        let mut trusted = url.clone();
        trusted.set_scheme(scheme).and_then(|()| trusted.set_port(port)).map_err(|()| refused())?;
        Ok(trusted)
    }

    /// Returns whether the host is one of the cloud's hosts, or below one.
    fn is_known_host(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let below = |suffix: &str| {
            host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.trusted_suffixes.iter().any(|suffix| below(suffix))
    }
}

/// The link with every option of `first`, the request for the first page. Options without a name are
/// dropped, and each other option is kept once.
pub(super) fn with_options_of(first: &Url, mut link: Url) -> Url {
    let ours: Vec<&str> = options(first).collect();
    let our_names: Vec<String> = ours.iter().map(|option| name(option)).collect();
    let mut added: Vec<(String, String)> = Vec::new();
    for option in options(&link) {
        let name = name(option);
        if name.is_empty() || our_names.iter().any(|ours| ours.eq_ignore_ascii_case(&name)) {
            continue;
        }
        match added.iter_mut().find(|(other, _)| *other == name) {
            // A link that grows repeats its `$skip`; the largest one leads on.
            Some((_, kept)) if skip(kept) > skip(option) => {}
            Some((_, kept)) => option.clone_into(kept),
            None => added.push((name, option.to_owned())),
        }
    }
    let added = added.iter().map(|(_, option)| option.as_str());
    let query = ours.into_iter().chain(added).collect::<Vec<_>>().join("&");
    link.set_query((!query.is_empty()).then_some(&query));
    link
}

/// The request for the page behind `records` records.
pub(super) fn behind(first: &Url, records: usize) -> Url {
    let mut url = first.clone();
    let separator = if first.query().is_some_and(|query| !query.is_empty()) { "&" } else { "" };
    let query = format!("{}{separator}$skip={records}", first.query().unwrap_or_default());
    url.set_query(Some(&query));
    url
}

/// The options of a query as they are written.
fn options(url: &Url) -> impl Iterator<Item = &str> {
    url.query().unwrap_or_default().split('&').filter(|option| !option.is_empty())
}

fn name(option: &str) -> String {
    form_urlencoded::parse(option.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// The number of an option `$skip`.
fn skip(option: &str) -> Option<u64> {
    let (name, value) = form_urlencoded::parse(option.as_bytes()).next()?;
    (name == "$skip").then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Auth, Cloud, Http, Quota, Selectors, Tenant};
    use crate::defender::{QuotaHistory, RetryPolicy};
    use crate::http::ProxyMode;
    use crate::self_metrics::SelfMetrics;

    fn client(cloud: Cloud, api_url: &str) -> Client {
        let tenant = Tenant {
            name: "contoso".into(),
            tenant_id: String::new(),
            client_id: None,
            auth: Auth::ManagedIdentity { client_id: None },
            cloud,
            authority_url: api_url.parse().unwrap(),
            api_url: api_url.parse().unwrap(),
            scope: String::new(),
            http: Http::default(),
            source: crate::model::Source::Machines,
            machines: Selectors::default(),
            quota: Quota::default(),
        };
        let metrics = Arc::new(SelfMetrics::new("test")).tenant("contoso");
        let (retry, random) = (RetryPolicy::default(), fastrand::Rng::with_seed(1));
        let (history, clock) = (QuotaHistory::default(), Clock::system());
        Client::new(&tenant, ProxyMode::Direct, retry, random, history, clock, metrics).unwrap()
    }

    /// The URL that a link leads to; none if it is refused.
    fn followed(client: &Client, link: &str) -> Option<String> {
        client.trusted_link(ApiOperation::Machines, &client.api_url, link).ok().map(String::from)
    }

    #[test]
    fn links_within_the_cloud_of_the_configured_host_are_trusted() {
        let public = client(Cloud::Commercial, "https://api.security.microsoft.com");
        for (link, url) in [
            ("https://api.security.microsoft.com/a?$skip=1", "https://api.security.microsoft.com/a?$skip=1"),
            ("http://api.security.microsoft.com/a?b", "https://api.security.microsoft.com/a?b"),
            ("http://api.security.microsoft.com:443/a", "https://api.security.microsoft.com/a"),
            ("https://api.security.microsoft.com:80/a", "https://api.security.microsoft.com/a"),
            ("https://api.security.microsoft.com:8443/a", "https://api.security.microsoft.com/a"),
            ("https://eu3.api.security.microsoft.com/a", "https://eu3.api.security.microsoft.com/a"),
            ("http://eu3.api.security.microsoft.com:80/a", "https://eu3.api.security.microsoft.com/a"),
            ("https://API.SecurityCenter.Windows.com:443/a", "https://api.securitycenter.windows.com/a"),
        ] {
            assert_eq!(followed(&public, link).as_deref(), Some(url), "{link}");
        }
        for link in [
            "https://user@api.security.microsoft.com/api/machines",
            "https://api-gov.securitycenter.microsoft.us/api/machines",
            "https://evilapi.security.microsoft.com/api/machines",
            "https://api.security.microsoft.com.evil.example/api/machines",
            "https://securitycenter.microsoft.com@evil.example/",
            "ftp://api.security.microsoft.com/api/machines",
            "file:///api/machines",
        ] {
            assert_eq!(followed(&public, link), None, "{link}");
        }
    }

    #[test]
    fn links_of_a_custom_host_must_stay_on_it() {
        let own = client(Cloud::Commercial, "https://gateway.example:8443");
        let page = Some("https://gateway.example:8443/api/machines?$skip=1".to_owned());
        for origin in
            ["", "https://gateway.example:8443", "https://gateway.example", "http://gateway.example:80"]
        {
            assert_eq!(followed(&own, &format!("{origin}/api/machines?$skip=1")), page, "{origin}");
        }
        assert_eq!(followed(&own, "https://api.security.microsoft.com/api/machines"), None);
    }

    #[test]
    fn lost_and_repeated_options_are_restored() {
        let first: Url = "https://api/x?%24filter=a%20eq%20'b'&tag=c".parse().unwrap();
        let completed = |query: &str| {
            let link = format!("https://geo/y{query}").parse().unwrap();
            let url = with_options_of(&first, link);
            url.as_str().strip_prefix("https://geo/y?%24filter=a%20eq%20%27b%27&tag=c").unwrap().to_owned()
        };
        assert_eq!(completed("?$skip=5"), "&$skip=5");
        assert_eq!(completed("?%24Filter=other&tag=&$skip=5"), "&$skip=5");
        assert_eq!(completed("?=a&=c&$skip=5&=5&$skip=10"), "&$skip=10");
        assert_eq!(completed("?$skip=10&$skip=5"), "&$skip=10");
        assert_eq!(completed("?$skiptoken=x&$skiptoken=y"), "&$skiptoken=y");
        assert_eq!(completed(""), "");
        let plain: Url = "https://api/x".parse().unwrap();
        assert_eq!(with_options_of(&plain, plain.clone()), plain);
        assert_eq!(behind(&plain, 7).as_str(), "https://api/x?$skip=7");
        assert!(behind(&first, 7).as_str().ends_with("&tag=c&$skip=7"));
    }
}
