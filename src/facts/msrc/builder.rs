//! Facts by KB, collected over the vulnerabilities of a document.

use std::collections::BTreeMap;

use serde::de::{Error, MapAccess, SeqAccess};

use super::vulnerability::{Remediation, Vulnerability};
use super::{DocumentCve, DocumentKb, words};
use crate::facts::lenient::{Lenient, Shape};
use crate::model::{CveId, KbId};

/// The largest numbers of KBs and of CVEs that a document may have. A month has about 100 and 1,000.
const MAX_KBS: usize = 10_000;
const MAX_CVES: usize = 50_000;

/// The facts of the vulnerabilities read so far. It is read from the list of vulnerabilities, one at a time.
#[derive(Default)]
pub(super) struct DocumentBuilder {
    cves: BTreeMap<CveId, DocumentCve>,
    kbs: BTreeMap<KbId, DocumentKb>,
}

impl Shape for DocumentBuilder {
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut this = Self::default();
        while let Some(Lenient(vulnerability)) = list.next_element()? {
            this.add(&vulnerability);
            if this.kbs.len() > MAX_KBS || this.cves.len() > MAX_CVES {
                return Err(A::Error::custom("the document has too many KBs or CVEs"));
            }
        }
        Ok(this)
    }

    fn of_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        let mut this = Self::default();
        this.add(&Vulnerability::of_object(object)?);
        Ok(this)
    }
}

impl DocumentBuilder {
    /// The CVEs and the KBs.
    pub(super) fn finish(mut self) -> (BTreeMap<CveId, DocumentCve>, BTreeMap<KbId, DocumentKb>) {
        for (id, kb) in &mut self.kbs {
            sort(&mut kb.cves);
            kb.supersedes.retain(|superseded| superseded != id);
            sort(&mut kb.supersedes);
            kb.builds.values_mut().for_each(sort);
        }
        (self.cves, self.kbs)
    }

    fn add(&mut self, vulnerability: &Vulnerability) {
        let fixes = vulnerability.remediations.iter().filter(|remediation| remediation.is_fix());
        let fixes: Vec<(KbId, &Remediation)> =
            fixes.filter_map(|fix| Some((words::kb(fix.description.text())?, fix))).collect();
        if fixes.is_empty() {
            return;
        }
        let cve = vulnerability.cve();
        let is_exploited = vulnerability.is_exploited();
        if let Some(cve) = cve {
            let known = self.cves.entry(cve).or_default();
            known.exploited |= is_exploited;
            known.published = known.published.into_iter().chain(vulnerability.published()).min();
        }
        let severities = vulnerability.severities();
        let scores = vulnerability.cvss();
        for (id, fix) in fixes {
            let kb = self.kbs.entry(id).or_default();
            if kb.cves.last() != cve.as_ref() {
                kb.cves.extend(cve);
            }
            kb.is_exploited |= is_exploited;
            let (severity, score) = (severities.worst(&fix.products), scores.worst(&fix.products));
            kb.severity = kb.severity.max(severity);
            kb.cvss = kb.cvss.max(score);
            if let Some(known) = cve.and_then(|cve| self.cves.get_mut(&cve)) {
                known.severity = known.severity.max(severity);
                known.cvss = known.cvss.max(score);
            }
            kb.add(fix);
        }
    }
}

impl DocumentKb {
    /// Adds what a fix says about the KB itself. The same words stand beside each vulnerability.
    fn add(&mut self, fix: &Remediation) {
        for superseded in words::superseded(fix.supersedes.text()) {
            if !self.supersedes.contains(&superseded) {
                self.supersedes.push(superseded);
            }
        }
        for build in words::builds(fix.fixed_build.text()) {
            let products = self.builds.entry(build).or_default();
            for &product in fix.products.iter().flatten() {
                if !products.contains(&product) {
                    products.push(product);
                }
            }
        }
        self.restart = self.restart.max(words::restart(fix.restart.text()));
        self.is_hotpatch |= words::is_hotpatch(fix.sub_type.text());
        self.is_servicing_stack |= words::is_servicing_stack(fix.sub_type.text());
    }
}

fn sort<T: Ord>(items: &mut Vec<T>) {
    items.sort_unstable();
    items.dedup();
}
