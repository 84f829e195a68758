//! The facts file on disk: at a start, while the exporter runs, and with other exporters.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use mde_exporter::config::FactsConfig;
use mde_exporter::facts::disk;
use mde_exporter::model::FactsSource;
use tempfile::TempDir;

use crate::support::export_server::gzip;
use crate::support::facts_host::{FactsHost, INDEX, KEV, TestDocument, WINDOWS_SERVER};
use crate::support::facts_updater::{RunningUpdater, settle, skip};
use crate::support::tenant::write_file;

const LONGEST_INTERVAL: Duration = Duration::from_hours(27);

fn june(kbs: std::ops::Range<u32>) -> TestDocument {
    TestDocument::new("2026-Jun", "2026-06-10T07:00:00", kbs)
}

fn only_reading() -> FactsConfig {
    FactsConfig { update: None, ..FactsConfig::default() }
}

/// A facts file about these KBs, in a folder of its own.
async fn made(kbs: std::ops::Range<u32>) -> TempDir {
    let host = FactsHost::start(&[june(kbs)]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    folder
}

fn copy(from: &TempDir, to: &TempDir) {
    let bytes = fs::read(from.path().join("facts.json.gz")).unwrap();
    write_file(&to.path().join("facts.json.gz"), bytes);
}

#[tokio::test]
async fn restart_without_network_serves_the_file() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    let first = RunningUpdater::start(&folder, Some(&host.config()));
    first.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    drop(first);
    let requests = host.paths().len();
    host.fail(500);
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    assert_eq!(updater.now_in_use().len(), 3, "before any request");
    settle().await;
    assert_eq!(host.paths().len(), requests, "the file is fresh");
    skip(LONGEST_INTERVAL).await;
    updater.until("four failures", |updater| updater.all_failures().len() == 4).await;
    assert_eq!(updater.now_in_use().len(), 3);
}

#[tokio::test]
async fn old_file_is_renewed_at_the_start() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    let first = RunningUpdater::start(&folder, Some(&host.config()));
    first.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    drop(first);
    let mut file = disk::load(&folder.path().join("facts.json.gz")).unwrap();
    let yesterday = file.made_at - jiff::SignedDuration::from_hours(25);
    file.index_fetched_at = Some(yesterday);
    file.documents.values_mut().for_each(|document| document.at = yesterday);
    file.kev.as_mut().unwrap().at = yesterday;
    disk::save(&folder.path().join("facts.json.gz"), &file).unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    assert_eq!(updater.now_in_use().len(), 3);
    updater.until("an update", |_| host.requests(KEV) == 2).await;
    assert_eq!((host.requests(INDEX), host.requests(WINDOWS_SERVER)), (2, 1), "only what is old");
}

#[tokio::test]
async fn second_exporter_uses_the_file_of_the_first() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    let first = RunningUpdater::start(&folder, Some(&host.config()));
    first.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    let second = RunningUpdater::start(&folder, Some(&host.config()));
    assert_eq!(second.now_in_use().len(), 3);
    settle().await;
    assert_eq!(host.requests(INDEX), 1);
    // An update of one of them is seen by the other, and postpones its own.
    host.documents(&[TestDocument {
        current: "2026-06-20T07:00:00".to_owned(),
        ..june(5_000_001..5_000_006)
    }]);
    skip(LONGEST_INTERVAL).await;
    first.until("five KBs", |updater| updater.now_in_use().len() == 5).await;
    second.until_file_is_seen("five KBs", |updater| updater.now_in_use().len() == 5).await;
}

#[tokio::test]
async fn changed_file_is_used_within_a_minute() {
    let (old, new) = (made(5_000_001..5_000_004).await, made(5_000_001..5_000_009).await);
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&only_reading()));
    assert_eq!(updater.all_failures(), ["file unreadable 1"]);
    copy(&old, &folder);
    updater.until_file_is_seen("a new file", |updater| updater.now_in_use().len() == 3).await;
    copy(&new, &folder);
    updater.until_file_is_seen("a changed file", |updater| updater.now_in_use().len() == 8).await;
    assert_eq!(updater.all_failures(), ["file unreadable 1"]);
}

