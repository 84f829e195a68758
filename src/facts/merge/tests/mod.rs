//! Facts by KB out of small documents.

mod order;

use jiff::civil::date;

use crate::facts::epss::Epss;
use crate::facts::kev::{Kev, KevEntry};
use crate::facts::msrc::{Document, DocumentCve, DocumentId, DocumentKb, ProductId};
use crate::facts::{Facts, FactsFile, FixedBuild, KbFacts, KnownExploited};
use crate::model::{CveId, CvssScore, FactsSource, KbId, Restart, VendorSeverity};
use jiff::Timestamp;

const NOW: &str = "2026-11-30T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kb(number: u32) -> KbId {
    KbId::new(5_000_000 + number).unwrap()
}

fn cve(number: u32) -> CveId {
    CveId::parse(&format!("CVE-2026-{:04}", 1000 + number)).unwrap()
}

/// A document of the day `initial` whose CVEs were published on that day.
fn document(id: &str, initial: &str, kbs: impl IntoIterator<Item = (KbId, DocumentKb)>) -> Document {
    let initial = time(initial);
    let kbs: std::collections::BTreeMap<_, _> = kbs.into_iter().collect();
    let published = DocumentCve { published: Some(initial), ..DocumentCve::default() };
    Document {
        id: DocumentId::parse(id).unwrap(),
        title: "".into(),
        initial: Some(initial),
        current: Some(initial),
        revision: Some(1),
        cves: kbs.values().flat_map(|kb| &kb.cves).map(|cve| (*cve, published)).collect(),
        kbs,
    }
}

/// A KB that fixes CVEs and supersedes KBs, by number.
fn fixing(cves: &[u32], supersedes: &[u32]) -> DocumentKb {
    DocumentKb {
        cves: cves.iter().copied().map(cve).collect(),
        supersedes: supersedes.iter().copied().map(kb).collect(),
        ..DocumentKb::default()
    }
}

/// A KB of one build and product.
fn built(build: u32, revision: u32, product: &str, supersedes: &[u32]) -> DocumentKb {
    let products = vec![ProductId::parse(product).unwrap()];
    DocumentKb { builds: [(FixedBuild { build, revision }, products)].into(), ..fixing(&[1], supersedes) }
}

fn file(documents: impl IntoIterator<Item = Document>) -> FactsFile {
    let mut file = FactsFile::default();
    for document in documents {
        file.put_document(document, time(NOW)).unwrap();
    }
    file
}

fn facts(documents: impl IntoIterator<Item = Document>) -> Facts {
    file(documents).facts()
}

fn released(facts: &Facts, number: u32) -> String {
    facts.kb(kb(number)).unwrap().released.unwrap().to_string()
}

const FEBRUARY: &str = "2026-02-10T08:00:00Z";
const MARCH: &str = "2026-03-10T07:00:00Z";
const APRIL: &str = "2026-04-14T07:00:00Z";

#[test]
fn facts_are_the_worst_over_documents_and_cves() {
    let low = DocumentKb {
        severity: Some(VendorSeverity::Low),
        cvss: CvssScore::new(9.1),
        restart: Some(Restart::Maybe),
        ..fixing(&[1, 2], &[7])
    };
    let critical = DocumentKb {
        severity: Some(VendorSeverity::Critical),
        cvss: CvssScore::new(5.0),
        is_hotpatch: true,
        ..fixing(&[2, 3], &[8])
    };
    let mut file = file([
        document("2026-Feb", FEBRUARY, [(kb(9), low)]),
        document("2026-Mar", MARCH, [(kb(9), critical)]),
    ]);
    file.put_epss(
        Epss { score_date: None, rows: 3, scores: [(cve(1), 0.5), (cve(3), 0.25), (cve(4), 0.9)].into() },
        time(NOW),
    )
    .unwrap();
    let facts = file.facts();
    let found = facts.kb(kb(9)).unwrap();
    assert_eq!(*found.cves, [cve(1), cve(2), cve(3)]);
    assert_eq!(*found.supersedes, [kb(7), kb(8)]);
    assert_eq!(found.vendor_severity, Some(VendorSeverity::Critical));
    assert_eq!(found.cvss, CvssScore::new(9.1));
    assert_eq!(found.epss, Some(0.5));
    assert_eq!(found.restart, Some(Restart::Maybe));
    assert!(found.is_hotpatch);
    assert_eq!(found.documents.len(), 2);
}

