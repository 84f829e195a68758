//! Detects changes of file contents.
//!
//! [`FileWatch`] checks its files every two seconds and reports a change after two checks, one second apart,
//! with the same result, so that a file that is being written is not read. It compares contents: a file that
//! is touched, or replaced by an equal one, has not changed. A check costs one `stat` per file; a file is read
//! only if its metadata changed.
//!
//! Polling is more reliable than notification: `stat` follows every symbolic link, so a renamed file, a
//! replaced link and a replaced parent folder (as Kubernetes does with `..data`) are all detected, also on
//! network file systems, which send no inotify events for writes of other machines.
//!
//! The module keeps a digest, not the content, and does not interpret the files.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The interval between checks without a change.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The time for which a change must be stable before it is reported.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// The number of further checks that read a file after its metadata changed. Some file systems have a time
/// resolution of two seconds, within which a file can be written twice with equal metadata.
const READS_AFTER_CHANGE: u32 = 2;

/// The maximum number of bytes that are compared; no watched file is as large.
const MAX_READ_BYTES: u64 = 16 << 20;

/// Watches a set of files.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<WatchedFile>,
    /// The contents at the last report.
    reported: Vec<ContentDigest>,
    next_check: Instant,
    /// A running check, which continues if its future is dropped.
    check: Option<JoinHandle<Vec<WatchedFile>>>,
}

impl FileWatch {
    /// Watches `files` from their current contents on. Blocks, because it reads them.
    ///
    /// Create the watch before the files are read for use, so that no change in between is missed.
    #[must_use]
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().map(WatchedFile::new).collect();
        let reported = contents(&files);
        Self { files, reported, next_check: Instant::now() + CHECK_INTERVAL, check: None }
    }

    /// Waits until a content differs from the last report and is stable. A missing or unreadable file counts
    /// as different; a file that was missing for a moment and is back unchanged does not.
    ///
    /// The future may be dropped and created again without losing a change.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep_until(self.next_check).await;
            let before = contents(&self.files);
            self.check().await;
            let now = contents(&self.files);
            let (is_new, is_settled) = (now != self.reported, now == before);
            let wait = if is_new && !is_settled { SETTLED_AFTER } else { CHECK_INTERVAL };
            self.next_check = Instant::now() + wait;
            if is_new && is_settled {
                self.reported = now;
                return;
            }
        }
    }

    async fn check(&mut self) {
        let files = &self.files;
        let check = self.check.get_or_insert_with(|| {
            let mut files = files.clone();
            // A network file system may be slow.
            tokio::task::spawn_blocking(move || {
                for file in &mut files {
                    file.check();
                }
                files
            })
        });
        self.files = check.await.expect("Safe: the check does not panic and is never aborted");
        self.check = None;
    }
}

fn contents(files: &[WatchedFile]) -> Vec<ContentDigest> {
    files.iter().map(|file| file.content).collect()
}

/// The digest of a file's content; `None` if the file is unreadable.
pub type ContentDigest = Option<[u8; 32]>;

/// The digest of the current content of `file`. Blocks.
#[must_use]
pub fn content(file: &Path) -> ContentDigest {
    Stamp::of(file).and_then(|_| digest(file).ok())
}

/// The last observed state of a file.
#[derive(Clone, Debug)]
struct WatchedFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// The remaining checks that read the file although its metadata is unchanged.
    reads_left: u32,
    content: ContentDigest,
}

impl WatchedFile {
    fn new(path: PathBuf) -> Self {
        let mut file = Self { path, stamp: None, reads_left: 0, content: None };
        file.check();
        file
    }

    /// Updates the state. Returns whether the file was read.
    fn check(&mut self) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.reads_left = READS_AFTER_CHANGE;
        } else if self.reads_left > 0 {
            self.reads_left -= 1;
        } else {
            return false;
        }
        self.content = content(&self.path);
        stamp.is_some()
    }
}

