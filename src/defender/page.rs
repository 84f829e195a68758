//! Pagination: reads the pages of a list within limits.
//!
//! Pages of this API have oddities: an empty page may have a next link with more records behind it, a full
//! page may have no link, and a link may lead back to an earlier page or lack its options
//! ([`next_link`](super::next_link)). Where links do not lead on, pages are requested with `$skip`. A list is
//! returned completely or not at all.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{StatusCode, Url};

use super::decode::Page;
use super::json::Json;
use super::next_link::{behind, with_options_of};
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
    /// The documented maximum of records on a page, if the list accepts `$skip`. A page of this length without
    /// a next link may be followed by another one.
    full_page: Option<usize>,
}

impl ListLimits {
    /// The machine list: 100,000 machines take ten pages of about 15 MB. The limits leave a margin.
    /// Maximum of a page: <https://learn.microsoft.com/defender-endpoint/api/get-machines>.
    pub(super) const LIST: Self = Self {
        pages: 500,
        records: 1_000_000,
        page_bytes: 64 << 20,
        time: Duration::from_hours(2),
        full_page: Some(10_000),
    };
    /// The missing KBs of one machine: one page of some dozen records of about 300 bytes each.
    pub(super) const MISSING_KBS: Self = Self {
        pages: 20,
        records: 20_000,
        page_bytes: 8 << 20,
        time: Duration::from_hours(2),
        full_page: None,
    };
}

/// The number of consecutive pages without a record that ends a list with records, even if another link
/// follows: a service that only adds the page size to its link would continue forever. For a list without
/// records it is an error, because accepting the list would mean "there is nothing".
const EMPTY_PAGES: u32 = 3;

/// The longest next link that is followed. Servers reject URLs of this length.
const LONGEST_LINK: usize = 16 << 10;

/// Decoding and identity of the records of a list.
#[derive(Debug)]
pub(super) struct RecordKind<T> {
    pub(super) decode: fn(Json<'_>) -> Result<T, RejectReason>,
    /// A digest of the id.
    pub(super) id: fn(&T) -> u64,
}

impl Client {
    /// Fetches all records, starting with the page at `first`.
    pub(super) async fn pages<T>(
        &self,
        endpoint: ApiOperation,
        first: Url,
        bounds: ListLimits,
        kind: RecordKind<T>,
    ) -> Result<Vec<T>, ApiError> {
        let all = self.follow(endpoint, first, bounds, kind);
        tokio::time::timeout(bounds.time, all).await.unwrap_or(Err(ApiError::Timeout { endpoint }))
    }

    async fn follow<T>(
        &self,
        endpoint: ApiOperation,
        first: Url,
        bounds: ListLimits,
        kind: RecordKind<T>,
    ) -> Result<Vec<T>, ApiError> {
        let mut list = PagedList::new(first.clone(), bounds, kind.id);
        let mut unusable = 0;
        let mut next = Some(first);
        while let Some(url) = next {
            let mut body = match self.get(endpoint, &url, bounds.page_bytes).await {
                Ok(body) => body,
                Err(error) if list.pages == 0 => return Err(error),
                Err(ApiError::NotFound { .. }) if list.is_skipping => break,
                Err(ApiError::BadRequest { detail, .. }) if list.is_skipping => {
                    tracing::warn!(tenant = self.metrics.name(), %endpoint, error = %detail, records = list.records.len(),
                        "API refuses to continue a full page without a next link; taking the list as complete");
                    break;
                }
                // Not found is the answer of an empty list, and only to the request for its first page.
                Err(ApiError::NotFound { detail, .. }) => {
                    let status = StatusCode::NOT_FOUND;
                    return Err(ApiError::UnexpectedStatus { endpoint, status, detail });
                }
                Err(error) => return Err(error),
            };
            let page = Page::decode(&mut body, kind.decode)
                .map_err(|source| ApiError::Decode { endpoint, source })?;
            drop(body);
            unusable += self.count_rejected(&page.rejected);
            let link = match page.next_link.as_deref() {
                Some(link) if link.len() > LONGEST_LINK => None,
                Some(link) => Some(self.trusted_link(endpoint, &url, link)?),
                None => None,
            };
            let is_linked = page.next_link.is_some();
            next = list
                .add(&url, page.records, page.rejected.len(), is_linked, link)
                .map_err(|EndlessList { pages }| ApiError::PageLimit { endpoint, pages })?;
        }
        if list.records.is_empty() && unusable > 0 {
            return Err(ApiError::Unusable { endpoint, records: unusable });
        }
        Ok(list.records)
    }

