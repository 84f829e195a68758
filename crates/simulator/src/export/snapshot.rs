//! Snapshots of the export, and the links to their files.
//!
//! A link is a shared access signature as Azure Blob has it: who holds it may read one file until a time. The
//! signature is over everything in the link that matters here, so a changed link is refused.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::Uri;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::Day;
use crate::odata::query_pairs;
use crate::random::{guid, mix};
use crate::{Awkwardness, Options, TENANT_ID};

/// Easy to find where it must not be: every link's signature begins with it.
pub(crate) const LINK_CANARY: &str = "SIMULATED~link-signature.canary_7kQ2";

/// Snapshots whose files can still be read.
const KEPT: usize = 2;

/// The fleet as the export knew it at one time.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    number: u64,
    made: Timestamp,
    pub(super) day: Day,
    /// What the list says; made then, unless it was set.
    pub(crate) generated: Timestamp,
}

/// A file of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// One of those that the machines are spread over.
    Rows(usize),
    /// Nothing at all, not even an empty gzip stream.
    Empty,
}

/// Why a link opens nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkRefused {
    /// It holds no signature that can be read.
    Malformed,
    Forged,
    Expired {
        /// As the link says it.
        start: String,
        expiry: String,
    },
    /// No snapshot that is still kept has this file.
    Unknown,
}

/// The snapshots there are, newest last.
#[derive(Debug)]
pub(crate) struct Exports {
    snapshots: VecDeque<Snapshot>,
    made: u64,
    rebuild: bool,
    /// Links of an earlier epoch have expired.
    epoch: u64,
    every: Duration,
    files: usize,
    has_empty_file: bool,
}

impl Exports {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            snapshots: VecDeque::new(),
            made: 0,
            rebuild: false,
            epoch: 0,
            every: options.export_every,
            files: options.export_files.max(1),
            has_empty_file: options.awkwardness == Awkwardness::Real,
        }
    }

    /// How many files the machines are spread over.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// The snapshot that a list asked for now shows.
    pub(super) fn listed(&mut self, now: Timestamp, today: Day) -> Snapshot {
        let every = SignedDuration::try_from(self.every).unwrap_or(SignedDuration::MAX);
        let old = self.snapshots.back().is_none_or(|newest| now.duration_since(newest.made) >= every);
        if old || std::mem::take(&mut self.rebuild) {
            self.rebuild = false;
            self.make(now, today);
        }
        self.newest(now, today).clone()
    }

    /// The newest snapshot; the first is made when there is none.
    pub(crate) fn newest(&mut self, now: Timestamp, today: Day) -> &mut Snapshot {
        if self.snapshots.is_empty() {
            self.make(now, today);
        }
        self.snapshots.back_mut().expect("Safe: one was made when there was none")
    }

    fn make(&mut self, now: Timestamp, day: Day) {
        // The API's times of generation have no fraction.
        let made = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.made += 1;
        self.snapshots.push_back(Snapshot { number: self.made, made, day, generated: made });
        if self.snapshots.len() > KEPT {
            self.snapshots.pop_front();
        }
    }

    pub(crate) fn rebuild(&mut self) {
        self.rebuild = true;
    }

    pub(crate) fn expire_links(&mut self) {
        self.epoch += 1;
    }

    /// Path and query of all links to a snapshot, in the order of the list.
    pub(super) fn links(&self, snapshot: &Snapshot, now: Timestamp, valid: SignedDuration) -> Vec<String> {
        let expiry = now.saturating_add(valid).unwrap_or(Timestamp::MAX);
        let [start, expiry] = [now, expiry].map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let link = |part| {
            let path = snapshot.path(part, self.files);
            let signature = signature(self.epoch, &path, &start, &expiry);
            let [start, expiry] = [&start, &expiry].map(|time| time.replace(':', "%3A"));
            format!("{path}?sv=2019-12-12&st={start}&se={expiry}&sr=b&sp=r&sig={signature}%3D")
        };
        self.parts().map(link).collect()
    }

    /// The empty file is neither the first nor the last.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let empty = self.has_empty_file.then_some(Part::Empty);
        std::iter::once(Part::Rows(0)).chain(empty).chain((1..self.files).map(Part::Rows))
    }

    /// What a link leads to.
    pub(super) fn open(&self, uri: &Uri, now: Timestamp) -> Result<(Snapshot, Part), LinkRefused> {
        let pairs = query_pairs(uri);
        let field = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
                .ok_or(LinkRefused::Malformed)
        };
        let (start, expiry, given) = (field("st")?, field("se")?, field("sig")?);
        let until: Timestamp = expiry.parse().map_err(|_| LinkRefused::Malformed)?;
        let of_epoch = |epoch| format!("{}=", signature(epoch, uri.path(), start, expiry)) == given;
        let epoch = (0..=self.epoch).find(|&epoch| of_epoch(epoch)).ok_or(LinkRefused::Forged)?;
        if epoch < self.epoch || now >= until {
            return Err(LinkRefused::Expired { start: start.to_owned(), expiry: expiry.to_owned() });
        }
        for snapshot in &self.snapshots {
            let part = self.parts().find(|&part| snapshot.path(part, self.files) == uri.path());
            if let Some(part) = part {
                return Ok((snapshot.clone(), part));
            }
        }
        Err(LinkRefused::Unknown)
    }
}

impl Snapshot {
    fn path(&self, part: Part, files: usize) -> String {
        let number = match part {
            Part::Rows(file) => file,
            Part::Empty => files,
        };
        let folder = self.made.strftime("%Y-%m-%d/%H%M");
        let guid = guid(self.number, 101);
        format!("/tvm-export/{folder}/VaExport/json/OrgId={TENANT_ID}/part-{number:05}-{guid}.c000.json.gz")
    }
}

fn signature(epoch: u64, path: &str, start: &str, expiry: &str) -> String {
    let bytes = [path, start, expiry].into_iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(mix(41, epoch, 0), |hash, byte| mix(41, hash, u64::from(byte)));
    format!("{LINK_CANARY}{hash:016x}")
}
