//! The CVEs that an update fixes.

use std::cmp::Reverse;

use crate::facts::CveFacts;
use crate::model::{CveId, FactsSource, KbId};
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::last_day;
use crate::web::pages::text::day;

/// One CVE.
pub(super) struct CveRow {
    pub(super) cve: String,
    /// Empty where it is unknown, like the others.
    pub(super) severity: &'static str,
    pub(super) cvss: String,
    pub(super) exploited: String,
    pub(super) is_exploited: bool,
    pub(super) epss: String,
}

/// The CVEs of a KB, the worst first; none without facts.
pub(super) fn cves(context: &PageContext, kb: KbId) -> Vec<CveRow> {
    let facts = &context.snapshot.facts;
    let Some(of_kb) = facts.kb(kb) else { return Vec::new() };
    let mut cves: Vec<(CveId, CveFacts)> =
        of_kb.cves.iter().map(|cve| (*cve, facts.cve(*cve).copied().unwrap_or_default())).collect();
    cves.sort_by(|(one, a), (two, b)| {
        let key = |facts: &CveFacts| {
            (facts.known_exploited.is_some(), facts.exploited, facts.vendor_severity, facts.cvss)
        };
        let by_epss = b.epss.unwrap_or(-1.0).total_cmp(&a.epss.unwrap_or(-1.0));
        Reverse(key(a)).cmp(&Reverse(key(b))).then(by_epss).then(one.cmp(two))
    });
    let has_catalogue = facts.has(FactsSource::Kev);
    cves.into_iter().map(|(cve, facts)| row(context, cve, &facts, has_catalogue)).collect()
}

fn row(context: &PageContext, cve: CveId, facts: &CveFacts, has_catalogue: bool) -> CveRow {
    let shown = |at| day(at, context.now);
    let exploited = match facts.known_exploited {
        Some(known) => {
            let due = known.due.map(|due| format!(", due {}", shown(last_day(due)))).unwrap_or_default();
            format!("KEV since {}{due}", shown(known.since))
        }
        None if facts.exploited => "yes".to_owned(),
        None if has_catalogue => "no report".to_owned(),
        None => String::new(),
    };
    CveRow {
        cve: cve.to_string(),
        severity: facts.vendor_severity.map_or("", |severity| severity.as_str()),
        cvss: facts.cvss.map(|score| score.to_string()).unwrap_or_default(),
        exploited,
        is_exploited: facts.exploited || facts.known_exploited.is_some(),
        epss: facts.epss.map(percent).unwrap_or_default(),
    }
}

/// A probability in percent, with a decimal below one percent.
pub(super) fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    if percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}
