//! The way from the pollers to the task: the newest fleets and options, waiting for publication.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::fleet::TenantFleet;
use crate::metrics::RenderOptions;

/// Takes the fleets of the pollers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FleetSender(Arc<Pending>);

#[derive(Debug)]
struct Pending {
    state: Mutex<PendingState>,
    /// There is something to publish.
    changed: Notify,
    /// A caller waits for the next publication.
    awaited: Notify,
}

/// Input of the next publication.
#[derive(Debug)]
pub(super) struct PendingState {
    pub(super) fleets: Vec<Arc<TenantFleet>>,
    pub(super) options: RenderOptions,
    /// Callers that are notified when it is published.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl FleetSender {
    pub(super) fn new(fleets: Vec<Arc<TenantFleet>>, options: RenderOptions) -> Self {
        let state = Mutex::new(PendingState { fleets, options, waiting: Vec::new() });
        Self(Arc::new(Pending { state, changed: Notify::new(), awaited: Notify::new() }))
    }

    /// Submits the state of one tenant; it replaces the previous one.
    pub fn submit(&self, fleet: &TenantFleet) {
        for slot in self.state().fleets.iter_mut().filter(|slot| slot.tenant == fleet.tenant) {
            *slot = Arc::new(fleet.clone());
        }
        self.0.changed.notify_one();
    }

    /// Replaces the published tenants, in this order, and the options. A tenant without a fleet keeps the
    /// last submitted one. Readers see the change in one step; the receiver is notified when it is
    /// published.
    #[must_use]
    pub fn reconfigure(
        &self,
        tenants: Vec<(Arc<str>, Option<TenantFleet>)>,
        options: RenderOptions,
    ) -> oneshot::Receiver<()> {
        let (published_tx, published_rx) = oneshot::channel();
        let mut state = self.state();
        let previous = std::mem::take(&mut state.fleets);
        let fleet = |(name, fleet): (Arc<str>, Option<TenantFleet>)| {
            let kept = || previous.iter().find(|fleet| fleet.tenant == name).cloned();
            let fleet = fleet.map(Arc::new).or_else(kept);
            fleet.unwrap_or_else(|| Arc::new(TenantFleet::new(name)))
        };
        state.fleets = tenants.into_iter().map(fleet).collect();
        state.options = options;
        state.waiting.push(published_tx);
        drop(state);
        self.0.awaited.notify_one();
        self.0.changed.notify_one();
        published_rx
    }

    /// Takes the input of the next publication.
    pub(super) fn take(&self) -> PendingState {
        let mut state = self.state();
        PendingState {
            fleets: state.fleets.clone(),
            options: state.options.clone(),
            waiting: std::mem::take(&mut state.waiting),
        }
    }

    /// Waits for a submission, at most for `longest`.
    pub(super) async fn changed(&self, longest: Duration) {
        // A timeout is no error: states change with time.
        drop(tokio::time::timeout(longest, self.0.changed.notified()).await);
    }

    /// Waits for `rest`, or until a caller waits for a publication.
    pub(super) async fn rest(&self, rest: Duration) {
        drop(tokio::time::timeout(rest, self.0.awaited.notified()).await);
    }

    /// Every field is replaced at once, so the state is usable after a panic elsewhere.
    fn state(&self) -> MutexGuard<'_, PendingState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
