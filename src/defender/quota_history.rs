//! The calls of earlier runs, and where calls of this one are noted.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::self_metrics::ApiOperation;

/// Notes a call before it is made, so that a later run counts it even if this one is killed.
pub type CallRecorder =
    Arc<dyn Fn(Timestamp, ApiOperation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What a client has to know of calls beyond its own life.
#[derive(Clone, Default)]
pub struct QuotaHistory {
    /// When calls were made in the last hour by earlier runs, and where.
    pub made: Vec<(Timestamp, ApiOperation)>,
    /// Told of each call; none when nothing outlives the process.
    pub journal: Option<CallRecorder>,
}

impl QuotaHistory {
    /// How long ago the calls were made, and where; those in the future, as after a clock was set back, count as
    /// made now.
    pub(super) fn ages(&self, now: Timestamp) -> impl Iterator<Item = (Duration, ApiOperation)> {
        self.made.iter().map(move |(at, endpoint)| {
            (Duration::try_from(now.duration_since(*at)).unwrap_or_default(), *endpoint)
        })
    }

    pub(super) async fn note(&self, at: Timestamp, endpoint: ApiOperation) {
        if let Some(journal) = &self.journal {
            journal(at, endpoint).await;
        }
    }
}

impl fmt::Debug for QuotaHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaHistory").field("made", &self.made.len()).finish_non_exhaustive()
    }
}
