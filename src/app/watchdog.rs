//! Whether every part gets on.
//!
//! A part that is watched gives a sign of life now and then, from its own task: one that holds its
//! thread gives none. Nor does one that waits for ever: it has to tell of progress, and gets the time
//! that its longest wait takes. So whoever waits for the quota, or for an API that is slow within its
//! time limits, is alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Signs of life in the time of a sign that is awaited.
const SIGNS: u32 = 4;

/// Watches parts. Cheap to clone; clones watch together.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    /// A part that gives no sign for so long hangs; none when nobody wants to know.
    limit: Option<Duration>,
    signs: Arc<Mutex<BTreeMap<u64, Sign>>>,
}

#[derive(Debug)]
struct Sign {
    part: String,
    at: Instant,
}

impl Watchdog {
    /// With a `limit` from which on a part counts as one that hangs.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, signs: Arc::default() }
    }

    /// Does `work` and watches it. It is alive while its task runs and what `progress` answers was another
    /// number within `patience`.
    pub(super) async fn over<T>(
        &self,
        part: String,
        patience: Duration,
        progress: impl Fn() -> u64,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(limit) = self.limit else { return work.await };
        let watched = Watched::new(self, part);
        let (mut known, mut since) = (progress(), Instant::now());
        let mut time = interval(limit / SIGNS);
        time.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = time.tick() => {
                    let now = progress();
                    if now != known {
                        (known, since) = (now, Instant::now());
                    }
                    if since.elapsed() < patience {
                        watched.is_alive();
                    }
                }
            }
        }
    }

    /// Calls `feed` twice in each `limit`, while every part is alive.
    pub(super) async fn run(&self, feed: impl Fn()) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        let mut time = interval(limit / 2);
        time.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = None;
        loop {
            time.tick().await;
            let hanging = self.hanging(limit);
            if hanging.is_none() {
                feed();
            } else if said != hanging {
                tracing::error!(
                    part = hanging,
                    "a part hangs: the service manager is not told any more that all is well"
                );
            }
            said = hanging;
        }
    }

    fn hanging(&self, limit: Duration) -> Option<String> {
        let signs = self.signs();
        signs.values().find(|sign| sign.at.elapsed() > limit).map(|sign| sign.part.clone())
    }

    /// Every change is a single step, whatever panicked meanwhile.
    fn signs(&self) -> MutexGuard<'_, BTreeMap<u64, Sign>> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that is watched while this lives.
struct Watched<'a> {
    watchdog: &'a Watchdog,
    key: u64,
}

impl<'a> Watched<'a> {
    fn new(watchdog: &'a Watchdog, part: String) -> Self {
        let mut signs = watchdog.signs();
        let key = signs.last_key_value().map_or(0, |(key, _)| key + 1);
        signs.insert(key, Sign { part, at: Instant::now() });
        Self { watchdog, key }
    }

    fn is_alive(&self) {
        if let Some(sign) = self.watchdog.signs().get_mut(&self.key) {
            sign.at = Instant::now();
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watchdog.signs().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_mins(1);

    /// A watchdog, what it fed so far, and the tasks.
    fn watchdog() -> (Watchdog, Arc<AtomicU64>, JoinSet<()>) {
        let (watchdog, fed, mut tasks) =
            (Watchdog::new(Some(LIMIT)), Arc::new(AtomicU64::new(0)), JoinSet::new());
        let (feeder, count) = (watchdog.clone(), Arc::clone(&fed));
        tasks.spawn(async move {
            let give = || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            feeder.run(give).await;
        });
        (watchdog, fed, tasks)
    }

    /// How often it is fed in the next minute.
    async fn feedings(fed: &AtomicU64) -> u64 {
        let before = fed.load(Ordering::Relaxed);
        sleep(Duration::from_mins(1)).await;
        fed.load(Ordering::Relaxed) - before
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fed_twice_in_its_time_while_every_part_gets_on() {
        let (watchdog, fed, mut tasks) = watchdog();
        let waits = watchdog.clone();
        tasks.spawn(async move { waits.over("waits".into(), PATIENCE * 100, || 0, pending()).await });
        let steps = Arc::new(AtomicU64::new(0));
        let (works, counted) = (watchdog.clone(), Arc::clone(&steps));
        tasks.spawn(async move {
            let work = async {
                loop {
                    sleep(PATIENCE / 2).await;
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            };
            works.over("works".into(), PATIENCE, move || counted.load(Ordering::Relaxed), work).await;
        });
        sleep(Duration::from_secs(1)).await;
        for _ in 0..10 {
            assert_eq!(feedings(&fed).await, 12);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_waits_for_ever_is_not_fed_for() {
        let (watchdog, fed, mut tasks) = watchdog();
        let hangs = watchdog.clone();
        tasks.spawn(async move { hangs.over("hangs".into(), PATIENCE, || 7, pending()).await });
        sleep(PATIENCE + 2 * LIMIT).await;
        assert_eq!(feedings(&fed).await, 0);
        tasks.abort_all();
    }

    /// A task that is never run stands for one that never gives its thread back.
    #[tokio::test(start_paused = true)]
    async fn a_part_whose_task_does_not_run_is_not_fed_for_until_it_runs_again() {
        let (watchdog, fed, _tasks) = watchdog();
        let mut part =
            std::pin::pin!(watchdog.over("stands still".into(), PATIENCE * 100, || 0, pending::<()>()));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut part).await.is_err());
        sleep(2 * LIMIT).await;
        assert_eq!(feedings(&fed).await, 0);
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut part).await.is_err());
        let before = fed.load(Ordering::Relaxed);
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut part).await.is_err());
        assert_eq!(fed.load(Ordering::Relaxed) - before, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ended_is_not_missed() {
        let (watchdog, fed, _tasks) = watchdog();
        let ended = watchdog.over("ends".into(), PATIENCE, || 0, sleep(LIMIT)).await;
        assert_eq!(ended, ());
        sleep(2 * LIMIT).await;
        assert_eq!(feedings(&fed).await, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_watched_that_nobody_wants_to_know_of() {
        let watchdog = Watchdog::new(None);
        assert_eq!(watchdog.over("a part".into(), PATIENCE, || panic!("it is asked"), async { 1 }).await, 1);
        let feeding = watchdog.run(|| panic!("it is fed"));
        assert!(tokio::time::timeout(Duration::from_hours(1), feeding).await.is_err());
    }
}
