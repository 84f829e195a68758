//! The handle that controls a running simulator: faults, fleet, authority, time, and recorded calls.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::calendar::Day;
use super::calls::{Call, TokenRequest};
use super::endpoint::Endpoint;
use super::export::list;
use super::export::update_catalog::ExportedKb;
use super::facts;
use super::faults::{Fault, Times};
use super::fleet::MissingKb;
use super::odata::NextLinks;
use super::state::{CallQuotas, SimulatorState};

/// Controls a running simulator and returns what it recorded. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    state: Arc<SimulatorState>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("url", &self.state.base_url).finish_non_exhaustive()
    }
}

/// Faults.
impl Control {
    pub(super) fn new(state: Arc<SimulatorState>) -> Self {
        Self { state }
    }

    /// Injects a fault for an endpoint. If several faults match a call, the oldest is used.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault, times: Times) {
        self.state.faults().push(endpoint, None, fault, times);
    }

    /// Injects a fault for one machine's getmissingkbs.
    pub fn inject_for_machine(&self, machine_id: &str, fault: Fault, times: Times) {
        self.state.faults().push(Endpoint::MissingKbs, Some(machine_id), fault, times);
    }

    /// Injects a fault for one CVRF document, such as `2020-Mar`.
    pub fn inject_for_document(&self, id: &str, fault: Fault, times: Times) {
        self.state.faults().push(Endpoint::MsrcDocument, Some(id), fault, times);
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.state.faults().clear();
    }
}

