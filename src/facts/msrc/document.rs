//! Release documents, reduced to facts about KBs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DocumentId, ProductId};
use crate::model::{CveId, CvssScore, FixedBuild, KbId, Restart, VendorSeverity};

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
    /// Microsoft's own rating, the worst of the products with a fix.
    pub severity: Option<VendorSeverity>,
    /// The CVSS base score, the highest of the products with a fix.
    pub cvss: Option<CvssScore>,
}

/// One KB in a release document: the worst over the CVEs that it fixes, each for the products of the KB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentKb {
    /// The CVEs that it fixes, sorted.
    pub cves: Vec<CveId>,
    /// Microsoft's own rating.
    pub severity: Option<VendorSeverity>,
    /// True if Microsoft reports exploitation of one of them, or of an advisory without a CVE.
    pub is_exploited: bool,
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
