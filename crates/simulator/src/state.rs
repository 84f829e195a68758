//! The state shared by the request handlers and the [`Control`](super::Control).

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::authority::Authority;
use super::calendar::{Day, SimulatedCalendar};
use super::calls::CallLog;
use super::export_versions::ExportHistory;
use super::faults::FaultQueue;
use super::fleet::SimulatedFleet;
use super::odata::NextLinks;
use super::options::{Now, Options, Realism};
use super::quota::CallQuota;

/// The state shared by the request handlers and the [`Control`](super::Control).
pub(super) struct SimulatorState {
    pub(super) base_url: String,
    /// The base URL of the store that holds the files of the export.
    pub(super) files_url: String,
    pub(super) now: Now,
    pub(super) time: SimulatedCalendar,
    pub(super) page_size: usize,
    pub(super) realism: Realism,
    pub(super) rows_per_update: usize,
    /// Calls of the export's list per minute and per hour, if there are quotas at all.
    pub(super) export_quota: (u32, u32),
    fleet: Mutex<SimulatedFleet>,
    exports: Mutex<ExportHistory>,
    faults: Mutex<FaultQueue>,
    calls: Mutex<CallLog>,
    authority: Mutex<Authority>,
    quotas: Mutex<CallQuotas>,
    next_links: Mutex<NextLinks>,
    /// Notified at every call.
    pub(super) called: watch::Sender<()>,
}

/// The quotas of the APIs. The three machine calls share one quota.
pub(super) struct CallQuotas {
    pub(super) machines: CallQuota,
    pub(super) missing_kbs: CallQuota,
    pub(super) export: CallQuota,
}

impl CallQuotas {
    /// The export has its own limits, and none if the other APIs have no limit per minute.
    pub(super) fn new(per_minute: Option<u32>, per_hour: Option<u32>, export: (u32, u32)) -> Self {
        let quota = || CallQuota::new(per_minute, per_hour);
        let export_limit = |limit| per_minute.and(Some(limit));
        let export = CallQuota::new(export_limit(export.0), export_limit(export.1));
        Self { machines: quota(), missing_kbs: quota(), export }
    }
}

impl SimulatorState {
    pub(super) fn new(base_url: String, files_url: String, options: &Options) -> Self {
        let export_quota = (options.export_quota_per_minute, options.export_quota_per_hour);
        let quotas = CallQuotas::new(options.quota_per_minute, options.quota_per_hour, export_quota);
        Self {
            authority: Mutex::new(Authority::new(&base_url, options)),
            base_url,
            files_url,
            now: options.now.clone(),
            time: SimulatedCalendar::new(options.start, options.day_length),
            page_size: options.page_size.max(1),
            realism: options.realism,
            rows_per_update: options.rows_per_update,
            export_quota,
            exports: Mutex::new(ExportHistory::new(options)),
            fleet: Mutex::new(SimulatedFleet::generate(options)),
            faults: Mutex::default(),
            calls: Mutex::new(CallLog::new(options.logged_calls)),
            quotas: Mutex::new(quotas),
            next_links: Mutex::default(),
            called: watch::Sender::new(()),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(super) fn today(&self) -> Day {
        self.time.today()
    }

    pub(super) fn fleet(&self) -> MutexGuard<'_, SimulatedFleet> {
        lock(&self.fleet)
    }

    pub(super) fn exports(&self) -> MutexGuard<'_, ExportHistory> {
        lock(&self.exports)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, FaultQueue> {
        lock(&self.faults)
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, CallLog> {
        lock(&self.calls)
    }

    pub(super) fn authority(&self) -> MutexGuard<'_, Authority> {
        lock(&self.authority)
    }

    pub(super) fn quotas(&self) -> MutexGuard<'_, CallQuotas> {
        lock(&self.quotas)
    }

    pub(super) fn next_links(&self) -> NextLinks {
        *lock(&self.next_links)
    }

    pub(super) fn set_next_links(&self, links: NextLinks) {
        *lock(&self.next_links) = links;
    }

    pub(super) fn notify_called(&self) {
        self.called.send_replace(());
    }
}

/// A panic in one request must not break the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
