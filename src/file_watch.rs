//! Tells when files hold something else than before.
//!
//! [`FileWatch`] looks at its files every two seconds, and reports a change once two looks a second apart
//! saw the same, so that a file that is just being written is left alone. It goes by content: a file
//! that is touched, or replaced by the same, has not changed. A look costs one `stat` of each file;
//! only a file whose stamp is new is read.
//!
//! Looking beats being told: `stat` follows every symbolic link anew, so a file that is renamed into
//! place, a link that is turned and a folder that is swapped above it (as Kubernetes does with
//! `..data`) are all the same to it, and network file systems answer it, while none of them sends inotify
//! events of what another machine wrote.
//!
//! What has to be done about a change is not known here, nor what is in a file: a digest is kept.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two looks while nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A change counts when it is still the same after so long.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A file is read at so many looks more after its stamp was new: some file systems count time in steps
/// of up to two seconds, in which a file can be written twice under one stamp.
const LOOKS_AT_A_NEW_STAMP: u32 = 2;

/// Only the start of a larger file is looked at; no file of ours is as large.
const LONGEST_READ: u64 = 16 << 20;

/// Watches a set of files.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<WatchedFile>,
    /// What they held when that was last reported.
    reported: Vec<ContentDigest>,
    next_look: Instant,
    /// A look under way, which goes on when nobody waits for it.
    looking: Option<JoinHandle<Vec<WatchedFile>>>,
}

impl FileWatch {
    /// Watches `files`; what they hold now is no change. Blocks: it reads them.
    ///
    /// Made before the files are read for use, it misses nothing that is written meanwhile.
    #[must_use]
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().map(WatchedFile::new).collect();
        let reported = contents(&files);
        Self { files, reported, next_look: Instant::now() + LOOK_EVERY, looking: None }
    }

    /// Waits until a file holds something else than at the last report, and has settled. A file that
    /// is gone, or can no longer be read, holds something else; one that was gone for a moment and is
    /// back as it was does not.
    ///
    /// May be dropped and called again: no change is lost.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep_until(self.next_look).await;
            let before = contents(&self.files);
            self.look().await;
            let now = contents(&self.files);
            let (is_new, is_settled) = (now != self.reported, now == before);
            let wait = if is_new && !is_settled { SETTLED_AFTER } else { LOOK_EVERY };
            self.next_look = Instant::now() + wait;
            if is_new && is_settled {
                self.reported = now;
                return;
            }
        }
    }

    async fn look(&mut self) {
        let files = &self.files;
        let looking = self.looking.get_or_insert_with(|| {
            let mut files = files.clone();
            // A file system of the network may take its time.
            tokio::task::spawn_blocking(move || {
                for file in &mut files {
                    file.look();
                }
                files
            })
        });
        self.files = looking.await.expect("Safe: looking does not panic and is never aborted");
        self.looking = None;
    }
}

fn contents(files: &[WatchedFile]) -> Vec<ContentDigest> {
    files.iter().map(|file| file.content).collect()
}

/// The digest of what a file holds; none when that cannot be told.
pub type ContentDigest = Option<[u8; 32]>;

/// What `file` holds now. Blocks.
#[must_use]
pub fn content(file: &Path) -> ContentDigest {
    Stamp::of(file).and_then(|_| digest(file).ok())
}

/// One file as it was last seen.
#[derive(Clone, Debug)]
struct WatchedFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// Looks at which it is read though its stamp stays the same.
    looks_left: u32,
    content: ContentDigest,
}

impl WatchedFile {
    fn new(path: PathBuf) -> Self {
        let mut file = Self { path, stamp: None, looks_left: 0, content: None };
        file.look();
        file
    }

    /// Tells whether it was read.
    fn look(&mut self) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.looks_left = LOOKS_AT_A_NEW_STAMP;
        } else if self.looks_left > 0 {
            self.looks_left -= 1;
        } else {
            return false;
        }
        self.content = content(&self.path);
        stamp.is_some()
    }
}

/// What changes when a file is written, replaced, or reached by another way. The time of the change
/// is among it, which no tool can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None when there is no such file. A pipe is none: to read it would take from it.
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
    let mut file = File::open(path)?.take(LONGEST_READ);
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

    /// Whether a change is reported within a minute.
    async fn reports(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(Duration::from_mins(1), watch.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_reported_once_and_soon() {
        let (_folder, file, mut watch) = watched().await;
        write(&file, "another");
        let written = Instant::now();
        assert!(reports(&mut watch).await);
        assert!(written.elapsed() <= LOOK_EVERY + SETTLED_AFTER + Duration::from_millis(2));
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
        let a_moment = watch.next_look + SETTLED_AFTER / 2;
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
            let next = watch.next_look + Duration::from_millis(2);
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
        let looks: Vec<_> = (0..6).map(|_| file.look()).collect();
        assert_eq!(looks, [true, true, false, false, false, false]);
        write(&file.path, "another");
        assert!(file.look());
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = TempDir::new().unwrap();
        assert!(!WatchedFile::new(folder.path().to_owned()).look());
        assert!(!WatchedFile::new("/dev/zero".into()).look());
    }
}
