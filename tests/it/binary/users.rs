//! State that several users of one group share, as on a container platform that starts the exporter as
//! another user each time.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use reqwest::StatusCode;

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::tenant::TestTenant;

const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";

/// A group that no system uses.
const GROUP: u32 = 54_300;

/// A folder for the state with this mode. Root also gives it the group.
fn state_folder(test_tenant: &TestTenant, mode: u32) -> PathBuf {
    let folder = test_tenant.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    if is_root(test_tenant) {
        chown(&folder, Some(0), Some(GROUP)).unwrap();
    }
    set_mode(&folder, mode);
    set_mode(test_tenant.folder.path(), 0o755);
    folder
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns whether the tests run as root, who can act as any user.
fn is_root(test_tenant: &TestTenant) -> bool {
    test_tenant.folder.path().metadata().unwrap().uid() == 0
}

fn state_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Starts the exporter as the user `uid` of the group, or as the user of the tests if that is not root.
async fn start_as(test_tenant: &TestTenant, uid: u32) -> RunningExporter {
    let mut start = command(&test_tenant.folder, &["run", LOOPBACK]);
    if is_root(test_tenant) {
        // The build folder may not be accessible to other users.
        let binary = test_tenant.folder.path().join("exporter");
        if !binary.exists() {
            fs::copy(env!("CARGO_BIN_EXE_mde_exporter"), &binary).unwrap();
        }
        start = tokio::process::Command::new(binary);
        start.args(["run", LOOPBACK]).current_dir(test_tenant.folder.path()).env_clear().kill_on_drop(true);
        start.stdin(std::process::Stdio::null());
        start.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        start.uid(uid).gid(GROUP);
    }
    let running = RunningExporter::start(start).await;
    running.wait_for_status("/-/ready", StatusCode::OK).await;
    running
}

/// The first-seen series of the exporter, in order.
async fn first_seen(running: &RunningExporter) -> Vec<String> {
    let scrape = running.scrape().await;
    let text = |sample: &crate::support::exposition::Sample| {
        format!("{} {} {}", sample.label("machine_id"), sample.label("kb"), sample.value)
    };
    let mut series: Vec<_> = scrape.samples(FIRST_SEEN).map(text).collect();
    series.sort();
    series
}

#[tokio::test]
async fn state_files_get_group_and_write_bit_of_the_folder() {
    for (folder_mode, group_may_write) in [(0o775, true), (0o755, false)] {
        let test_tenant = test_tenant(2).await;
        configure_contoso(&test_tenant);
        let folder = state_folder(&test_tenant, folder_mode);
        let running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
        running.wait_for_status("/-/ready", StatusCode::OK).await;
        let files = state_files(&folder);
        assert_eq!(files.len(), 4, "the lock, the state file, its log and the index of the log: {files:?}");
        for file in files {
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.gid(), folder.metadata().unwrap().gid(), "{}", file.display());
            assert_eq!(metadata.mode() & 0o020 != 0, group_may_write, "{}", file.display());
        }
        running.kill().await;
    }
}

#[tokio::test]
async fn another_user_of_the_group_continues_with_the_state() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let folder = state_folder(&test_tenant, 0o770);
    let running = start_as(&test_tenant, 54_301).await;
    let known = first_seen(&running).await;
    assert!(!known.is_empty());
    running.kill().await;
    // Earlier releases created files that only their user can write.
    let mode = if is_root(&test_tenant) { 0o644 } else { 0o444 };
    for file in state_files(&folder) {
        set_mode(&file, mode);
    }

    let running = start_as(&test_tenant, 54_302).await;
    assert_eq!(first_seen(&running).await, known);
    let log = running.log.join("\n");
    assert_eq!(log.matches("a copy with the same content replaces it").count(), 1, "{log}");
    running.kill().await;

    let running = start_as(&test_tenant, 54_303).await;
    assert_eq!(first_seen(&running).await, known);
    let scrape = running.scrape().await;
    assert_eq!(scrape.sum("mde_exporter_state_write_failures_total"), 0.0);
    let stopped = running.stop("TERM").await;
    assert!(!stopped.stderr.contains("state file"), "{}", stopped.stderr);
}
