//! The hand on the running simulator: faults, the fleet, the authority, time, and what was asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::authority::Authority;
use super::calendar::{Day, SimulatedTime};
use super::calls::{Call, CallLog, TokenRequest};
use super::export::{self, ExportedKb, Exports};
use super::faults::{Fault, FaultQueue, Times};
use super::fleet::{Fleet, MissingKb};
use super::quota::Quota;
use super::{Awkwardness, Endpoint, Now, Options};

/// Everything that the handlers and the [`Control`] share.
pub(super) struct Shared {
    pub(super) base_url: String,
    /// Where the files of the export lie.
    pub(super) files_url: String,
    pub(super) now: Now,
    pub(super) time: SimulatedTime,
    pub(super) page_size: usize,
    pub(super) awkwardness: Awkwardness,
    pub(super) rows_per_update: usize,
    /// Calls per minute and hour of the export's list, while there are quotas at all.
    export_quota: (u32, u32),
    fleet: Mutex<Fleet>,
    exports: Mutex<Exports>,
    faults: Mutex<FaultQueue>,
    calls: Mutex<CallLog>,
    authority: Mutex<Authority>,
    quotas: Mutex<Quotas>,
    /// Changes with every call.
    called: watch::Sender<()>,
}

/// Quotas are per API; the three machine calls are taken as one.
pub(super) struct Quotas {
    pub(super) machines: Quota,
    pub(super) missing_kbs: Quota,
    pub(super) export: Quota,
}

impl Quotas {
    /// The export has its own limits, and none where the others have none per minute.
    fn new(per_minute: Option<u32>, per_hour: Option<u32>, export: (u32, u32)) -> Self {
        let quota = || Quota::new(per_minute, per_hour);
        let export_limit = |limit| per_minute.and(Some(limit));
        let export = Quota::new(export_limit(export.0), export_limit(export.1));
        Self { machines: quota(), missing_kbs: quota(), export }
    }
}

impl Shared {
    pub(super) fn new(base_url: String, files_url: String, options: &Options) -> Self {
        let export_quota = (options.export_quota_per_minute, options.export_quota_per_hour);
        let quotas = Quotas::new(options.quota_per_minute, options.quota_per_hour, export_quota);
        Self {
            authority: Mutex::new(Authority::new(&base_url, options)),
            base_url,
            files_url,
            now: options.now.clone(),
            time: SimulatedTime::new(options.start, options.day_length),
            page_size: options.page_size.max(1),
            awkwardness: options.awkwardness,
            rows_per_update: options.rows_per_update,
            export_quota,
            exports: Mutex::new(Exports::new(options)),
            fleet: Mutex::new(Fleet::generate(options)),
            faults: Mutex::default(),
            calls: Mutex::default(),
            quotas: Mutex::new(quotas),
            called: watch::Sender::new(()),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(super) fn today(&self) -> Day {
        self.time.today()
    }

    pub(super) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        lock(&self.fleet)
    }

    pub(super) fn exports(&self) -> MutexGuard<'_, Exports> {
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

    pub(super) fn quotas(&self) -> MutexGuard<'_, Quotas> {
        lock(&self.quotas)
    }

    pub(super) fn notify_called(&self) {
        self.called.send_replace(());
    }
}

/// A panic in one request must not take the others along.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Steers a running simulator and tells what it saw. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("url", &self.shared.base_url).finish_non_exhaustive()
    }
}

/// Faults.
impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Switches a fault on for an endpoint. Of several that fit a call, the one switched on first is taken.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault, times: Times) {
        self.shared.faults().push(endpoint, None, fault, times);
    }

    /// Switches a fault on for one machine's getmissingkbs.
    pub fn inject_for_machine(&self, machine_id: &str, fault: Fault, times: Times) {
        self.shared.faults().push(Endpoint::MissingKbs, Some(machine_id), fault, times);
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        self.shared.faults().clear();
    }
}