#[test]
fn fact_that_is_not_known_is_absent() {
    let facts = facts([document("2026-Feb", FEBRUARY, [(kb(1), fixing(&[1], &[]))])]);
    let expected = KbFacts {
        cves: [cve(1)].into(),
        released: Some(time(FEBRUARY)),
        documents: facts.kb(kb(1)).unwrap().documents.clone(),
        ..KbFacts::default()
    };
    assert_eq!(facts.kb(kb(1)), Some(&expected));
    assert_eq!(facts.kb(kb(2)), None);
}

#[test]
fn exploited_is_known_only_with_the_kev_catalogue() {
    let mut february = document(
        "2026-Feb",
        FEBRUARY,
        [(kb(1), fixing(&[1], &[])), (kb(2), fixing(&[2], &[])), (kb(3), fixing(&[3], &[]))],
    );
    february.cves.get_mut(&cve(1)).unwrap().exploited = true;
    let advisory = DocumentKb { is_exploited: true, ..DocumentKb::default() };
    // Another document lists the same CVE without the report.
    let march = document("2026-Mar", MARCH, [(kb(4), fixing(&[1], &[])), (kb(5), advisory)]);
    let mut file = file([february, march]);
    let exploited = |file: &FactsFile| {
        let facts = file.facts();
        [1, 2, 3, 4, 5].map(|number| facts.kb(kb(number)).unwrap().exploited)
    };
    assert_eq!(exploited(&file), [Some(true), None, None, Some(true), Some(true)]);
    assert!(!file.facts().has(FactsSource::Kev));
    file.put_kev(Kev { released: None, entries: [(cve(2), KevEntry::default())].into() }, time(NOW)).unwrap();
    assert_eq!(exploited(&file), [Some(true), Some(true), Some(false), Some(true), Some(true)]);
    assert!(file.facts().has(FactsSource::Kev));
}

#[test]
fn known_exploitation_has_the_earliest_dates() {
    let kev = Kev {
        released: Some(time("2026-10-30T17:02:45Z")),
        entries: [
            (cve(1), KevEntry { added: Some(date(2026, 6, 12)), due: None, ransomware: false }),
            (
                cve(2),
                KevEntry { added: Some(date(2026, 6, 15)), due: Some(date(2026, 6, 30)), ransomware: true },
            ),
            (
                cve(3),
                KevEntry { added: Some(date(2026, 6, 1)), due: Some(date(2026, 7, 31)), ransomware: false },
            ),
            (cve(4), KevEntry::default()),
        ]
        .into(),
    };
    let mut file = file([document(
        "2026-Feb",
        FEBRUARY,
        [(kb(1), fixing(&[1, 2, 3, 4, 5], &[])), (kb(2), fixing(&[4], &[])), (kb(3), fixing(&[5], &[]))],
    )]);
    file.put_kev(kev, time(NOW)).unwrap();
    let facts = file.facts();
    let known = |number: u32| facts.kb(kb(number)).unwrap().known_exploited;
    let known_exploited = |cves, since, due: Option<&str>, ransomware| KnownExploited {
        cves,
        since: time(since),
        due: due.map(time),
        ransomware,
    };
    assert_eq!(
        known(1),
        Some(known_exploited(4, "2026-06-01T00:00:00Z", Some("2026-07-01T00:00:00Z"), true))
    );
    assert_eq!(known(2), Some(known_exploited(1, "2026-10-30T00:00:00Z", None, false)));
    assert_eq!(known(3), None);
}

#[test]
fn kb_in_several_documents_is_released_where_it_fixes_most() {
    let facts = facts([
        document("2026-Feb", FEBRUARY, [(kb(1), fixing(&[1], &[])), (kb(2), fixing(&[1, 2], &[]))]),
        document("2026-Mar", MARCH, [(kb(1), fixing(&[2, 3], &[])), (kb(2), fixing(&[3, 4], &[]))]),
    ]);
    assert_eq!(released(&facts, 1), MARCH);
    assert_eq!(released(&facts, 2), FEBRUARY, "of equals the earliest");
    let title = |title: &str| facts.released(kb(1), title).unwrap().to_string();
    assert_eq!(title("February 2026 Security Updates"), FEBRUARY);
    assert_eq!(title("Microsoft MARCH 2026 Security Updates"), MARCH);
    assert_eq!(title("April 2026 Security Updates"), MARCH);
}

