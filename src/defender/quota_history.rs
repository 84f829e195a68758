//! The calls of earlier runs, and the recorder of new calls.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::ApiOperation;

/// Records a call before it is made, so that a later run counts it even if this process is killed.
pub type CallRecorder =
    Arc<dyn Fn(Timestamp, ApiOperation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The calls that count against the quota beyond the lifetime of a client.
#[derive(Clone, Default)]
pub struct QuotaHistory {
    /// Time and operation of the calls that earlier runs made in the last hour.
    pub made: Vec<(Timestamp, ApiOperation)>,
    /// Records each new call; `None` without storage.
    pub recorder: Option<CallRecorder>,
}

impl QuotaHistory {
    /// Age and operation of each call. A call in the future, after the clock was set back, counts as made now.
    pub(super) fn ages(&self, now: Timestamp) -> impl Iterator<Item = (Duration, ApiOperation)> {
        self.made.iter().map(move |(at, endpoint)| {
            (Duration::try_from(now.duration_since(*at)).unwrap_or_default(), *endpoint)
        })
    }

    pub(super) async fn record(&self, at: Timestamp, endpoint: ApiOperation) {
        if let Some(recorder) = &self.recorder {
            recorder(at, endpoint).await;
        }
    }
}

impl fmt::Debug for QuotaHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaHistory").field("made", &self.made.len()).finish_non_exhaustive()
    }
}