#[tokio::test]
async fn file_that_lost_missing_kbs_is_refused_while_running() {
    let (whole, small) = (made(5_000_001..5_000_009).await, made(5_000_001..5_000_003).await);
    let folder = TempDir::new().unwrap();
    copy(&whole, &folder);
    let updater = RunningUpdater::start(&folder, Some(&only_reading()));
    updater.miss(&[5_000_001, 5_000_004, 5_000_005, 6_000_001].map(|kb| (kb, "")));
    copy(&small, &folder);
    let shrunk = |count: f64| move |updater: &RunningUpdater| updater.failures("file", "shrunk") == count;
    updater.until_file_is_seen("the refusal", shrunk(1.0)).await;
    assert_eq!(updater.now_in_use().len(), 8);
    // The KBs that are missing now are in the file.
    updater.miss(&[5_000_001, 5_000_002, 5_000_005].map(|kb| (kb, "")));
    copy(&whole, &folder);
    updater.let_file_be_seen().await;
    copy(&small, &folder);
    updater.until_file_is_seen("the smaller file", |updater| updater.now_in_use().len() == 2).await;
    drop(updater);
    let updater = RunningUpdater::start(&folder, Some(&only_reading()));
    assert_eq!((updater.now_in_use().len(), updater.all_failures().len()), (2, 0), "accepted at a start");
}

#[tokio::test]
async fn bad_file_leaves_the_facts_in_use() {
    let good = made(5_000_001..5_000_004).await;
    let content = fs::read(good.path().join("facts.json.gz")).unwrap();
    let folder = TempDir::new().unwrap();
    copy(&good, &folder);
    let updater = RunningUpdater::start(&folder, Some(&only_reading()));
    let bad: [&[u8]; 5] =
        [b"", b"{}", &content[..content.len() / 2], &gzip(b"[[["), b"\x1f\x8b\x08\x00rubbish"];
    for (count, bad) in (1..).zip(bad) {
        write_file(&folder.path().join("facts.json.gz"), bad);
        let failures = |updater: &RunningUpdater| updater.failures("file", "decode");
        updater.until_file_is_seen("the refusal", |updater| failures(updater) == f64::from(count)).await;
        assert_eq!(updater.now_in_use().len(), 3);
    }
    fs::remove_file(folder.path().join("facts.json.gz")).unwrap();
    updater.until_file_is_seen("the loss", |updater| updater.failures("file", "unreadable") == 1.0).await;
    assert_eq!(updater.now_in_use().len(), 3);
    copy(&good, &folder);
    updater.let_file_be_seen().await;
    assert_eq!(updater.all_failures(), ["file decode 5", "file unreadable 1"]);
}

#[tokio::test]
async fn bad_file_is_replaced_by_the_first_update() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("facts.json.gz"), "rubbish");
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    assert_eq!(updater.all_failures(), ["file decode 1"]);
    updater.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    assert_eq!(disk::load(&updater.file()).unwrap().documents.len(), 1);
}

#[tokio::test]
async fn facts_that_cannot_be_written_are_used_from_memory() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("no_folder"), "");
    let file = folder.path().join("no_folder/facts.json.gz");
    let config = FactsConfig { file: Some(file), ..host.config() };
    let updater = RunningUpdater::start(&folder, Some(&config));
    updater.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    assert_eq!(updater.failures("file", "unwritable"), 1.0);
    skip(LONGEST_INTERVAL).await;
    updater.until("a second update", |updater| updater.failures("file", "unwritable") == 2.0).await;
    assert_eq!(host.requests(&june(0..0).path()), 1, "what was fetched is kept");
    assert_eq!(updater.now_in_use().len(), 3);
}

#[tokio::test]
async fn settings_change_without_a_restart() {
    let host = FactsHost::start(&[june(5_000_001..5_000_004)]).await;
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, None);
    settle().await;
    assert_eq!((updater.now_in_use().len(), updater.value("facts_updates")), (0, None));
    updater.configure(Some(&host.config()));
    updater.until("an update", |updater| updater.now_in_use().has(FactsSource::Servicing)).await;
    let other = FactsConfig { file: Some(folder.path().join("other")), ..host.config() };
    host.fail(500);
    updater.configure(Some(&other));
    updater.until("four failures", |updater| updater.all_failures().len() == 4).await;
    assert_eq!(updater.now_in_use().len(), 3, "facts stay until there are new ones");
    updater.configure(None);
    updater.until("no facts", |updater| updater.now_in_use().is_empty()).await;
    assert!(!updater.text().contains("mde_exporter_facts_"));
}

#[tokio::test]
async fn new_file_gets_the_group_bits_of_its_folder_and_keeps_a_link() {
    let made = made(5_000_001..5_000_004).await;
    let file = disk::load(&made.path().join("facts.json.gz")).unwrap();
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o775)).unwrap();
    let (link, target) = (folder.path().join("link"), folder.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write_file(&target, "old");
    disk::save(&link, &file).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let metadata = target.metadata().unwrap();
    assert_eq!((metadata.mode() & 0o060, metadata.gid()), (0o060, folder.path().metadata().unwrap().gid()));
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "no draft is left");
    let nested = folder.path().join("new/folder/facts.json.gz");
    disk::save(&nested, &file).unwrap();
    assert_eq!(disk::load(&nested).unwrap(), file);
    assert!(disk::load(Path::new("no/such/file")).is_err());
}