#[test]
fn kb_is_not_released_before_one_that_it_supersedes() {
    let old = || (kb(1), fixing(&[9], &[]));
    // A document that is late enough lists it.
    let documents = [
        document("2026-Feb", FEBRUARY, [(kb(2), fixing(&[1, 2, 3], &[1]))]),
        document("2026-Mar", MARCH, [old()]),
        document("2026-Apr", APRIL, [(kb(2), fixing(&[4], &[1]))]),
    ];
    let facts_of_three = facts(documents.clone());
    assert_eq!(released(&facts_of_three, 2), APRIL);
    assert_eq!(
        facts_of_three.released(kb(2), "February 2026 Security Updates"),
        Some(time(MARCH)),
        "not even by its title"
    );
    // None does.
    let facts_of_two = facts(documents[..2].iter().cloned());
    assert_eq!(released(&facts_of_two, 2), MARCH);
}

#[test]
fn cycle_of_supersedence_moves_no_release() {
    let facts = facts([
        document("2026-Feb", FEBRUARY, [(kb(1), fixing(&[1], &[2])), (kb(9), fixing(&[1], &[9]))]),
        document("2026-Mar", MARCH, [(kb(2), fixing(&[2], &[3])), (kb(4), fixing(&[2], &[]))]),
        document("2026-Apr", APRIL, [(kb(3), fixing(&[3], &[1]))]),
        document("2026-Jan", "2026-01-13T08:00:00Z", [(kb(5), fixing(&[4], &[1, 4]))]),
    ]);
    assert_eq!([1, 2, 3, 9].map(|number| released(&facts, number)), [FEBRUARY, MARCH, APRIL, FEBRUARY]);
    assert_eq!(released(&facts, 5), MARCH, "behind the cycle and beside it");
    assert!(facts.kb(kb(9)).unwrap().supersedes.is_empty());
    assert!(facts.supersedes(kb(3), kb(2)) && !facts.supersedes(kb(2), kb(3)));
}

#[test]
fn long_chain_is_dated_from_its_oldest_kb() {
    let chain = (2..10_000).map(|number| (kb(number), fixing(&[1], &[number - 1])));
    let facts = facts([
        document("2026-Feb", FEBRUARY, chain),
        document("2026-Apr", APRIL, [(kb(1), fixing(&[2], &[]))]),
    ]);
    assert_eq!(released(&facts, 9_999), APRIL);
}

#[test]
fn out_of_band_kb_is_released_with_its_first_cve() {
    let mut february = document(
        "2026-Feb",
        FEBRUARY,
        [(kb(1), fixing(&[1, 2], &[])), (kb(2), fixing(&[2, 3], &[])), (kb(3), fixing(&[4], &[]))],
    );
    for (number, published) in
        [(1, Some("2026-02-24T08:00:00Z")), (2, Some("2026-02-19T08:00:00Z")), (4, None)]
    {
        february.cves.get_mut(&cve(number)).unwrap().published = published.map(time);
    }
    let facts = facts([february]);
    assert_eq!(released(&facts, 1), "2026-02-19T08:00:00Z");
    assert_eq!(facts.released(kb(1), "February 2026 Security Updates"), Some(time("2026-02-19T08:00:00Z")));
    assert_eq!(released(&facts, 2), FEBRUARY, "one CVE was published with the document");
    assert_eq!(released(&facts, 3), FEBRUARY, "the first publication is not known");
}

#[test]
fn early_document_releases_nothing() {
    let mut early =
        document("2026-Mar", MARCH, [(kb(1), fixing(&[1, 2, 3], &[])), (kb(2), fixing(&[1], &[]))]);
    early.initial = None;
    let facts = facts([early, document("2026-Feb", FEBRUARY, [(kb(1), fixing(&[1], &[]))])]);
    assert_eq!(released(&facts, 1), FEBRUARY);
    assert_eq!(facts.kb(kb(1)).unwrap().documents.len(), 1);
    assert_eq!(facts.kb(kb(2)).unwrap().released, None);
}

