//! A poller of a simulator, and what its readers see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::config::{Poll, Selectors, Tenant};
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::{PollStatus, TenantFleet};
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::Freshness;
use mde_exporter::poll::Poller;
use mde_exporter::publish::{Snapshot, SnapshotReader, SnapshotTask, publication};
use mde_simulator::{Endpoint, Fault, Options, Realism, Times};

use super::api::{Api, client, options};
use super::exposition::{Exposition, parse};

/// Options for all detail levels and no policies.
pub(crate) fn render_options(freshness: Freshness) -> RenderOptions {
    RenderOptions { freshness, ..RenderOptions::default() }
}

/// A poll interval with which a machine is fetched again 10 ms after a 404.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A poller of a simulator, with its publication.
pub(crate) struct PollerHarness {
    pub(crate) api: Api,
    pub(crate) poller: Poller,
    pub(crate) publication: SnapshotTask,
    pub(crate) reader: SnapshotReader,
    pub(crate) freshness: Freshness,
}

impl PollerHarness {
    pub(crate) async fn new(options: Options, selectors: Selectors) -> Self {
        Self::changed(options, |tenant| tenant.machines = selectors).await
    }

    pub(crate) async fn changed(options: Options, change: impl FnOnce(&mut Tenant)) -> Self {
        let api = Api::new(options, change).await;
        let fleet = TenantFleet::new(Arc::clone(&api.tenant.name));
        Self::starting_from(api, fleet)
    }

    /// The same tenant after a restart with other selectors and the state `fleet`.
    pub(crate) fn with(self, selectors: Selectors, fleet: TenantFleet) -> Self {
        let mut api = self.api;
        api.tenant.machines = selectors;
        Self::starting_from(api, fleet)
    }

    fn starting_from(api: Api, fleet: TenantFleet) -> Self {
        let poll = Poll { interval: INTERVAL, ..Poll::default() };
        let freshness = poll.freshness;
        let (publisher, publication, reader) = publication(
            vec![fleet.clone()],
            render_options(freshness),
            api.clock.as_clock(),
            Arc::clone(&api.self_metrics),
            None,
            facts::fixed(Facts::default()),
        );
        let client = client(&api.tenant, &api.clock, &api.self_metrics);
        let metrics = api.self_metrics.tenant(&api.tenant.name);
        let poller = Poller::new(&api.tenant, poll, client, fleet, publisher, metrics, api.clock.as_clock());
        Self { api, poller, publication, reader, freshness }
    }

    /// A poller of all machines of a plain fleet.
    pub(crate) async fn all(machines: usize) -> Self {
        Self::new(options(machines, Realism::Plain), all()).await
    }

    pub(crate) fn inject(&self, endpoint: Endpoint, fault: Fault) {
        self.api.control().inject(endpoint, fault, Times::Always);
    }

    pub(crate) fn kb_calls(&self) -> u64 {
        self.api.control().requests(Endpoint::MissingKbs)
    }

    pub(crate) fn status(&self) -> &PollStatus {
        &self.poller.fleet().status
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.poller.fleet().machines.keys().map(ToString::to_string).collect()
    }

    /// The time and the missing KBs of each machine's last assessment.
    pub(crate) fn assessments(&self) -> BTreeMap<String, Option<(Timestamp, BTreeSet<String>)>> {
        let machines = self.poller.fleet().machines.iter();
        machines
            .map(|(id, machine)| {
                let kbs = |missing_updates: &[_]| missing_updates.iter().map(kb).collect();
                (
                    id.to_string(),
                    machine
                        .assessment
                        .as_ref()
                        .map(|assessment| (assessment.fetched_at, kbs(&assessment.missing_updates))),
                )
            })
            .collect()
    }

    /// The current exposition without self metrics.
    pub(crate) fn text(&self) -> String {
        let fleets = vec![Arc::new(self.poller.fleet().clone())];
        let (now, options) = (self.api.clock.now(), render_options(self.freshness));
        let published = Snapshot::render(&mut Renderer::default(), 1, fleets, now, &options, Arc::default());
        String::from_utf8(published.body.plain(b"")).unwrap()
    }

    /// The current exposition without self metrics, parsed.
    pub(crate) fn scrape(&self) -> Exposition {
        parse(&self.text()).unwrap()
    }

    pub(crate) fn failures(&self, reason: &str) -> f64 {
        self.api.count("poll_failures_total", &[("reason", reason)])
    }
}

fn kb(missing: &mde_exporter::fleet::MissingUpdate) -> String {
    missing.update.kb.to_string()
}

pub(crate) fn all() -> Selectors {
    Selectors { all: true, ..Selectors::default() }
}