    /// Counts the rejected records. Returns the number of them that could have been records of the requested
    /// kind: an advisory among KBs is not one.
    fn count_rejected(&self, rejected: &[RejectReason]) -> u64 {
        for reject in rejected {
            self.metrics.record_rejected(*reject, 1);
        }
        rejected.iter().filter(|reject| **reject != RejectReason::BadKb).count() as u64
    }
}

/// The pages of a list that were read so far.
struct PagedList<T> {
    first: Url,
    bounds: ListLimits,
    id: fn(&T) -> u64,
    records: Vec<T>,
    /// Digests of the ids of all records.
    ids: HashSet<u64>,
    requested: HashSet<String>,
    /// The number of records that the pages with a new record held, usable or not: the `$skip` of the next
    /// page.
    length: usize,
    pages: u32,
    /// The number of pages without a usable record since the last one with such a record.
    empty: u32,
    /// The newest request was made with an own `$skip`.
    is_skipping: bool,
    /// A link led to records that were read before.
    links_lead_back: bool,
}

/// The pages of a list do not end.
struct EndlessList {
    pages: u32,
}

impl<T> PagedList<T> {
    fn new(first: Url, bounds: ListLimits, id: fn(&T) -> u64) -> Self {
        Self {
            first,
            bounds,
            id,
            records: Vec::new(),
            ids: HashSet::new(),
            requested: HashSet::new(),
            length: 0,
            pages: 0,
            empty: 0,
            is_skipping: false,
            links_lead_back: false,
        }
    }

    /// Adds the page at `url`, and returns the request for the next one. `link` is its next link, if it has a
    /// usable one.
    fn add(
        &mut self,
        url: &Url,
        records: Vec<T>,
        rejected: usize,
        is_linked: bool,
        link: Option<Url>,
    ) -> Result<Option<Url>, EndlessList> {
        self.pages += 1;
        self.requested.insert(url.to_string());
        let received = records.len() + rejected;
        self.empty = if records.is_empty() { self.empty + 1 } else { 0 };
        let mut news = 0;
        for record in &records {
            news += usize::from(self.ids.insert((self.id)(record)));
        }
        let next = if news == 0 && !records.is_empty() {
            self.links_lead_back = true;
            if self.is_skipping { None } else { self.skip() }
        } else {
            self.records.extend(records);
            self.length += received;
            let link = link
                .filter(|_| !self.links_lead_back || received == 0)
                .map(|link| with_options_of(&self.first, link))
                .filter(|link| !self.requested.contains(link.as_str()));
            let is_full = self.bounds.full_page.is_some_and(|full| received >= full);
            match link {
                Some(link) => {
                    self.is_skipping = false;
                    Some(link)
                }
                None if is_linked || is_full => self.skip(),
                None => None,
            }
        };
        let endless = EndlessList { pages: self.pages };
        match next {
            None => Ok(None),
            Some(_) if self.empty >= EMPTY_PAGES && !self.records.is_empty() => Ok(None),
            Some(_) if self.empty >= EMPTY_PAGES => Err(endless),
            Some(_) if self.pages >= self.bounds.pages || self.records.len() > self.bounds.records => {
                Err(endless)
            }
            next => Ok(next),
        }
    }

