//! Release documents, reduced to facts about KBs.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::DocumentId;
use crate::facts::FixedBuild;
use crate::model::{CveId, CvssScore, KbId, Restart, VendorSeverity};

/// The facts of one release document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Its title, such as `June 2026 Security Updates`.
    pub title: Box<str>,
    /// The time of the release of the updates; none before the release day.
    pub initial: Option<Timestamp>,
    /// The time of the last change.
    pub current: Option<Timestamp>,
    /// The number of the newest revision.
    pub revision: Option<u32>,
    /// The CVEs that its KBs fix.
    pub cves: BTreeMap<CveId, DocumentCve>,
    /// The KBs that it lists.
    pub kbs: BTreeMap<KbId, DocumentKb>,
}

/// One CVE in a release document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentCve {
    /// The time of the first publication.
    pub published: Option<Timestamp>,
    /// True if Microsoft reports exploitation.
    pub exploited: bool,
}

/// One KB in a release document: the worst over the CVEs that it fixes, each for the products of the KB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentKb {
    /// The CVEs that it fixes, sorted.
    pub cves: Vec<CveId>,
    /// Microsoft's own rating.
    pub severity: Option<VendorSeverity>,
    /// The highest CVSS base score.
    pub cvss: Option<CvssScore>,
    /// The KBs that it supersedes, sorted, without itself.
    pub supersedes: Vec<KbId>,
    /// The Windows builds that have it, with the products of each.
    pub builds: BTreeMap<FixedBuild, Vec<ProductId>>,
    /// The demand for a restart; of several, the strongest.
    pub restart: Option<Restart>,
    /// True for a hotpatch.
    pub is_hotpatch: bool,
    /// True for a servicing stack update.
    pub is_servicing_stack: bool,
}

/// The id of a product in release documents, such as `11568` or `21344-17084`: at most 15 bytes of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductId {
    length: u8,
    bytes: [u8; 15],
}

impl ProductId {
    /// The id, or none if it is empty, too long, or not printable ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut bytes = [0; 15];
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        bytes.get_mut(..text.len()).filter(|_| fits)?.copy_from_slice(text.as_bytes());
        Some(Self { length: u8::try_from(text.len()).ok()?, bytes })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
