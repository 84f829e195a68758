//! One release document in the facts file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::Fetched;
use super::text::{Text, unwrap, wrap};
use crate::facts::FixedBuild;
use crate::facts::msrc::{Document, DocumentCve, DocumentId, DocumentKb, ProductId};
use crate::model::{CveId, CvssScore, KbId, Restart, VendorSeverity};

#[derive(Serialize, Deserialize)]
pub(super) struct DocumentRecord {
    id: Text<DocumentId>,
    fetched_at: Text<Timestamp>,
    #[serde(default)]
    title: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial: Option<Text<Timestamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<Text<Timestamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
    #[serde(default)]
    cves: Vec<CveRecord>,
    #[serde(default)]
    kbs: Vec<KbRecord>,
}

#[derive(Serialize, Deserialize)]
struct CveRecord {
    cve: Text<CveId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Text<Timestamp>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exploited: bool,
    /// Files of the first releases lack the severity and the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    severity: Option<Text<VendorSeverity>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cvss: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct KbRecord {
    kb: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cves: Vec<Text<CveId>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exploited: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    severity: Option<Text<VendorSeverity>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cvss: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    supersedes: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    builds: Vec<BuildRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<Text<Restart>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hotpatch: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    servicing_stack: bool,
}

#[derive(Serialize, Deserialize)]
struct BuildRecord {
    build: Text<FixedBuild>,
    #[serde(default)]
    products: Vec<Text<ProductId>>,
}

impl From<&Fetched<Document>> for DocumentRecord {
    fn from(document: &Fetched<Document>) -> Self {
        let Fetched { at, data } = document;
        let cve = |(cve, facts): (&CveId, &DocumentCve)| CveRecord {
            cve: Text(*cve),
            published: facts.published.map(Text),
            exploited: facts.exploited,
            severity: facts.severity.map(Text),
            cvss: facts.cvss.map(score),
        };
        Self {
            id: Text(data.id.clone()),
            fetched_at: Text(*at),
            title: data.title.clone(),
            initial: data.initial.map(Text),
            current: data.current.map(Text),
            revision: data.revision,
            cves: data.cves.iter().map(cve).collect(),
            kbs: data.kbs.iter().map(KbRecord::from).collect(),
        }
    }
}

impl DocumentRecord {
    pub(super) fn document(self) -> Fetched<Document> {
        let cve = |record: CveRecord| {
            let facts = DocumentCve {
                published: record.published.map(|Text(time)| time),
                exploited: record.exploited,
                severity: record.severity.map(|Text(severity)| severity),
                cvss: record.cvss.and_then(CvssScore::new),
            };
            (record.cve.0, facts)
        };
        let data = Document {
            id: self.id.0,
            title: self.title,
            initial: self.initial.map(|Text(time)| time),
            current: self.current.map(|Text(time)| time),
            revision: self.revision,
            cves: self.cves.into_iter().map(cve).collect(),
            kbs: self.kbs.into_iter().filter_map(KbRecord::kb).collect(),
        };
        Fetched { at: self.fetched_at.0, data }
    }
}

impl From<(&KbId, &DocumentKb)> for KbRecord {
    fn from((id, kb): (&KbId, &DocumentKb)) -> Self {
        let build = |(build, products): (&FixedBuild, &Vec<ProductId>)| BuildRecord {
            build: Text(*build),
            products: wrap(products.iter().copied()),
        };
        Self {
            kb: id.number(),
            cves: wrap(kb.cves.iter().copied()),
            exploited: kb.is_exploited,
            severity: kb.severity.map(Text),
            cvss: kb.cvss.map(score),
            supersedes: kb.supersedes.iter().map(|superseded| superseded.number()).collect(),
            builds: kb.builds.iter().map(build).collect(),
            restart: kb.restart.map(Text),
            hotpatch: kb.is_hotpatch,
            servicing_stack: kb.is_servicing_stack,
        }
    }
}

impl KbRecord {
    fn kb(self) -> Option<(KbId, DocumentKb)> {
        let build = |record: BuildRecord| (record.build.0, unwrap(record.products));
        let kb = DocumentKb {
            cves: unwrap(self.cves),
            is_exploited: self.exploited,
            severity: self.severity.map(|Text(severity)| severity),
            cvss: self.cvss.and_then(CvssScore::new),
            supersedes: self.supersedes.into_iter().filter_map(KbId::new).collect(),
            builds: self.builds.into_iter().map(build).collect(),
            restart: self.restart.map(|Text(restart)| restart),
            is_hotpatch: self.hotpatch,
            is_servicing_stack: self.servicing_stack,
        };
        Some((KbId::new(self.kb)?, kb))
    }
}

/// A score as a number with a decimal.
fn score(score: CvssScore) -> f64 {
    f64::from(score.tenths()) / 10.0
}