/// The metadata that change when a file is written, replaced or reached through another link. They include
/// the change time, which no tool can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` if there is no regular file. A pipe is excluded, because reading would consume its content.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?.take(MAX_READ_BYTES);
    let mut context = Context::new(&SHA256);
    let mut buffer = [0; 8 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => context.update(&buffer[..length]),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn write(path: &Path, text: &str) {
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// A folder with the file `a`, and a watch of it that has looked for a while.
    async fn watched() -> (TempDir, PathBuf, FileWatch) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("a");
        write(&file, "one");
        let mut watch = FileWatch::of([file.clone()]);
        assert!(!reports(&mut watch).await, "nothing changed");
        (folder, file, watch)
    }

    /// Returns whether a change is reported within a minute.
    async fn reports(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(Duration::from_mins(1), watch.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_reported_once_and_soon() {
        let (_folder, file, mut watch) = watched().await;
        write(&file, "another");
        let written = Instant::now();
        assert!(reports(&mut watch).await);
        assert!(written.elapsed() <= CHECK_INTERVAL + SETTLED_AFTER + Duration::from_millis(2));
        assert!(!reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_several_is_enough() {
        let (folder, file, _) = watched().await;
        let other = folder.path().join("b");
        let mut watch = FileWatch::of([file, other.clone()]);
        assert!(!reports(&mut watch).await);
        write(&other, "new");
        assert!(reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_touch_and_the_same_content_in_another_file_are_no_change() {
        let (folder, file, mut watch) = watched().await;
        File::options().append(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(!reports(&mut watch).await);
        let other = folder.path().join("b");
        write(&other, "one");
        fs::rename(&other, &file).unwrap();
        assert!(!reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_renamed_into_place_is_a_change() {
        let (folder, file, mut watch) = watched().await;
        let other = folder.path().join("b");
        write(&other, "two");
        fs::rename(&other, &file).unwrap();
        assert!(reports(&mut watch).await);
    }

    /// As Kubernetes does it: `file -> ..data/file`, `..data -> ..1`, and a new `..data` renamed over
    /// the old one.
    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_turned_above_the_file_is_a_change() {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("..1", "one"), ("..2", "two"), ("..3", "two")] {
            fs::create_dir(path(name)).unwrap();
            write(&path(name).join("file"), text);
        }
        let turn = |target: &str| {
            symlink(target, path("..data_tmp")).unwrap();
            fs::rename(path("..data_tmp"), path("..data")).unwrap();
        };
        turn("..1");
        symlink("..data/file", path("file")).unwrap();
        let mut watch = FileWatch::of([path("file")]);
        assert!(!reports(&mut watch).await);
        turn("..2");
        fs::remove_dir_all(path("..1")).unwrap();
        assert!(reports(&mut watch).await);
        turn("..3");
        assert!(!reports(&mut watch).await, "it leads to the same content");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_for_a_moment_has_not_changed() {
        let (folder, file, mut watch) = watched().await;
        let away = folder.path().join("b");
        fs::rename(&file, &away).unwrap();
        let a_moment = watch.next_check + SETTLED_AFTER / 2;
        assert!(tokio::time::timeout_at(a_moment, watch.changed()).await.is_err());
        fs::rename(&away, &file).unwrap();
        assert!(!reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_away_and_one_that_comes_are_changes() {
        let (_folder, file, mut watch) = watched().await;
        fs::remove_file(&file).unwrap();
        assert!(reports(&mut watch).await);
        assert!(!reports(&mut watch).await);
        write(&file, "one");
        assert!(reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_still_written_is_left_alone() {
        let (_folder, file, mut watch) = watched().await;
        for round in 0..10 {
            write(&file, &"x".repeat(round));
            let next = watch.next_check + Duration::from_millis(2);
            assert!(tokio::time::timeout_at(next, watch.changed()).await.is_err(), "in round {round}");
        }
        assert!(reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_by_one_who_is_always_interrupted() {
        let (_folder, file, mut watch) = watched().await;
        write(&file, "another");
        let mut interrupted = 0;
        while tokio::time::timeout(Duration::from_millis(700), watch.changed()).await.is_err() {
            interrupted += 1;
        }
        assert!((1..6).contains(&interrupted), "{interrupted}");
    }

    /// Both writes may have one time stamp, as the clock of a file system ticks slowly.
    #[tokio::test(start_paused = true)]
    async fn as_many_bytes_written_in_the_same_moment_are_a_change() {
        let (folder, ..) = watched().await;
        let file = folder.path().join("b");
        write(&file, "one");
        let mut watch = FileWatch::of([file.clone()]);
        write(&file, "two");
        assert!(reports(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_is_not_read_again_and_again() {
        let (_folder, file, _) = watched().await;
        let mut file = WatchedFile::new(file);
        let looks: Vec<_> = (0..6).map(|_| file.check()).collect();
        assert_eq!(looks, [true, true, false, false, false, false]);
        write(&file.path, "another");
        assert!(file.check());
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = TempDir::new().unwrap();
        assert!(!WatchedFile::new(folder.path().to_owned()).check());
        assert!(!WatchedFile::new("/dev/zero".into()).check());
    }
}
