//! The ends of servicing by Windows build.

use std::collections::BTreeMap;

use super::servicing::ServicingEnd;
use crate::model::ServicingEdition;

/// The servicing of every known Windows version, for lookups by platform and build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicingTable {
    clients: BTreeMap<u32, VersionServicing>,
    servers: BTreeMap<u32, VersionServicing>,
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
        let mut table = Self::default();
        for ((is_server, build), version) in versions {
            let versions = if is_server { &mut table.servers } else { &mut table.clients };
            versions.insert(build, version);
        }
        table
    }

    /// The servicing of the version with this `osPlatform` and `osBuild`; none if it is not known. Windows and Windows
    /// Server share builds, so the platform decides.
    #[must_use]
    pub fn version(&self, os_platform: &str, build: u32) -> Option<&VersionServicing> {
        let versions = if is_server(os_platform) { &self.servers } else { &self.clients };
        versions.get(&build)
    }
}

/// Returns whether this `osPlatform` is a Windows Server.
#[must_use]
pub fn is_server(os_platform: &str) -> bool {
    let start = os_platform.as_bytes().get(..13);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"windowsserver"))
}
