//! The ends of servicing by Windows build.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;

use super::file::{FactsFile, Fetched};
use super::servicing::{ServicedProduct, Servicing, ServicingEnd};
use crate::model::{ServicingEdition, end_of_day};

/// The table that is built in: a facts file with nothing else, made on the day on which the table was taken.
const BUILT_IN: &str = include_str!("servicing_table/built_in.json");

static BUILT_IN_FILE: LazyLock<FactsFile> = LazyLock::new(|| {
    FactsFile::read(BUILT_IN.as_bytes()).expect("Safe: the text is constant, and a test reads it")
});

static BUILT_IN_TABLE: LazyLock<ServicingTable> =
    LazyLock::new(|| ServicingTable::of_products(|product| versions_of_file(&BUILT_IN_FILE, product)));

/// The versions of one product by build.
type VersionsByBuild = BTreeMap<u32, VersionServicing>;

/// The servicing of every known Windows version, for lookups by platform and build. The default is the table that is
/// built in.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicingTable {
    clients: VersionsByBuild,
    servers: VersionsByBuild,
}

impl Default for ServicingTable {
    fn default() -> Self {
        BUILT_IN_TABLE.clone()
    }
}

/// The ends of servicing of one Windows version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionServicing {
    /// The end for each edition; a server version has the edition `Server` alone. None if the end is not known.
    pub editions: BTreeMap<ServicingEdition, Option<ServicingEnd>>,
    /// The end of Extended Security Updates; none if there are none.
    pub extended: Option<ServicingEnd>,
}

impl ServicingTable {
    /// A table of versions: true for a server, and the build.
    #[must_use]
    pub fn new(versions: impl IntoIterator<Item = ((bool, u32), VersionServicing)>) -> Self {
        let mut table = Self { clients: VersionsByBuild::new(), servers: VersionsByBuild::new() };
        for ((is_server, build), version) in versions {
            let versions = if is_server { &mut table.servers } else { &mut table.clients };
            versions.insert(build, version);
        }
        table
    }

    /// The table of a facts file and the one that is built in. For each product, the newer of the two counts; builds,
    /// editions and days that it lacks are taken from the other one.
    pub(super) fn newest(file: &FactsFile) -> Self {
        Self::of_products(|product| {
            let built_in = versions_of_file(&BUILT_IN_FILE, product);
            let Some(fetched) = file.servicing.get(&product) else { return built_in };
            let of_file = versions(product, &fetched.data);
            let (mut known, newer, newer_at) = if is_newer_than_built_in(fetched) {
                (built_in, of_file, fetched.at)
            } else {
                (of_file, built_in, BUILT_IN_FILE.made_at)
            };
            for (build, version) in newer {
                let known: &mut VersionServicing = known.entry(build).or_default();
                for (edition, end) in version.editions {
                    let known = known.editions.entry(edition).or_default();
                    *known = newer_end(*known, end, newer_at);
                }
                known.extended = newer_end(known.extended, version.extended, newer_at);
            }
            known
        })
    }

    fn of_products(versions: impl Fn(ServicedProduct) -> VersionsByBuild) -> Self {
        Self {
            clients: versions(ServicedProduct::Windows),
            servers: versions(ServicedProduct::WindowsServer),
        }
    }

    /// The servicing of the version with this `osPlatform` and `osBuild`; none if it is not known. Windows and Windows
    /// Server share builds, so the platform decides.
    #[must_use]
    pub fn version(&self, os_platform: &str, build: u32) -> Option<&VersionServicing> {
        if os_platform.trim().is_empty() {
            return None;
        }
        let versions = if is_server(os_platform) { &self.servers } else { &self.clients };
        versions.get(&build)
    }
}

/// The end in the newer of two documents, fetched at `newer_at`. The older one counts where the newer one has no end, or
/// says without a day that an end has passed whose day the older one has.
fn newer_end(
    older: Option<ServicingEnd>,
    newer: Option<ServicingEnd>,
    newer_at: Timestamp,
) -> Option<ServicingEnd> {
    match (older, newer) {
        (_, None) => older,
        (Some(ServicingEnd::On(day)), Some(ServicingEnd::Passed(true))) if end_of_day(day) <= newer_at => {
            older
        }
        (_, Some(_)) => newer,
    }
}

/// Returns whether a document is as new as the day on which the built-in table was taken.
fn is_newer_than_built_in(fetched: &Fetched<Servicing>) -> bool {
    let at: Timestamp = fetched.data.modified.unwrap_or(fetched.at);
    at >= BUILT_IN_FILE.made_at
}

fn versions_of_file(file: &FactsFile, product: ServicedProduct) -> VersionsByBuild {
    file.servicing.get(&product).map(|fetched| versions(product, &fetched.data)).unwrap_or_default()
}

/// The versions out of the releases of a product. A release without a build, or for an edition that is not known, gives
/// none. Of several releases for one edition of a build, the later end counts.
fn versions(product: ServicedProduct, servicing: &Servicing) -> VersionsByBuild {
    let mut versions = VersionsByBuild::new();
    for release in &servicing.releases {
        let Some(build) = release.build else { continue };
        let editions = match product {
            ServicedProduct::Windows => release.client_editions(),
            ServicedProduct::WindowsServer => &[ServicingEdition::Server],
        };
        for edition in editions {
            let version: &mut VersionServicing = versions.entry(build).or_default();
            let end = version.editions.entry(*edition).or_insert(release.end);
            // An end that is not known may be later than any other.
            *end = end.zip(release.end).map(|(one, other)| one.later(other));
            version.extended = match (version.extended, release.extended_end) {
                (Some(one), Some(other)) => Some(one.later(other)),
                (one, other) => one.or(other),
            };
        }
    }
    versions
}

/// Returns whether this `osPlatform` is a Windows Server.
#[must_use]
pub fn is_server(os_platform: &str) -> bool {
    let start = os_platform.as_bytes().get(..13);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"windowsserver"))
}

#[cfg(test)]
mod tests;
