//! Requests to the sources of facts.
//!
//! URLs are built from the configuration, never from a reply. A body is parsed while it arrives, on a thread that may
//! block, and is never held in memory; the parsers bound its size. Redirects lead only to https on the hosts of the configured sources; a source
//! on a loopback address may redirect within itself.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::ParseError;
use super::error::SourceError;
use crate::config::{FactsConfig, FactsUrls};
use crate::http::{self, BodySender, HttpError, ProxyMode, TransportError};
use crate::model::FactsSource;

/// The number of redirects that one request follows.
const MAX_REDIRECTS: usize = 5;

/// The media types of the sources. Without them, the source of release documents answers in XML.
const MEDIA_TYPES: &str = "application/json, text/csv;q=0.9, */*;q=0.5";

/// Sends requests to the sources of facts.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    urls: FactsUrls,
    /// The hosts of all sources.
    hosts: Arc<BTreeSet<String>>,
}

impl Fetcher {
    /// Sets up connections with the settings of `config`. Blocks, because it may read a CA file.
    ///
    /// # Errors
    /// Fails if the connection settings cannot be used.
    pub fn new(config: &FactsConfig, route: ProxyMode) -> Result<Self, HttpError> {
        let client = http::client(&config.http, route)?;
        let urls = config.sources.clone();
        let hosts = FactsSource::ALL.into_iter().filter_map(|source| urls.of(source)?.host_str());
        let hosts = Arc::new(hosts.map(str::to_owned).collect());
        Ok(Self { client, urls, hosts })
    }

    /// Returns whether a source is on.
    #[must_use]
    pub fn has(&self, source: FactsSource) -> bool {
        self.urls.of(source).is_some()
    }

    /// Fetches what is at `path` below the URL of a source that is on, and parses it.
    ///
    /// # Errors
    /// Fails if the source cannot be reached, refuses the request, or sends something else.
    pub async fn get<T: Send + 'static>(
        &self,
        source: FactsSource,
        path: &[&str],
        parse: impl FnOnce(&mut dyn Read) -> Result<T, ParseError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let mut response = self.open(source, path).await?;
        let (sender, mut reader) = http::body();
        let parsing = tokio::task::spawn_blocking(move || parse(&mut reader));
        let received = transfer(&mut response, sender).await;
        let parsed = parsing.await.expect("Safe: parsers do not panic and the task is never aborted");
        match (received, parsed) {
            (Err(error), _) => Err(error),
            (Ok(()), Ok(parsed)) => Ok(parsed),
            (Ok(()), Err(error)) => Err(SourceError::Decode(error)),
        }
    }

    /// Requests what is at `path` below the URL of a source, and returns after the headers of the reply.
    ///
    /// # Errors
    /// Fails without a good reply.
    pub async fn open(&self, source: FactsSource, path: &[&str]) -> Result<Response, SourceError> {
        let base = self.urls.of(source).expect("Safe: callers ask only for sources that are on");
        let mut url = below(base, path);
        for _ in 0..=MAX_REDIRECTS {
            let request = self.client.get(url.clone()).header(ACCEPT, MEDIA_TYPES);
            let response = request.send().await.map_err(transport_failure)?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => url = self.target(base, &url, &response)?,
                status => return Err(SourceError::Status(status)),
            }
        }
        Err(SourceError::Redirect { to: "too many other places".to_owned() })
    }

    /// The target of a redirect, if it may be followed.
    fn target(&self, base: &Url, from: &Url, response: &Response) -> Result<Url, SourceError> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let target = location.and_then(|location| from.join(location).ok());
        let target = target.ok_or_else(|| SourceError::Redirect { to: "no URL".to_owned() })?;
        let host = target.host_str().unwrap_or_default();
        let is_known = target.scheme() == "https" && self.hosts.contains(host);
        let is_own = base.scheme() == "http" && target.origin() == base.origin();
        let is_plain = target.username().is_empty() && target.password().is_none();
        if (is_known || is_own) && is_plain {
            Ok(target)
        } else {
            Err(SourceError::Redirect { to: format!("{} on `{host}`", target.scheme()) })
        }
    }
}

/// The URL at `path` below `base`. Segments cannot leave the base, because they are escaped.
fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// Forwards the body. Returns `Ok` as well if the parser has stopped, because the parser reports the reason.
async fn transfer(response: &mut Response, sender: BodySender) -> Result<(), SourceError> {
    loop {
        let chunk = response.chunk().await.map_err(transport_failure)?.map(Vec::from);
        let is_end = chunk.is_none();
        if sender.send(chunk).await.is_err() || is_end {
            return Ok(());
        }
    }
}

fn transport_failure(error: reqwest::Error) -> SourceError {
    if error.is_timeout() { SourceError::Timeout } else { SourceError::Network(TransportError::of(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_stays_below_the_base() {
        for (base, path, expected) in [
            ("https://a.example/cvrf/v3.0", &["updates"][..], "https://a.example/cvrf/v3.0/updates"),
            ("https://a.example/", &["cvrf", "2026-Jun"], "https://a.example/cvrf/2026-Jun"),
            ("https://a.example/x/", &["windows"], "https://a.example/x/windows"),
            ("https://a.example/x.csv.gz", &[], "https://a.example/x.csv.gz"),
            ("https://a.example/x", &["a/../..", "?b#c"], "https://a.example/x/a%2F..%2F../%3Fb%23c"),
        ] {
            assert_eq!(below(&base.parse().unwrap(), path).as_str(), expected, "{base} {path:?}");
        }
    }
}