    /// The request for the records behind those that were read; none if the list does not accept it, or if it
    /// was made before.
    fn skip(&mut self) -> Option<Url> {
        self.bounds.full_page?;
        let url = behind(&self.first, self.length);
        self.is_skipping = self.length > 0 && !self.requested.contains(url.as_str());
        self.is_skipping.then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ListLimits = ListLimits { full_page: Some(3), pages: 20, ..ListLimits::LIST };

    /// A service: the ids of the page at a URL, and its next link.
    type PageAt = fn(&Url) -> (Vec<u64>, Option<String>);

    fn skip_of(url: &Url) -> usize {
        let skip = url.query_pairs().find(|(name, _)| name == "$skip");
        skip.map_or(0, |(_, value)| value.parse().unwrap())
    }

    /// The ids of the list, and the number of requests; an error if the list does not end.
    fn read(bounds: ListLimits, page_at: PageAt) -> Result<(Vec<u64>, u32), u32> {
        let first: Url = "https://api/list?a=b".parse().unwrap();
        let mut list = PagedList::new(first.clone(), bounds, |id: &u64| *id);
        let mut next = Some(first);
        while let Some(url) = next {
            assert_eq!(url.query_pairs().next().unwrap().1, "b", "the option stays: {url}");
            let (ids, link) = page_at(&url);
            let (is_linked, link) = (link.is_some(), link.map(|link| url.join(&link).unwrap()));
            next = list.add(&url, ids, 0, is_linked, link).map_err(|endless| endless.pages)?;
        }
        Ok((list.records, list.pages))
    }

    /// The page of the ids 0 to 7.
    fn page(url: &Url) -> Vec<u64> {
        (0..8).skip(skip_of(url)).take(3).collect()
    }

    #[test]
    fn links_of_any_form_are_followed_to_the_end() {
        let all: Vec<u64> = (0..8).collect();
        let services: [(PageAt, u32); 6] = [
            (|url| (page(url), (skip_of(url) < 6).then(|| format!("?a=b&$skip={}", skip_of(url) + 3))), 3),
            (|url| (page(url), (skip_of(url) < 6).then(|| format!("?=b&$skip={}", skip_of(url) + 3))), 3),
            // Links that stay on their page, lead to the first one, or to the first one in new words.
            (|url| (page(url), Some(url.to_string())), 4),
            (|url| (page(url), Some("?$skip=0".to_owned())), 5),
            (|url| (page(url), Some(format!("?$skip=0&nonce={}", skip_of(url)))), 6),
            // No link.
            (|url| (page(url), None), 3),
        ];
        for (number, (service, requests)) in services.into_iter().enumerate() {
            assert_eq!(read(BOUNDS, service), Ok((all.clone(), requests)), "service {number}");
        }
    }

    #[test]
    fn page_without_a_new_id_ends_the_list() {
        assert_eq!(read(BOUNDS, |_| (vec![1, 2, 3], None)), Ok((vec![1, 2, 3], 2)));
        assert_eq!(read(BOUNDS, |_| (vec![1], Some("?x".to_owned()))), Ok((vec![1], 3)));
        let without_skip = ListLimits { full_page: None, ..BOUNDS };
        assert_eq!(read(without_skip, |url| (vec![1], Some(url.to_string()))), Ok((vec![1], 1)));
        assert_eq!(read(without_skip, |_| (vec![1], Some("?x".to_owned()))), Ok((vec![1], 2)));
        assert_eq!(read(without_skip, |_| (vec![1, 2, 3], None)), Ok((vec![1, 2, 3], 1)));
    }

    #[test]
    fn empty_pages_are_passed_but_not_for_ever() {
        let late = |url: &Url| match skip_of(url) {
            skip @ 0..=1 => (vec![], Some(format!("?$skip={}", skip + 1))),
            _ => (vec![7], None),
        };
        assert_eq!(read(BOUNDS, late), Ok((vec![7], 3)));
        assert_eq!(read(BOUNDS, |url| (vec![], Some(format!("?$skip={}", skip_of(url) + 1)))), Err(3));
        assert_eq!(read(BOUNDS, |url| (vec![], Some(url.to_string()))), Ok((vec![], 1)));
    }
}
