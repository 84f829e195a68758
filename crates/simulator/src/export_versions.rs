//! The versions of the export, and the links to their files.
//!
//! A link is a shared access signature, as in Azure Blob: it allows anyone to read one file until it expires.
//! The signature covers every part of the link that matters here, so that a changed link is rejected.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::Uri;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::Day;
use crate::odata::query_pairs;
use crate::options::{Options, Realism};
use crate::random::{guid, mix};
use crate::secrets::{LINK_CANARY, TENANT_ID};

/// Number of versions whose files can be read.
const MAX_VERSIONS: usize = 2;

/// A version of the export: the fleet at one time.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedExport {
    number: u64,
    created: Timestamp,
    pub(super) day: Day,
    /// The generation time in the list: the time of creation, unless a test set it.
    pub(crate) generated: Timestamp,
}

/// The contents of a file of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// One of the files that the machines are spread over.
    Rows(usize),
    /// Zero bytes, not even an empty gzip stream.
    Empty,
}

/// The reason for rejecting a link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkError {
    /// The link has no readable signature.
    Malformed,
    Forged,
    Expired {
        /// The start time, as written in the link.
        start: String,
        expiry: String,
    },
    /// No version that is kept has this file.
    Unknown,
}

/// The kept versions, newest last.
#[derive(Debug)]
pub(crate) struct ExportHistory {
    versions: VecDeque<SimulatedExport>,
    created: u64,
    rebuild: bool,
    /// The current epoch; links of an earlier epoch have expired.
    epoch: u64,
    every: Duration,
    files: usize,
    has_empty_file: bool,
}

impl ExportHistory {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            versions: VecDeque::new(),
            created: 0,
            rebuild: false,
            epoch: 0,
            every: options.export_every,
            files: options.export_files.max(1),
            has_empty_file: options.realism == Realism::Realistic,
        }
    }

    /// The number of files that the machines are spread over.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// The version that a list shows at `now`; created if the newest one is too old.
    pub(super) fn listed(&mut self, now: Timestamp, today: Day) -> SimulatedExport {
        let every = SignedDuration::try_from(self.every).unwrap_or(SignedDuration::MAX);
        let is_old = self.versions.back().is_none_or(|newest| now.duration_since(newest.created) >= every);
        if is_old || std::mem::take(&mut self.rebuild) {
            self.rebuild = false;
            self.create(now, today);
        }
        self.newest(now, today).clone()
    }

    /// The newest version; created if there is none.
    pub(crate) fn newest(&mut self, now: Timestamp, today: Day) -> &mut SimulatedExport {
        if self.versions.is_empty() {
            self.create(now, today);
        }
        self.versions.back_mut().expect("Safe: a version was created if there was none")
    }

    fn create(&mut self, now: Timestamp, day: Day) {
        // The API's generation times have no fraction.
        let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.created += 1;
        self.versions.push_back(SimulatedExport { number: self.created, created, day, generated: created });
        if self.versions.len() > MAX_VERSIONS {
            self.versions.pop_front();
        }
    }

    pub(crate) fn rebuild(&mut self) {
        self.rebuild = true;
    }

    pub(crate) fn expire_links(&mut self) {
        self.epoch += 1;
    }

    /// The paths and queries of all links to a version, in the order of the list.
    pub(super) fn links(
        &self,
        version: &SimulatedExport,
        now: Timestamp,
        valid: SignedDuration,
    ) -> Vec<String> {
        let expiry = now.saturating_add(valid).unwrap_or(Timestamp::MAX);
        let [start, expiry] = [now, expiry].map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let link = |kind| {
            let path = version.path(kind, self.files);
            let signature = signature(self.epoch, &path, &start, &expiry);
            let [start, expiry] = [&start, &expiry].map(|time| time.replace(':', "%3A"));
            format!("{path}?sv=2019-12-12&st={start}&se={expiry}&sr=b&sp=r&sig={signature}%3D")
        };
        self.kinds().map(link).collect()
    }

    /// The files in the order of the list. The empty file is neither the first nor the last.
    fn kinds(&self) -> impl Iterator<Item = FileKind> {
        let empty = self.has_empty_file.then_some(FileKind::Empty);
        std::iter::once(FileKind::Rows(0)).chain(empty).chain((1..self.files).map(FileKind::Rows))
    }

    /// Verifies a link and returns the file that it names.
    pub(super) fn open(&self, uri: &Uri, now: Timestamp) -> Result<(SimulatedExport, FileKind), LinkError> {
        let pairs = query_pairs(uri);
        let field = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
                .ok_or(LinkError::Malformed)
        };
        let start = field("st")?;
        let expiry = field("se")?;
        let sent = field("sig")?;
        let until: Timestamp = expiry.parse().map_err(|_| LinkError::Malformed)?;
        let is_of_epoch = |epoch| format!("{}=", signature(epoch, uri.path(), start, expiry)) == sent;
        let epoch = (0..=self.epoch).find(|&epoch| is_of_epoch(epoch)).ok_or(LinkError::Forged)?;
        if epoch < self.epoch || now >= until {
            return Err(LinkError::Expired { start: start.to_owned(), expiry: expiry.to_owned() });
        }
        for version in &self.versions {
            let kind = self.kinds().find(|&kind| version.path(kind, self.files) == uri.path());
            if let Some(kind) = kind {
                return Ok((version.clone(), kind));
            }
        }
        Err(LinkError::Unknown)
    }
}

impl SimulatedExport {
    fn path(&self, kind: FileKind, files: usize) -> String {
        let number = match kind {
            FileKind::Rows(file) => file,
            FileKind::Empty => files,
        };
        let folder = self.created.strftime("%Y-%m-%d/%H%M");
        let guid = guid(self.number, 101);
        format!("/tvm-export/{folder}/VaExport/json/OrgId={TENANT_ID}/part-{number:05}-{guid}.c000.json.gz")
    }
}

fn signature(epoch: u64, path: &str, start: &str, expiry: &str) -> String {
    let bytes = [path, start, expiry].into_iter().flat_map(|field| field.bytes().chain([0]));
    let hash = bytes.fold(mix(41, epoch, 0), |hash, byte| mix(41, hash, u64::from(byte)));
    format!("{LINK_CANARY}{hash:016x}")
}