/// What was asked.
impl Control {
    /// Calls so far, whatever the answer.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.shared.calls().requests(endpoint)
    }

    /// The most calls that were being answered at once.
    #[must_use]
    pub fn peak_concurrency(&self, endpoint: Endpoint) -> u64 {
        self.shared.calls().peak(endpoint)
    }

    /// Calls that came although an earlier one had been told to wait longer (429 of the quota).
    #[must_use]
    pub fn impatient_calls(&self) -> u64 {
        let quotas = self.shared.quotas();
        quotas.machines.impatient() + quotas.missing_kbs.impatient() + quotas.export.impatient()
    }

    /// All calls, oldest first (the newest twenty thousand).
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls().calls()
    }

    /// All requests for tokens, oldest first, with their fields decoded.
    #[must_use]
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.shared.calls().tokens()
    }

    /// Waits until at least `count` calls have arrived.
    pub async fn wait_for_requests(&self, endpoint: Endpoint, count: u64) {
        let mut called = self.shared.called.subscribe();
        while self.requests(endpoint) < count {
            if called.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The fleet.
impl Control {
    /// Adds a record to the end of the list, or replaces the one with its id. See
    /// [`machine_record`](super::machine_record). It misses nothing until told.
    pub fn add_machine(&self, record: Value) {
        self.shared.fleet().add(record);
    }

    /// Removes a machine from the list; its getmissingkbs answers 404.
    pub fn remove_machine(&self, machine_id: &str) {
        self.shared.fleet().remove(machine_id);
    }

    /// Sets what a machine misses, from now on and whatever the day. The id need not be in the list.
    pub fn set_missing(&self, machine_id: &str, missing: Vec<MissingKb>) {
        self.shared.fleet().set_missing(machine_id, missing);
    }

    /// Sets the body of a machine's getmissingkbs, byte for byte.
    pub fn set_reply(&self, machine_id: &str, body: impl Into<Bytes>) {
        self.shared.fleet().set_reply(machine_id, body.into());
    }

    /// Ids of the machines an exporter would judge, in the order of the list.
    #[must_use]
    pub fn machine_ids(&self) -> Vec<String> {
        let fleet = self.shared.fleet();
        fleet.in_scope().filter_map(|record| record.id().map(str::to_owned)).collect()
    }

    /// A machine's record as the list would show it now.
    #[must_use]
    pub fn machine(&self, machine_id: &str) -> Option<Value> {
        let fleet = self.shared.fleet();
        fleet.record(machine_id).map(|record| record.to_json(self.shared.now()))
    }

    /// The KBs, digits only, that a machine misses today; the truth, whatever the reply looks like.
    #[must_use]
    pub fn missing(&self, machine_id: &str) -> BTreeSet<String> {
        self.shared.fleet().missing(machine_id, self.shared.today())
    }

    /// Moves the simulated calendar by so many days, back when negative.
    pub fn skip_days(&self, days: i32) {
        self.shared.time.skip(days);
    }
}

/// The bulk export.
impl Control {
    /// What the newest snapshot of the export says a machine misses, by number; the truth, whatever the rows
    /// look like. None: it has no rows. Without a snapshot the first one is made.
    #[must_use]
    pub fn exported(&self, machine_id: &str) -> Option<Vec<ExportedKb>> {
        export::exported(&self.shared, machine_id)
    }

    /// Makes the next list show a new snapshot, however old the newest is.
    pub fn rebuild_export(&self) {
        self.shared.exports().rebuild();
    }

    /// Sets the time that the newest snapshot says it was made at. Nothing in it was first seen later.
    pub fn set_export_generated(&self, generated: Timestamp) {
        let (now, today) = (self.shared.now(), self.shared.today());
        self.shared.exports().newest(now, today).generated = generated;
    }

    /// Makes every link issued so far expire.
    pub fn expire_links(&self) {
        self.shared.exports().expire_links();
    }
}

/// The authority and the quotas.
impl Control {
    /// Lets the client authenticate with this certificate (PEM).
    ///
    /// # Errors
    /// When the text holds no certificate.
    pub fn register_certificate(&self, pem: &str) -> Result<(), InvalidCertificate> {
        self.shared.authority().register_certificate(pem).ok_or(InvalidCertificate)
    }

    /// Lets the client authenticate with this token of another identity provider (workload identity).
    pub fn register_federated_token(&self, token: &str) {
        self.shared.authority().federated_token = Some(token.to_owned());
    }

    /// Replaces the client secret; none means that the one there is has expired.
    pub fn set_client_secret(&self, secret: Option<&str>) {
        self.shared.authority().secret = secret.map(str::to_owned);
    }

    /// Application roles of tokens issued from now on.
    pub fn set_roles(&self, roles: &[&str]) {
        self.shared.authority().roles = roles.iter().map(|&role| role.to_owned()).collect();
    }

    /// Makes the API refuse every token issued so far, as if they had expired.
    pub fn revoke_tokens(&self) {
        self.shared.authority().revoke_tokens();
    }

    /// Sets the quotas anew, with nothing used. The export's stay what they were; without one per minute it
    /// has none either.
    pub fn set_quota(&self, per_minute: Option<u32>, per_hour: Option<u32>) {
        *self.shared.quotas() = Quotas::new(per_minute, per_hour, self.shared.export_quota);
    }
}

/// The text given as a certificate holds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no RSA certificate found in the PEM text")]
pub struct InvalidCertificate;
