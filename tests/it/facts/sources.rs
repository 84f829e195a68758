//! What is fetched, and when.

use std::time::Duration;

use mde_exporter::model::FactsSource;
use tempfile::TempDir;

use crate::support::facts_host::{
    EPSS, FactsHost, INDEX, KEV, TestDocument, WINDOWS, WINDOWS_SERVER, json_reply, kev, status,
};
use crate::support::facts_updater::{RunningUpdater, settle, skip};

const DAY: Duration = Duration::from_hours(24);

/// The longest time between two updates, by the jitter.
const LONGEST_INTERVAL: Duration = Duration::from_hours(27);

fn may() -> TestDocument {
    TestDocument::new("2026-May", "2026-05-20T07:00:00", [5_000_001, 5_000_002])
}

fn june() -> TestDocument {
    TestDocument::new("2026-Jun", "2026-06-10T07:00:00", [5_000_003])
}

#[tokio::test]
async fn missing_file_is_made_at_the_start() {
    let host = FactsHost::start(&[june(), may()]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    assert_eq!(updater.value("facts_updates"), Some(0.0));
    updater.until("three KBs", |updater| updater.now_in_use().len() == 3).await;
    let paths = [INDEX, &june().path(), &may().path(), KEV, EPSS, WINDOWS, WINDOWS_SERVER];
    assert_eq!(host.paths(), paths);
    for head in host.heads() {
        assert!(
            head.contains("accept-encoding: gzip") && head.contains("user-agent: mde_exporter/"),
            "{head}"
        );
        assert!(head.contains("accept: application/json"), "{head}");
    }
    let facts = updater.now_in_use();
    assert!(FactsSource::ALL.into_iter().all(|source| facts.has(source)));
    assert_eq!(updater.value("facts_updates"), Some(3.0));
    for source in FactsSource::ALL {
        let fetched = updater.value(&format!("facts_last_success_timestamp_seconds{{source=\"{source}\"}}"));
        assert!(fetched.is_some_and(|at| at >= 1_781_956_800.0), "{source}: {fetched:?}");
    }
    assert_eq!(updater.all_failures(), [""; 0]);
    assert!(updater.file().exists());
}

#[tokio::test]
async fn only_the_newest_months_are_fetched_into_a_new_file() {
    let old = TestDocument::new("2026-Apr", "2026-04-15T07:00:00", [5_000_009]);
    let early = TestDocument::new("2015-Dec", "2015-12-15T07:00:00", [5_000_008]);
    let future = TestDocument::new("9999-Dec", "2026-06-10T07:00:00", []);
    let host = FactsHost::start(&[early, old, may(), june(), future.clone()]).await;
    let mut config = host.config();
    config.months = 2.try_into().unwrap();
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&config));
    updater.until("three KBs", |updater| updater.now_in_use().len() == 3).await;
    let documents: Vec<_> =
        host.paths().into_iter().filter(|path| path.contains("/cvrf/v3.0/cvrf/")).collect();
    assert!(documents.contains(&may().path()) && documents.contains(&june().path()), "{documents:?}");
    assert!(
        documents.iter().all(|path| [may().path(), june().path(), future.path()].contains(path)),
        "{documents:?}"
    );
}

