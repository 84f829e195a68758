//! Renders once per change and swaps one value.
//!
//! Pollers hand over what they know now; the publisher task renders the newest state of all tenants
//! and replaces the one [`Published`] that readers see. States that follow each other quickly are
//! rendered once. Readers never wait and never see half a change: fleets and body are in one value.
//!
//! Each state is saved before it is served: what a scrape once saw is there again after a crash.
//!
//! Ages change without an answer of the API (current becomes stale), so the task also renders when
//! nothing was handed over for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fleet::{Ages, Policy, TenantFleet};
use crate::metrics::{self, View, body::Body};
use crate::selfmon::SelfMetrics;
use crate::store::SharedStore;

/// What readers see; never changes once it is published.
#[derive(Debug)]
pub struct Published {
    /// Grows by one with each publication, from 0 for the empty fleets at start.
    pub generation: u64,
    /// When it was rendered: the moment at which ages are judged.
    pub at: Timestamp,
    /// All tenants, in the order of the configuration.
    pub fleets: Vec<Arc<TenantFleet>>,
    /// The ages that were in force.
    pub ages: Ages,
    /// The exposition of the fleets.
    pub body: Body,
}

impl Published {
    /// Renders `fleets` as they are at `at`.
    #[must_use]
    pub fn render(
        generation: u64,
        fleets: Vec<Arc<TenantFleet>>,
        at: Timestamp,
        ages: Ages,
        policies: &[Policy],
    ) -> Self {
        let exposition = metrics::render(&View { fleets: &fleets, now: at, ages, policies });
        Self { generation, at, ages, body: Body::new(exposition), fleets }
    }
}

/// Where readers take the newest [`Published`] from.
pub type Reader = watch::Receiver<Arc<Published>>;

/// Where pollers hand over what they know. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    newest: Arc<Mutex<Vec<Arc<TenantFleet>>>>,
    changed: Arc<Notify>,
}

impl Publisher {
    /// Hands over the state of one tenant; it replaces the older one.
    pub fn submit(&self, fleet: &TenantFleet) {
        for slot in self.newest().iter_mut().filter(|slot| slot.tenant == fleet.tenant) {
            *slot = Arc::new(fleet.clone());
        }
        self.changed.notify_one();
    }

    /// Every slot is replaced whole, so a panic elsewhere left it usable.
    fn newest(&self) -> MutexGuard<'_, Vec<Arc<TenantFleet>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that renders.
#[derive(Debug)]
pub struct Publication {
    publisher: Publisher,
    sender: watch::Sender<Arc<Published>>,
    ages: Ages,
    policies: Arc<[Policy]>,
    clock: Clock,
    selfmon: Arc<SelfMetrics>,
    store: Option<SharedStore>,
}

/// States are rendered at least so often, for ages that pass.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Rendering may take a tenth of the time, so that a large fleet that changes all the time leaves
/// the machine to others.
const REST_PER_RENDERING: u32 = 9;

/// Starts with what is known of each tenant, if only its name. Without a `store` nothing outlives
/// the process.
#[must_use]
pub fn publication(
    fleets: Vec<TenantFleet>,
    ages: Ages,
    policies: Arc<[Policy]>,
    clock: Clock,
    selfmon: Arc<SelfMetrics>,
    store: Option<SharedStore>,
) -> (Publisher, Publication, Reader) {
    let fleets: Vec<_> = fleets.into_iter().map(Arc::new).collect();
    let publisher = Publisher { newest: Arc::new(Mutex::new(fleets.clone())), changed: Arc::default() };
    let known = Published::render(0, fleets, clock.now(), ages, &policies);
    let (sender, reader) = watch::channel(Arc::new(known));
    let publication =
        Publication { publisher: publisher.clone(), sender, ages, policies, clock, selfmon, store };
    (publisher, publication, reader)
}

impl Publication {
    /// Renders and publishes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let changed = tokio::time::timeout(LONGEST_WAIT, self.publisher.changed.notified());
            if stop.run_until_cancelled(changed).await.is_none() {
                break;
            }
            let took = self.publish().await;
            let rest = tokio::time::sleep(took * REST_PER_RENDERING);
            if stop.run_until_cancelled(rest).await.is_none() {
                break;
            }
        }
        // What was handed over last is remembered too.
        self.publish().await;
    }

    async fn publish(&self) -> Duration {
        let started = Instant::now();
        let fleets = self.publisher.newest().clone();
        let (generation, ages, now) = (self.sender.borrow().generation + 1, self.ages, self.clock.now());
        let (store, policies) = (self.store.clone(), Arc::clone(&self.policies));
        // Off the threads that serve: a large fleet takes a good part of a second.
        let rendering = tokio::task::spawn_blocking(move || {
            // First to disk: what was served once must be served again after a crash.
            if let Some(store) = store {
                store.save(&fleets);
            }
            Published::render(generation, fleets, now, ages, &policies)
        });
        let published = rendering.await.expect("Safe: rendering does not panic and is never aborted");
        let took = started.elapsed();
        let body = &published.body;
        self.selfmon.rendered(body.series(), body.plain_len(), body.gzip_len(), took);
        self.sender.send_replace(Arc::new(published));
        took
    }
}
