//! The Windows releases of the simulated fleet, some of them past end of servicing.
//!
//! A release past end of servicing gets no updates: a machine that has installed all earlier ones misses nothing.

use jiff::civil::{Date, date};

use super::calendar::{Batch, Day};
use super::updates::{Update, UpdateLine};

/// A Windows release, or the part of it that gets updates for the same time. The values are those of the API.
#[derive(Debug)]
pub(super) struct WindowsRelease {
    pub(super) platform: &'static str,
    pub(super) version: &'static str,
    /// None for machines that report no build.
    pub(super) build: Option<u32>,
    /// The short name of the product in `productsNames`.
    pub(super) product: &'static str,
    /// None for a release that gets no updates.
    line: Option<u64>,
    /// The last day of servicing; no update is released after it. None if it is far away.
    serviced_until: Option<Date>,
}

const WINDOWS_11_24H2: WindowsRelease = WindowsRelease::client("Windows11", "24H2", 26100, 2);
const WINDOWS_11_25H2: WindowsRelease = WindowsRelease::client("Windows11", "25H2", 26200, 2);
const WINDOWS_10_22H2: WindowsRelease = WindowsRelease::client("Windows10", "22H2", 19045, 0);

/// The releases of clients. Windows 10 has Extended Security Updates.
pub(super) const CLIENTS: [WindowsRelease; 3] = [WINDOWS_11_24H2, WINDOWS_10_22H2, WINDOWS_11_25H2];

/// Windows 11 23H2, of the edition with the longer servicing.
const WINDOWS_11_23H2: WindowsRelease = WindowsRelease {
    serviced_until: Some(date(2026, 11, 10)),
    ..WindowsRelease::client("Windows11", "23H2", 22631, 1)
};

/// Windows 10 without Extended Security Updates.
const WINDOWS_10_NOT_EXTENDED: WindowsRelease =
    WindowsRelease { serviced_until: Some(date(2025, 10, 14)), ..WINDOWS_10_22H2 };

/// A server without Extended Security Updates, which gets no updates.
const WINDOWS_SERVER_2012_R2: WindowsRelease = WindowsRelease {
    line: None,
    ..WindowsRelease::server("WindowsServer2012R2", "6.3", 9600, "windows_server_2012_r2", 0)
};

/// A preview build, which gets new builds and no updates.
const WINDOWS_11_PREVIEW: WindowsRelease =
    WindowsRelease { line: None, ..WindowsRelease::client("Windows11", "Other", 27965, 0) };

/// A release of which the machine reports no build.
const WINDOWS_11_WITHOUT_BUILD: WindowsRelease = WindowsRelease { build: None, ..WINDOWS_11_24H2 };

pub(super) const SERVERS: [WindowsRelease; 4] = [
    WindowsRelease::server("WindowsServer2022", "21H2", 20348, "windows_server_2022", 5),
    WindowsRelease::server("WindowsServer2019", "1809", 17763, "windows_server_2019", 4),
    WindowsRelease::server("WindowsServer2016", "1607", 14393, "windows_server_2016", 3),
    WindowsRelease::server("WindowsServer2025", "24H2", 26100, "windows_server_2025", 2),
];

impl WindowsRelease {
    const fn client(platform: &'static str, version: &'static str, build: u32, line: u64) -> Self {
        let product = if line == 0 { "windows_10" } else { "windows_11" };
        Self { platform, version, build: Some(build), product, line: Some(line), serviced_until: None }
    }

    const fn server(
        platform: &'static str,
        version: &'static str,
        build: u32,
        product: &'static str,
        line: u64,
    ) -> Self {
        Self { platform, version, build: Some(build), product, line: Some(line), serviced_until: None }
    }

    /// The line of the cumulative updates, and the line of the .NET updates; none without updates.
    pub(super) fn lines(&self) -> impl Iterator<Item = UpdateLine> + Clone {
        let lines = |system| [UpdateLine::of_system(system), UpdateLine::of_dot_net(system)];
        self.line.map(lines).into_iter().flatten()
    }

    /// The release of a machine of a realistic fleet, instead of the ordinary one. Some are past end of servicing.
    pub(super) fn of_realistic(index: usize, site: &str, ordinary: &'static Self) -> &'static Self {
        match index {
            6 => &WINDOWS_10_NOT_EXTENDED,
            9 => &WINDOWS_SERVER_2012_R2,
            10 => &CLIENTS[1],
            // The second machine reports its build as a text.
            12 | 23 => &WINDOWS_11_23H2,
            16 => &WINDOWS_11_PREVIEW,
            18 => &WINDOWS_11_WITHOUT_BUILD,
            // These sites are renewed late.
            _ if matches!(site, "branch" | "floor") && ordinary.version == "25H2" => &WINDOWS_11_23H2,
            _ => ordinary,
        }
    }

    /// Returns whether it is Windows 10 with Extended Security Updates.
    pub(super) fn has_extended_updates(&self) -> bool {
        self.platform == "Windows10" && self.serviced_until.is_none()
    }

    /// The short name of the product of an update on a machine with this release.
    pub(super) fn product_of(&self, update: Update) -> &'static str {
        if update.is_dot_net() { ".net_framework" } else { self.product }
    }

    /// The version in the bulk export.
    pub(super) fn exported_version(&self, revision: u64) -> String {
        match self.build {
            Some(build) if self.product == "windows_server_2012_r2" => format!("6.3.{build}.{revision}"),
            Some(build) => format!("10.0.{build}.{revision}"),
            None => "10.0".to_owned(),
        }
    }

    /// Returns whether updates of this batch are released for it.
    pub(super) fn is_serviced_in(&self, batch: Batch) -> bool {
        self.serviced_until.is_none_or(|last| batch.released() <= Day::of(last))
    }
}