/// Recorded calls.
impl Control {
    /// The number of calls so far, with any status.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.state.calls().requests(endpoint)
    }

    /// The largest number of calls that were in progress at the same time.
    #[must_use]
    pub fn peak_concurrency(&self, endpoint: Endpoint) -> u64 {
        self.state.calls().peak(endpoint)
    }

    /// The number of calls that arrived before the `Retry-After` of an earlier 429 had passed.
    #[must_use]
    pub fn early_calls(&self) -> u64 {
        let quotas = self.state.quotas();
        quotas.machines.early_calls() + quotas.missing_kbs.early_calls() + quotas.export.early_calls()
    }

    /// All calls, oldest first (the newest 20,000).
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls().calls()
    }

    /// All token requests, oldest first, with their fields decoded.
    #[must_use]
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.state.calls().tokens()
    }

    /// Waits until at least `count` calls have arrived.
    pub async fn wait_for_requests(&self, endpoint: Endpoint, count: u64) {
        let mut called = self.state.called.subscribe();
        while self.requests(endpoint) < count {
            if called.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The fleet.
impl Control {
    /// Adds a record to the end of the list, or replaces the record with the same id. See
    /// [`machine_record`](super::machine_record). The machine misses nothing until
    /// [`set_missing`](Self::set_missing).
    pub fn add_machine(&self, record: Value) {
        self.state.fleet().add(record);
    }

    /// Removes a machine from the list; its getmissingkbs then answers 404.
    pub fn remove_machine(&self, machine_id: &str) {
        self.state.fleet().remove(machine_id);
    }

    /// Sets the updates that a machine misses, from now on and on every day. The machine need not be in the
    /// list.
    pub fn set_missing(&self, machine_id: &str, missing: Vec<MissingKb>) {
        self.state.fleet().set_missing(machine_id, missing);
    }

    /// Sets the body of a machine's getmissingkbs, byte for byte.
    pub fn set_reply(&self, machine_id: &str, body: impl Into<Bytes>) {
        self.state.fleet().set_reply(machine_id, body.into());
    }

    /// The ids of the machines that an exporter would take into its scope, in the order of the list.
    #[must_use]
    pub fn machine_ids(&self) -> Vec<String> {
        let fleet = self.state.fleet();
        fleet.in_scope().filter_map(|record| record.id().map(str::to_owned)).collect()
    }

    /// The record of a machine as the list shows it now.
    #[must_use]
    pub fn machine(&self, machine_id: &str) -> Option<Value> {
        let fleet = self.state.fleet();
        fleet.record(machine_id).map(|record| record.to_json(self.state.now()))
    }

    /// The KBs (digits only) that a machine misses today, independent of oddities in the reply.
    #[must_use]
    pub fn missing(&self, machine_id: &str) -> BTreeSet<String> {
        self.state.fleet().missing(machine_id, self.state.today(), self.state.now())
    }

    /// Sets the form of the next links in lists of machines.
    pub fn set_next_links(&self, links: NextLinks) {
        self.state.set_next_links(links);
    }

    /// Stops patching: from tomorrow on, no machine installs an update.
    pub fn stop_patching(&self) {
        self.state.fleet().stop_patching(self.state.today());
    }

    /// Moves the simulated calendar forward by `days`, or back if negative.
    pub fn skip_days(&self, days: i32) {
        self.state.time.skip(days);
    }
}

/// The past of the fleet, and a faster pace.
impl Control {
    /// The updates that a machine missed from the day `first` until today: on the first day, and on each later day of
    /// a change. Empty for a machine that Defender does not assess. An inactive one has a past until it was last seen.
    #[must_use]
    pub fn past(&self, machine_id: &str, first: Date) -> Vec<(Date, Vec<MissingKb>)> {
        let past = self.state.fleet().past(machine_id, Day::of(first), self.state.today());
        past.into_iter().map(|(day, missing)| (day.date(), missing)).collect()
    }

    /// The number of machines of which the API says today that they miss a KB.
    #[must_use]
    pub fn reported_machines(&self, kb: &str) -> u64 {
        self.state.fleet().reported_today(kb, self.state.today(), self.state.now())
    }

    /// Starts a rollout: from now on, one more of the machines that miss updates installs all of them after each
    /// `every`. One in five is left out, and machines that are never patched stay as they are.
    pub fn start_rollout(&self, every: Duration) {
        self.state.fleet().start_rollout(self.state.today(), self.state.now(), every);
    }

    /// Drops the data about a machine for good: it stays in the list, its getmissingkbs answers 404, and no export
    /// version has rows of it.
    pub fn silence(&self, machine_id: &str) {
        self.state.fleet().silence(machine_id);
    }
}

/// The bulk export.
impl Control {
    /// The KBs that a machine misses in the newest export version, by number, independent of oddities in the
    /// rows. None if the machine has no rows. The first call creates a version if there is none.
    #[must_use]
    pub fn exported(&self, machine_id: &str) -> Option<Vec<ExportedKb>> {
        list::exported(&self.state, machine_id)
    }

    /// Makes the next list show a new export version, whatever the age of the newest one.
    pub fn rebuild_export(&self) {
        self.state.exports().rebuild();
    }

    /// Sets the generation time of the newest export version. No `first_seen` in it is later.
    pub fn set_export_generated(&self, generated: Timestamp) {
        let now = self.state.now();
        let today = self.state.today();
        self.state.exports().newest(now, today).generated = generated;
    }

    /// Expires every link issued so far.
    pub fn expire_links(&self) {
        self.state.exports().expire_links();
    }
}

/// The public catalogues.
impl Control {
    /// The catalogues of today as files, by the names that they have when they are brought by hand: the CVRF
    /// documents of the last `months` months, KEV, EPSS and the end of servicing.
    #[must_use]
    pub fn catalogue_files(&self, months: usize) -> Vec<(String, Vec<u8>)> {
        facts::files(&self.state, months)
    }
}

/// The authority and the quotas.
impl Control {
    /// Registers a certificate (PEM) that the client may authenticate with.
    ///
    /// # Errors
    /// Returns an error if the text contains no certificate.
    pub fn register_certificate(&self, pem: &str) -> Result<(), InvalidCertificate> {
        self.state.authority().register_certificate(pem).ok_or(InvalidCertificate)
    }

    /// Registers a token of another identity provider (workload identity) that the client may authenticate
    /// with.
    pub fn register_federated_token(&self, token: &str) {
        self.state.authority().federated_token = Some(token.to_owned());
    }

    /// Replaces the client secret. None means that the current one has expired.
    pub fn set_client_secret(&self, secret: Option<&str>) {
        self.state.authority().secret = secret.map(str::to_owned);
    }

    /// Sets the application roles of tokens issued from now on.
    pub fn set_roles(&self, roles: &[&str]) {
        self.state.authority().roles = roles.iter().map(|&role| role.to_owned()).collect();
    }

    /// Makes the API reject every token issued so far, as if it had expired.
    pub fn revoke_tokens(&self) {
        self.state.authority().revoke_tokens();
    }

    /// Replaces the quotas, with no calls counted. The export keeps its own limits; without a limit per
    /// minute it has no quota either.
    pub fn set_quota(&self, per_minute: Option<u32>, per_hour: Option<u32>) {
        *self.state.quotas() = CallQuotas::new(per_minute, per_hour, self.state.export_quota);
    }
}

/// Error: the PEM text contains no RSA certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no RSA certificate found in the PEM text")]
pub struct InvalidCertificate;
