//! The watchdog: finds tasks that make no progress.
//!
//! A watched task sends heartbeats from its own task, so a task that blocks its thread sends none. A task that
//! waits forever sends none either: its progress counter has to change within its stall timeout, which covers
//! its longest legitimate wait. A poller that waits for the quota, or for a slow API within its time limits, is
//! therefore alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Heartbeats within the time in which one is expected.
const HEARTBEATS_PER_LIMIT: u32 = 4;

/// Watches tasks. Cheap to clone; all clones share the watched tasks.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    /// The longest time without a heartbeat; none if no watchdog is configured.
    limit: Option<Duration>,
    heartbeats: Arc<Mutex<BTreeMap<u64, Heartbeat>>>,
}

/// The last heartbeat of a task.
#[derive(Debug)]
struct Heartbeat {
    task: String,
    at: Instant,
}

impl Watchdog {
    /// A watchdog for which a task without a heartbeat within `limit` has stalled.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, heartbeats: Arc::default() }
    }

    /// Runs `work` and watches it. Heartbeats are sent while the task runs and the value of `progress` has
    /// changed within `stall_timeout`.
    pub(super) async fn watch<T>(
        &self,
        task: String,
        stall_timeout: Duration,
        progress: impl Fn() -> u64,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(limit) = self.limit else { return work.await };
        let watched = WatchedTask::new(self, task);
        let mut last_progress = progress();
        let mut changed_at = Instant::now();
        let mut timer = interval(limit / HEARTBEATS_PER_LIMIT);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return output,
                _ = timer.tick() => {
                    let current = progress();
                    if current != last_progress {
                        last_progress = current;
                        changed_at = Instant::now();
                    }
                    if changed_at.elapsed() < stall_timeout {
                        watched.send_heartbeat();
                    }
                }
            }
        }
    }

    /// Calls `notify` twice within each limit, while no task has stalled.
    pub(super) async fn run(&self, notify: impl Fn()) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        let mut timer = interval(limit / 2);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged = None;
        loop {
            timer.tick().await;
            let stalled = self.stalled_task(limit);
            if stalled.is_none() {
                notify();
            } else if logged != stalled {
                tracing::error!(
                    part = stalled,
                    "task is not making progress; systemd watchdog notifications suspended"
                );
            }
            logged = stalled;
        }
    }

    fn stalled_task(&self, limit: Duration) -> Option<String> {
        let heartbeats = self.heartbeats();
        let stalled = heartbeats.values().find(|heartbeat| heartbeat.at.elapsed() > limit);
        stalled.map(|heartbeat| heartbeat.task.clone())
    }

    /// Poisoning is ignored: every change is a single step, so a panic elsewhere leaves the map consistent.
    fn heartbeats(&self) -> MutexGuard<'_, BTreeMap<u64, Heartbeat>> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is watched until this value is dropped.
struct WatchedTask<'a> {
    watchdog: &'a Watchdog,
    key: u64,
}

impl<'a> WatchedTask<'a> {
    fn new(watchdog: &'a Watchdog, task: String) -> Self {
        let mut heartbeats = watchdog.heartbeats();
        let key = heartbeats.last_key_value().map_or(0, |(key, _)| key + 1);
        heartbeats.insert(key, Heartbeat { task, at: Instant::now() });
        Self { watchdog, key }
    }

    fn send_heartbeat(&self) {
        if let Some(heartbeat) = self.watchdog.heartbeats().get_mut(&self.key) {
            heartbeat.at = Instant::now();
        }
    }
}

impl Drop for WatchedTask<'_> {
    fn drop(&mut self) {
        self.watchdog.heartbeats().remove(&self.key);
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
    const STALL_TIMEOUT: Duration = Duration::from_mins(1);

    /// A running watchdog, the number of its notifications, and its tasks.
    fn start_watchdog() -> (Watchdog, Arc<AtomicU64>, JoinSet<()>) {
        let watchdog = Watchdog::new(Some(LIMIT));
        let notifications = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let runner = watchdog.clone();
        let counter = Arc::clone(&notifications);
        tasks.spawn(async move {
            let notify = || {
                counter.fetch_add(1, Ordering::Relaxed);
            };
            runner.run(notify).await;
        });
        (watchdog, notifications, tasks)
    }

    /// The number of notifications within the next minute.
    async fn notifications_in_a_minute(notifications: &AtomicU64) -> u64 {
        let before = notifications.load(Ordering::Relaxed);
        sleep(Duration::from_mins(1)).await;
        notifications.load(Ordering::Relaxed) - before
    }

    #[tokio::test(start_paused = true)]
    async fn it_notifies_twice_per_limit_while_all_tasks_progress() {
        let (watchdog, notifications, mut tasks) = start_watchdog();
        let waiting = watchdog.clone();
        tasks.spawn(async move { waiting.watch("waits".into(), STALL_TIMEOUT * 100, || 0, pending()).await });
        let steps = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&steps);
        let working = watchdog.clone();
        tasks.spawn(async move {
            let work = async {
                loop {
                    sleep(STALL_TIMEOUT / 2).await;
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            };
            working
                .watch("works".into(), STALL_TIMEOUT, move || progress.load(Ordering::Relaxed), work)
                .await;
        });
        sleep(Duration::from_secs(1)).await;
        for _ in 0..10 {
            assert_eq!(notifications_in_a_minute(&notifications).await, 12);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_forever_suspends_notifications() {
        let (watchdog, notifications, mut tasks) = start_watchdog();
        let hanging = watchdog.clone();
        tasks.spawn(async move { hanging.watch("hangs".into(), STALL_TIMEOUT, || 7, pending()).await });
        sleep(STALL_TIMEOUT + 2 * LIMIT).await;
        assert_eq!(notifications_in_a_minute(&notifications).await, 0);
        tasks.abort_all();
    }

    /// A task that is not polled stands for one that blocks its thread.
    #[tokio::test(start_paused = true)]
    async fn a_blocked_task_suspends_notifications_until_it_runs() {
        let (watchdog, notifications, _tasks) = start_watchdog();
        let work = watchdog.watch("blocked".into(), STALL_TIMEOUT * 100, || 0, pending::<()>());
        let mut work = std::pin::pin!(work);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut work).await.is_err());
        sleep(2 * LIMIT).await;
        assert_eq!(notifications_in_a_minute(&notifications).await, 0);
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut work).await.is_err());
        let before = notifications.load(Ordering::Relaxed);
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut work).await.is_err());
        assert_eq!(notifications.load(Ordering::Relaxed) - before, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_task_is_no_longer_watched() {
        let (watchdog, notifications, _tasks) = start_watchdog();
        let output = watchdog.watch("ends".into(), STALL_TIMEOUT, || 0, sleep(LIMIT)).await;
        assert_eq!(output, ());
        sleep(2 * LIMIT).await;
        assert_eq!(notifications_in_a_minute(&notifications).await, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_watched() {
        let watchdog = Watchdog::new(None);
        let progress = || panic!("the progress is read");
        assert_eq!(watchdog.watch("a task".into(), STALL_TIMEOUT, progress, async { 1 }).await, 1);
        let running = watchdog.run(|| panic!("a notification is sent"));
        assert!(tokio::time::timeout(Duration::from_hours(1), running).await.is_err());
    }
}