#[tokio::test]
async fn document_is_fetched_again_when_it_is_changed_or_recent() {
    let recent = TestDocument::new("2026-Jun", "2026-06-19T07:00:00", [5_000_003]);
    let changing = TestDocument::new("2026-Apr", "2026-04-15T07:00:00", [5_000_004]);
    let host = FactsHost::start(&[recent.clone(), may(), changing.clone()]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("four KBs", |updater| updater.now_in_use().len() == 4).await;
    let changed = TestDocument {
        revision: 11,
        current: "2026-06-01T07:00:00".to_owned(),
        kbs: vec![5_000_004, 5_000_005],
        ..changing
    };
    host.documents(&[recent.clone(), may(), changed.clone()]);
    skip(LONGEST_INTERVAL).await;
    updater.until("five KBs", |updater| updater.now_in_use().len() == 5).await;
    let requests = || [&recent, &may(), &changed].map(|document| host.requests(&document.path()));
    assert_eq!(requests(), [2, 1, 2]);
    // Now, the document of June is more than three days old too.
    skip(2 * DAY).await;
    updater.until("a third update", |_| host.requests(WINDOWS_SERVER) == 3).await;
    assert_eq!(requests(), [2, 1, 2]);
}

#[tokio::test]
async fn document_of_an_earlier_month_stays_and_is_renewed() {
    let host = FactsHost::start(&[june(), may()]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("three KBs", |updater| updater.now_in_use().len() == 3).await;
    let changed = TestDocument { current: "2026-06-18T07:00:00".to_owned(), ..may() };
    host.documents(&[june(), changed.clone()]);
    let mut config = host.config();
    config.months = 1.try_into().unwrap();
    updater.configure(Some(&config));
    skip(LONGEST_INTERVAL).await;
    updater.until("the changed document", |_| host.requests(&changed.path()) == 2).await;
    updater.until("the end of the update", |_| host.requests(WINDOWS_SERVER) == 2).await;
    assert_eq!(updater.now_in_use().len(), 3);
}

#[tokio::test]
async fn unreachable_source_is_tried_again_with_longer_pauses() {
    let host = FactsHost::start(&[june()]).await;
    host.answer(KEV, [status(503)]);
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("a failure", |updater| updater.failures("kev", "server_error") == 1.0).await;
    updater.until("the other sources", |updater| updater.has(5_000_003)).await;
    for (failures, minutes) in [(1, 1), (2, 2), (3, 4)] {
        skip(Duration::from_secs(60 * minutes - 30)).await;
        settle().await;
        assert_eq!(host.requests(KEV), failures, "too early");
        skip(Duration::from_secs(31)).await;
        updater
            .until("a retry", |updater| updater.failures("kev", "server_error") == failures as f64 + 1.0)
            .await;
    }
    assert_eq!((host.requests(INDEX), host.requests(WINDOWS)), (1, 1), "only what failed is tried again");
    assert!(!updater.now_in_use().has(FactsSource::Kev));
    host.answer(KEV, [json_reply(&kev([5_000_003]))]);
    skip(Duration::from_mins(9)).await;
    updater.until("the catalogue", |updater| updater.now_in_use().has(FactsSource::Kev)).await;
}

#[tokio::test]
async fn part_that_lost_more_than_half_is_refused() {
    let kbs = 5_000_001..5_000_009;
    let document = TestDocument::new("2026-Jun", "2026-06-10T07:00:00", kbs.clone());
    let host = FactsHost::start(&[document.clone(), may()]).await;
    host.answer(KEV, [json_reply(&kev(kbs.clone())), json_reply(&kev(kbs.clone().take(3)))]);
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("eight KBs", |updater| updater.now_in_use().len() == 8).await;
    let shrunken = TestDocument {
        revision: 11,
        current: "2026-06-15T07:00:00".to_owned(),
        kbs: kbs.take(3).collect(),
        ..document
    };
    let grown = TestDocument {
        current: "2026-06-15T07:00:00".to_owned(),
        kbs: vec![5_000_001, 5_000_002, 5_000_050],
        ..may()
    };
    host.documents(&[shrunken, grown]);
    skip(LONGEST_INTERVAL).await;
    updater.until("the other document", |updater| updater.has(5_000_050)).await;
    assert_eq!(updater.all_failures(), ["kev shrunk 1", "msrc shrunk 1"]);
    assert_eq!(updater.now_in_use().len(), 9, "the old document stays");
}

#[tokio::test]
async fn lower_revision_is_refused() {
    let host = FactsHost::start(&[june()]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("a KB", |updater| updater.has(5_000_003)).await;
    let older = TestDocument {
        revision: 9,
        current: "2026-06-15T07:00:00".to_owned(),
        kbs: vec![5_000_003, 5_000_099],
        ..june()
    };
    host.documents(&[older]);
    skip(LONGEST_INTERVAL).await;
    updater.until("the refusal", |updater| updater.failures("msrc", "older") == 1.0).await;
    assert!(updater.has(5_000_003) && !updater.has(5_000_099));
}

#[tokio::test]
async fn source_that_is_off_is_neither_fetched_nor_used() {
    let host = FactsHost::start(&[june()]).await;
    let folder = TempDir::new().unwrap();
    let mut config = host.config();
    let with_kev = RunningUpdater::start(&folder, Some(&config));
    with_kev.until("the catalogue", |updater| updater.now_in_use().has(FactsSource::Kev)).await;
    drop(with_kev);
    config.sources.kev = None;
    let updater = RunningUpdater::start(&folder, Some(&config));
    assert!(updater.has(5_000_003) && !updater.now_in_use().has(FactsSource::Kev));
    skip(LONGEST_INTERVAL).await;
    updater.until("an update", |_| host.requests(WINDOWS_SERVER) == 2).await;
    assert_eq!(host.requests(KEV), 1);
    // The file keeps the catalogue for other exporters.
    config.update = None;
    config.sources = host.config().sources;
    assert!(RunningUpdater::start(&folder, Some(&config)).now_in_use().has(FactsSource::Kev));
}

#[tokio::test]
async fn title_of_a_missing_kb_without_facts_names_a_document() {
    let old = TestDocument::new("2018-FEB", "2018-02-14T08:00:00", [4_000_001]);
    let other = TestDocument::new("2017-May", "2017-05-14T08:00:00", [4_000_002]);
    let host = FactsHost::start(&[june(), may(), old.clone(), other.clone()]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("three KBs", |updater| updater.now_in_use().len() == 3).await;
    updater.miss(&[
        (4_000_001, "February 2018 Security Updates"),
        (4_000_002, "Microsoft May 2017 Security Updates"),
        (4_000_003, "May 2017 Security Updates"),
        (4_000_004, "Servicing Stack Update"),
        (4_000_005, "June 2026 Security Updates"),
        (4_000_006, "January 1999 Security Updates"),
        (5_000_003, "June 2026 Security Updates"),
    ]);
    updater.until("the newer one", |updater| updater.has(4_000_001)).await;
    assert_eq!(host.requests(&old.path()), 1, "as the index writes it");
    settle().await;
    assert_eq!(host.requests(&other.path()), 0, "one document a minute");
    skip(Duration::from_secs(61)).await;
    updater.until("the older one", |updater| updater.has(4_000_002)).await;
    assert_eq!(updater.value("facts_unknown_updates"), Some(4.0));
    for _ in 0..5 {
        skip(Duration::from_secs(61)).await;
        settle().await;
    }
    let documents = [&june(), &old, &other].map(|document| host.requests(&document.path()));
    assert_eq!((documents, host.requests(INDEX)), ([1; 3], 1), "each document once");
}

#[tokio::test]
async fn document_on_demand_is_tried_again_when_the_host_fails() {
    let old = TestDocument::new("2018-Feb", "2018-02-14T08:00:00", [4_000_001]);
    let host = FactsHost::start(&[june(), old.clone()]).await;
    let folder = TempDir::new().unwrap();
    let mut config = host.config();
    config.months = 1.try_into().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&config));
    updater.until("a KB", |updater| updater.has(5_000_003)).await;
    host.answer(&old.path(), [status(500), json_reply(&old.json())]);
    updater.miss(&[(4_000_001, "February 2018 Security Updates")]);
    updater.until("a failure", |updater| updater.failures("msrc", "server_error") == 1.0).await;
    skip(Duration::from_secs(61)).await;
    updater.until("the document", |updater| updater.has(4_000_001)).await;
}
