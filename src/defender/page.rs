//! Pagination: follows next links within limits.
//!
//! Pages of this API have oddities: an empty page may have a next link with more records behind it, a link
//! may lead back to an earlier page, and a link may name another geographic host than the request. A list is
//! returned completely or not at all.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Url;

use super::decode::Page;
use super::json::Json;
use super::{ApiError, Client};
use crate::model::{ApiOperation, RejectReason};

/// The limits of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListLimits {
    /// Number of pages.
    pages: u32,
    /// Number of records in all pages.
    records: usize,
    /// Bytes of one page after decompression.
    page_bytes: usize,
    /// Time for all pages, including the wait for the quota: a call that waits for the next hour has not
    /// failed.
    time: Duration,
}

impl ListLimits {
    /// The machine list: 100,000 machines take ten pages of about 15 MB. The limits leave a margin.
    pub(super) const LIST: Self =
        Self { pages: 500, records: 1_000_000, page_bytes: 64 << 20, time: Duration::from_hours(2) };
    /// The missing KBs of one machine: one page of some dozen records of about 300 bytes each.
    pub(super) const MISSING_KBS: Self =
        Self { pages: 20, records: 20_000, page_bytes: 8 << 20, time: Duration::from_hours(2) };
}

/// The number of consecutive empty pages that ends a list with records, even if another link follows: a
/// service that only adds the page size to its link would continue forever. For a list without records it is
/// an error, because accepting the list would mean "there is nothing".
const EMPTY_PAGES: u32 = 3;

impl Client {
    /// Fetches all records, starting with the page at `first`.
    pub(super) async fn pages<T>(
        &self,
        endpoint: ApiOperation,
        first: Url,
        bounds: &ListLimits,
        decode: fn(Json<'_>) -> Result<T, RejectReason>,
    ) -> Result<Vec<T>, ApiError> {
        let all = self.follow(endpoint, first, bounds, decode);
        tokio::time::timeout(bounds.time, all).await.unwrap_or(Err(ApiError::Timeout { endpoint }))
    }

    async fn follow<T>(
        &self,
        endpoint: ApiOperation,
        first: Url,
        bounds: &ListLimits,
        decode: fn(Json<'_>) -> Result<T, RejectReason>,
    ) -> Result<Vec<T>, ApiError> {
        let mut records = Vec::new();
        let mut unusable = 0;
        let (mut pages, mut empty) = (0, 0);
        let mut fetched = HashSet::new();
        let mut next = Some(first);
        while let Some(url) = next {
            let body = self.get(endpoint, &url, bounds.page_bytes).await?;
            let page = Page::decode(&body, decode).map_err(|source| ApiError::Decode { endpoint, source })?;
            pages += 1;
            unusable += self.count_rejected(&page.rejected);
            empty = if page.records.is_empty() && page.rejected.is_empty() { empty + 1 } else { 0 };
            records.extend(page.records);
            fetched.insert(url.to_string());
            next = match page.next_link {
                None => None,
                Some(_) if empty >= EMPTY_PAGES && !records.is_empty() => None,
                Some(_) if empty >= EMPTY_PAGES => return Err(ApiError::PageLimit { endpoint, pages }),
                Some(link) => Some(self.trusted_link(endpoint, &url, &link)?),
            };
            let repeated = next.as_ref().is_some_and(|url| fetched.contains(url.as_str()));
            if repeated && empty > 0 {
                break;
            }
            if next.is_some() && (repeated || pages >= bounds.pages || records.len() > bounds.records) {
                return Err(ApiError::PageLimit { endpoint, pages });
            }
        }
        if records.is_empty() && unusable > 0 {
            return Err(ApiError::Unusable { endpoint, records: unusable });
        }
        Ok(records)
    }

    /// Counts the rejected records. Returns the number of them that could have been records of the requested
    /// kind: an advisory among KBs is not one.
    fn count_rejected(&self, rejected: &[RejectReason]) -> u64 {
        for reject in rejected {
            self.metrics.record_rejected(*reject, 1);
        }
        rejected.iter().filter(|reject| **reject != RejectReason::BadKb).count() as u64
    }

    /// Resolves `link` and verifies that the token may be sent there.
    fn trusted_link(&self, endpoint: ApiOperation, current: &Url, link: &str) -> Result<Url, ApiError> {
        let foreign = |origin: String| ApiError::ForeignLink { endpoint, origin };
        let url = current.join(link).map_err(|_| foreign("no URL".to_owned()))?;
        let named = url.username().is_empty() && url.password().is_none();
        let same_origin = url.origin() == self.api_url.origin();
        let same_cloud = url.scheme() == "https"
            && url.port().is_none()
            && self.api_url.port().is_none()
            && self.is_known_host(&self.api_url)
            && self.is_known_host(&url);
        if named && (same_origin || same_cloud) {
            Ok(url)
        } else {
            Err(foreign(url.origin().ascii_serialization()))
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Auth, Cloud, Http, Quota, Selectors, Tenant};
    use crate::defender::{ProxyMode, QuotaHistory, RetryPolicy};
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
        Client::new(
            &tenant,
            ProxyMode::Direct,
            retry,
            random,
            QuotaHistory::default(),
            Clock::system(),
            metrics,
        )
        .unwrap()
    }

    fn trusts(client: &Client, link: &str) -> bool {
        client.trusted_link(ApiOperation::Machines, &client.api_url, link).is_ok()
    }

    #[test]
    fn links_within_the_cloud_of_the_configured_host_are_trusted() {
        let public = client(Cloud::Commercial, "https://api.security.microsoft.com");
        for link in [
            "https://api.security.microsoft.com/api/machines?$skip=1",
            "https://eu3.api.security.microsoft.com/api/machines",
            "https://api-eu3.securitycenter.microsoft.com/api/machines",
            "https://API.SecurityCenter.Windows.com:443/api/machines",
        ] {
            assert!(trusts(&public, link), "{link}");
        }
        for link in [
            "http://api.security.microsoft.com/api/machines",
            "https://api.security.microsoft.com:8443/api/machines",
            "https://user@api.security.microsoft.com/api/machines",
            "https://api-gov.securitycenter.microsoft.us/api/machines",
            "https://evilapi.security.microsoft.com/api/machines",
            "https://api.security.microsoft.com.evil.example/api/machines",
            "https://securitycenter.microsoft.com@evil.example/",
        ] {
            assert!(!trusts(&public, link), "{link}");
        }
    }

    #[test]
    fn links_of_a_custom_host_must_stay_on_it() {
        let own = client(Cloud::Commercial, "https://gateway.example:8443");
        assert!(trusts(&own, "https://gateway.example:8443/api/machines?$skip=1"));
        assert!(trusts(&own, "/api/machines?$skip=1"));
        assert!(!trusts(&own, "https://gateway.example/api/machines"));
        assert!(!trusts(&own, "https://api.security.microsoft.com/api/machines"));
    }
}
