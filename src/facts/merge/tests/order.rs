//! The facts of documents in any order.

use proptest::prelude::*;

use super::{NOW, built, cve, document, kb, time};
use crate::facts::FactsFile;
use crate::facts::msrc::{Document, DocumentKb};
use crate::model::{FactsFailure, VendorSeverity};

prop_compose! {
    fn some_kb()(
        cves in proptest::collection::btree_set(0..8_u32, 0..4),
        supersedes in proptest::collection::btree_set(0..6_u32, 0..3),
        build in 26_100..26_102_u32,
        revision in 0..4_u32,
        severity in proptest::option::of(0..4_usize),
        is_hotpatch in proptest::bool::weighted(0.1),
    ) -> DocumentKb {
        DocumentKb {
            cves: cves.into_iter().map(cve).collect(),
            supersedes: supersedes.into_iter().map(kb).collect(),
            severity: severity.map(|index| VendorSeverity::ALL[index]),
            is_hotpatch,
            builds: built(build, revision, "1", &[]).builds,
            ..DocumentKb::default()
        }
    }
}

prop_compose! {
    fn some_document()(
        month in 0..6_usize,
        day in 10..28_u8,
        kbs in proptest::collection::btree_map(0..6_u32, some_kb(), 0..5),
        exploited in 0..8_u32,
        published in 10..28_u8,
    ) -> Document {
        const MONTHS: [&str; 6] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun"];
        let initial = format!("2026-{:02}-{day}T00:00:00Z", month + 1);
        let kbs = kbs.into_iter().map(|(number, facts)| (kb(number), facts));
        let mut document = document(&format!("2026-{}", MONTHS[month]), &initial, kbs);
        for facts in document.cves.values_mut() {
            facts.published = Some(time(&format!("2026-{:02}-{published}T00:00:00Z", month + 1)));
        }
        if let Some(facts) = document.cves.get_mut(&cve(exploited)) {
            facts.exploited = true;
        }
        document
    }
}

proptest! {
    #[test]
    fn order_of_documents_does_not_change_the_facts(
        (documents, shuffled) in proptest::collection::vec(some_document(), 0..8)
            .prop_flat_map(|documents| {
                // Two revisions of a document: the higher one counts.
                let revisions = 1..;
                let documents: Vec<Document> = documents.into_iter().zip(revisions)
                    .map(|(document, revision)| Document { revision: Some(revision), ..document }).collect();
                (Just(documents.clone()), Just(documents).prop_shuffle())
            })
    ) {
        let put = |documents: Vec<Document>| {
            let mut file = FactsFile::default();
            for document in documents {
                // The rule about lost KBs is another one.
                let outcome = file.put_document(document.clone(), time(NOW));
                if outcome.is_err_and(|refusal| refusal.kind() == FactsFailure::Shrunk) {
                    file.documents.remove(&document.id);
                    file.put_document(document, time(NOW)).unwrap();
                }
            }
            file.facts()
        };
        let (one, other) = (put(documents), put(shuffled));
        prop_assert_eq!(&one, &other);
        let links = (0..6).filter_map(|number| Some((kb(number), one.kb(kb(number))?)));
        for (id, facts) in links {
            let older = facts.supersedes.iter().filter(|older| one.supersedes(id, **older));
            for older in older.filter_map(|older| one.kb(*older)) {
                prop_assert!(older.released <= facts.released);
            }
        }
    }
}
