//! Third step: the snapshot that readers see is replaced.

use std::sync::Arc;

use tokio::sync::watch;

use super::Snapshot;

/// Gives readers the newest [`Snapshot`].
pub type SnapshotReader = watch::Receiver<Arc<Snapshot>>;

/// Replaces the snapshot.
#[derive(Debug)]
pub(super) struct SnapshotWriter(watch::Sender<Arc<Snapshot>>);

pub(super) fn channel(first: Snapshot) -> (SnapshotWriter, SnapshotReader) {
    let (sender, reader) = watch::channel(Arc::new(first));
    (SnapshotWriter(sender), reader)
}

impl SnapshotWriter {
    pub(super) fn generation(&self) -> u64 {
        self.0.borrow().generation
    }

    /// Makes `snapshot` the newest one and returns the previous one.
    pub(super) fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.0.send_replace(Arc::new(snapshot))
    }
}
