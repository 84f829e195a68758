//! The facts that follow from the simulator's catalogues.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::date;
use mde_exporter::facts::folder::from_folder;
use mde_exporter::facts::{Facts, FactsFile};
use mde_exporter::model::KbId;
use mde_simulator::{Options, Realism, Simulator};
use tempfile::TempDir;

use crate::support::api::options;
use crate::support::tenant::write_file;

/// One line for each KB.
fn lines(file: &FactsFile, facts: &Facts) -> String {
    let kbs = file.documents.values().flat_map(|document| document.data.kbs.keys().copied());
    let kbs: std::collections::BTreeSet<KbId> = kbs.collect();
    let mut lines = String::new();
    for id in kbs {
        let kb = facts.kb(id).unwrap();
        let released = kb.released.map(|released| released.to_string()).unwrap_or_default();
        let [severity, cvss] =
            [kb.vendor_severity.map(|severity| severity.to_string()), kb.cvss.map(|score| score.to_string())]
                .map(Option::unwrap_or_default);
        let builds: Vec<String> = kb.builds.iter().map(ToString::to_string).collect();
        let documents: Vec<&str> = kb.documents.iter().map(|document| &*document.id).collect();
        let known = kb.known_exploited.map(|known| (known.cves, known.due.map(|due| due.to_string())));
        let supersedes: Vec<u32> = kb.supersedes.iter().map(|kb| kb.number()).collect();
        writeln!(
            lines,
            "{id} {released} {severity} {cvss} exploited {:?} known {known:?} epss {:?} cves {} supersedes {supersedes:?} \
             builds {builds:?} documents {documents:?} hotpatch {}",
            kb.exploited,
            kb.epss,
            kb.cves.len(),
            kb.is_hotpatch,
        )
        .unwrap();
    }
    lines
}

#[tokio::test]
async fn simulated_catalogues_give_these_facts() {
    let sim =
        Simulator::start(Options { start: date(2026, 6, 30), ..options(1, Realism::Plain) }).await.unwrap();
    let folder = TempDir::new().unwrap();
    for (name, bytes) in sim.control().catalogue_files(3) {
        write_file(&folder.path().join(name), bytes);
    }
    let mut file = FactsFile::default();
    let read = from_folder(folder.path(), &mut file, Timestamp::UNIX_EPOCH).unwrap();
    assert!(read.iter().all(|file| file.problem.is_none()), "{read:?}");
    insta::assert_snapshot!(lines(&file, &file.facts()));
}