#[test]
fn build_gives_a_predecessor_to_a_kb_that_names_none() {
    let hotpatch = DocumentKb { is_hotpatch: true, ..built(26_100, 250, "1", &[]) };
    let servicing_stack = DocumentKb { is_servicing_stack: true, ..built(26_100, 260, "1", &[]) };
    let facts = facts([
        document(
            "2026-Feb",
            FEBRUARY,
            [
                (kb(1), built(26_100, 100, "1", &[])),
                (kb(2), built(26_100, 200, "1", &[])),
                (kb(3), built(26_100, 210, "2", &[])),
                (kb(4), hotpatch),
                (kb(5), servicing_stack),
                (kb(6), built(26_200, 200, "1", &[])),
                (kb(7), built(9600, 200, "1", &[])),
            ],
        ),
        document(
            "2026-Mar",
            MARCH,
            [
                (kb(11), built(26_100, 300, "1", &[])),
                (kb(12), built(26_100, 310, "1", &[6])),
                (kb(13), built(26_100, 90, "1", &[])),
                (kb(14), built(9600, 300, "1", &[])),
                (kb(15), built(26_100, 320, "3", &[])),
            ],
        ),
    ]);
    let supersedes = |number: u32| facts.kb(kb(number)).unwrap().supersedes.to_vec();
    assert_eq!(supersedes(11), [kb(2)]);
    assert_eq!(supersedes(12), [kb(6)], "it names one");
    assert!([1, 2, 3, 4, 5, 13, 14, 15].iter().all(|number| supersedes(*number).is_empty()));
}

#[test]
fn every_build_of_a_kb_gives_a_predecessor() {
    let both = |revision: u32| {
        let mut kb = built(26_100, revision, "1", &[]);
        kb.builds.extend(built(26_200, revision, "2", &[]).builds);
        kb
    };
    let february = document(
        "2026-Feb",
        FEBRUARY,
        [(kb(1), built(26_100, 1, "1", &[])), (kb(2), built(26_200, 1, "2", &[]))],
    );
    let facts = facts([
        february,
        document("2026-Mar", MARCH, [(kb(3), both(2))]),
        document("2026-Apr", APRIL, [(kb(4), both(3))]),
    ]);
    assert_eq!(*facts.kb(kb(3)).unwrap().supersedes, [kb(1), kb(2)]);
    assert_eq!(*facts.kb(kb(4)).unwrap().supersedes, [kb(3)]);
    assert!(facts.supersedes(kb(4), kb(1)));
}

#[test]
fn fork_has_several_successors() {
    let facts = facts([
        document("2026-Feb", FEBRUARY, [(kb(1), fixing(&[1], &[]))]),
        document("2026-Mar", MARCH, [(kb(2), fixing(&[2], &[1])), (kb(3), fixing(&[2], &[1]))]),
    ]);
    assert!(facts.supersedes(kb(2), kb(1)) && facts.supersedes(kb(3), kb(1)));
    assert!(!facts.supersedes(kb(2), kb(3)) && !facts.supersedes(kb(3), kb(2)));
}

#[test]
fn sources_have_the_times_of_their_data() {
    let mut file = file([document("2026-Feb", FEBRUARY, []), document("2026-Mar", MARCH, [])]);
    let kev = Kev { released: Some(time(APRIL)), entries: [(cve(1), KevEntry::default())].into() };
    file.put_kev(kev, time(NOW)).unwrap();
    let epss = Epss { score_date: Some(date(2026, 4, 14)), rows: 1, scores: [(cve(1), 0.5)].into() };
    file.put_epss(epss, time(NOW)).unwrap();
    let facts = file.facts();
    assert_eq!(facts.data_at(FactsSource::Msrc), Some(time(MARCH)));
    assert_eq!(facts.data_at(FactsSource::Kev), Some(time(APRIL)));
    assert_eq!(facts.data_at(FactsSource::Epss), Some(time("2026-04-14T00:00:00Z")));
    assert_eq!(facts.data_at(FactsSource::Servicing), None);
    let fetched = FactsSource::ALL.map(|source| facts.fetched_at(source));
    assert_eq!(fetched, [Some(time(NOW)), Some(time(NOW)), Some(time(NOW)), None]);
}
