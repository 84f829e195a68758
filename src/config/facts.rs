//! The section `facts`: sources of facts about KBs other than Defender.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::problem::InputPlace;
use super::reader::{MapReader, ValueReader};
use super::values::{is_https_or_loopback, path, source_url};
use super::{Http, auth, http};
use crate::model::FactsSource;

/// The word that turns something off.
const OFF: &str = "off";

/// The name of the facts file in the folder of the state file.
pub(super) const DEFAULT_FILE: &str = "facts.json.gz";

/// Facts about KBs from sources other than Defender.
#[derive(Clone, Debug, PartialEq)]
pub struct FactsConfig {
    /// The facts file. Default: `facts.json.gz` in the folder of the state file.
    pub file: Option<PathBuf>,
    /// The interval at which the exporter makes the file itself; none if something else brings it. Default: 24h.
    pub update: Option<Duration>,
    /// The number of months of release documents that a new file has. Default: 24.
    pub months: NonZeroU32,
    /// The URLs of the sources.
    pub sources: FactsUrls,
    /// Connection settings for all sources.
    pub http: Http,
}

/// The URL of each source of facts; none for a source that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsUrls {
    /// The base of the index and the release documents, without a slash at its end.
    pub msrc: Option<Url>,
    /// The catalogue of known exploited vulnerabilities.
    pub kev: Option<Url>,
    /// The file with the EPSS scores.
    pub epss: Option<Url>,
    /// The base of the products with their dates of end of servicing, without a slash at its end.
    pub servicing: Option<Url>,
}

impl Default for FactsConfig {
    fn default() -> Self {
        Self {
            file: None,
            update: Some(Duration::from_hours(24)),
            months: NonZeroU32::new(24).expect("Safe: 24 is not zero"),
            sources: FactsUrls::default(),
            http: Http::default(),
        }
    }
}

impl Default for FactsUrls {
    fn default() -> Self {
        let url = |text| Some(Url::parse(text).expect("Safe: a test parses the URL of every source"));
        Self {
            msrc: url("https://api.msrc.microsoft.com/cvrf/v3.0"),
            kev: url(
                "https://raw.githubusercontent.com/cisagov/kev-data/develop/known_exploited_vulnerabilities.json",
            ),
            epss: url("https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"),
            servicing: url("https://endoflife.date/api/v1/products"),
        }
    }
}

impl FactsConfig {
    /// Says which of the `needed` sources are off in the section `facts`; none if none is.
    pub(super) fn left_out(facts: Option<&Self>, needed: impl Fn(&FactsSource) -> bool) -> Option<String> {
        let is_off = |source: &FactsSource| facts.is_none_or(|facts| facts.sources.of(*source).is_none());
        let off = FactsSource::ALL.into_iter().filter(is_off).filter(needed);
        let off: Vec<_> = off.map(FactsSource::as_str).collect();
        let place = if facts.is_none() { "facts: off" } else { "facts.sources" };
        (!off.is_empty()).then(|| format!("needs facts of {}, which {place} leaves out", off.join(" and ")))
    }

    /// The facts file, by default in the folder `storage` of the state file.
    #[must_use]
    pub fn file_in(&self, storage: &Path) -> PathBuf {
        self.file.clone().unwrap_or_else(|| storage.join(DEFAULT_FILE))
    }
}

impl FactsUrls {
    /// The URL of a source; none if the source is off.
    #[must_use]
    pub fn of(&self, source: FactsSource) -> Option<&Url> {
        match source {
            FactsSource::Msrc => self.msrc.as_ref(),
            FactsSource::Kev => self.kev.as_ref(),
            FactsSource::Epss => self.epss.as_ref(),
            FactsSource::Servicing => self.servicing.as_ref(),
        }
    }
}

/// Reads the section. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "off is an answer, and so is a wrong value")]
pub(super) fn read(field: &ValueReader<'_>, folder: &Path) -> Option<Option<FactsConfig>> {
    if field.is_scalar() {
        return field.text(off).map(|()| None);
    }
    let section = field.section()?;
    let default = FactsConfig::default();
    let update_allowed = "a duration from 1m to 365d, such as 24h, or off is allowed";
    let update = section.optional_or("update", update_allowed, default.update, |field| {
        if field.is_text(OFF) {
            return Some(None);
        }
        field.duration(Duration::from_mins(1)..=Duration::from_hours(365 * 24)).map(Some)
    });
    let file = file(&section, folder, update.flatten().is_none());
    let months = section.optional_or("months", "a whole number from 1 is allowed", default.months, |field| {
        field.number(|text| text.parse().ok())
    });
    let mapping = "a mapping is allowed";
    let sources = section.optional_or("sources", mapping, default.sources, sources);
    let http = section.optional_or("http", mapping, default.http, |field| http::read(field, folder));
    section.finish();
    Some(Some(FactsConfig { file: file?, update: update?, months: months?, sources: sources?, http: http? }))
}

/// Reads `file`. If something else brings the file, it is an input of the exporter. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "the default is an answer, and so is a wrong value")]
fn file(section: &MapReader<'_>, folder: &Path, is_input: bool) -> Option<Option<PathBuf>> {
    let Some(field) = section.optional("file", "the path of a file is allowed") else {
        if is_input {
            section.names_input("file", InputPlace::StorageFile(DEFAULT_FILE));
        }
        return Some(None);
    };
    if is_input { auth::file(&field, folder).map(Some) } else { path(&field, folder).map(Some) }
}

fn sources(field: &ValueReader<'_>) -> Option<FactsUrls> {
    let section = field.section()?;
    let default = FactsUrls::default();
    let url = |key, default| {
        let allowed =
            "an https URL, or an http URL of a loopback address, without query and user, or off is allowed";
        section.optional_or(key, allowed, default, |field| {
            field.text(|text| match text {
                OFF => Ok(None),
                text => source_url(text, is_https_or_loopback).map(Some),
            })
        })
    };
    let without_end = |url: Option<Option<Url>>| url.map(|url| url.map(without_slash));
    let msrc = without_end(url("msrc", default.msrc));
    let kev = url("kev", default.kev);
    let epss = url("epss", default.epss);
    let servicing = without_end(url("servicing", default.servicing));
    section.finish();
    Some(FactsUrls { msrc: msrc?, kev: kev?, epss: epss?, servicing: servicing? })
}

/// The URL of a base without the slashes at its end.
fn without_slash(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}

fn off(text: &str) -> Result<(), &'static str> {
    if text == OFF { Ok(()) } else { Err("is neither off nor a mapping") }
}
