//! The rate limit of the web configuration: a token bucket.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::config::web::RateLimit;

/// A bucket of tokens that starts full.
#[derive(Debug)]
pub(super) struct TokenBucket {
    limit: RateLimit,
    /// The time at which the bucket is full: a token is missing for each interval until then.
    full: Mutex<Instant>,
}

impl TokenBucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, full: Mutex::new(Instant::now()) }
    }

    /// Takes a token. Returns `false` if none is available.
    pub(super) fn take(&self) -> bool {
        let RateLimit { interval, burst } = self.limit;
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let since = (*full).max(now);
        let is_available = since - now <= interval * (burst.get() - 1);
        if is_available {
            *full = since + interval;
        }
        is_available
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn bucket(burst: u32) -> TokenBucket {
        let burst = NonZeroU32::new(burst).unwrap();
        TokenBucket::new(RateLimit { interval: Duration::from_secs(10), burst })
    }

    async fn taken_after(bucket: &TokenBucket, seconds: u64) -> usize {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        (0..10).filter(|_| bucket.take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_one_each_interval() {
        let bucket = bucket(3);
        for (seconds, taken) in [(0, 3), (9, 0), (1, 1), (9, 0), (12, 2), (8, 0), (1, 1), (1000, 3)] {
            assert_eq!(taken_after(&bucket, seconds).await, taken, "{seconds} s later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_burst_there_is_one_each_interval() {
        let bucket = bucket(1);
        for (seconds, taken) in [(0, 1), (9, 0), (1, 1), (30, 1)] {
            assert_eq!(taken_after(&bucket, seconds).await, taken, "{seconds} s later");
        }
    }
}
