//! A client of a simulator, and its self metrics.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::config::{Quota, Tenant};
use mde_exporter::defender::{ApiError, Client, QuotaHistory, RetryPolicy};
use mde_exporter::http::ProxyMode;
use mde_exporter::model::MachineId;
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Control, Endpoint, Options, Realism, Simulator};
use tempfile::TempDir;

use super::clock::ManualClock;
use super::exposition::parse;
use super::tenant::TestTenant;

/// Backoff delays that are short enough for tests.
pub(crate) const RETRY: RetryPolicy =
    RetryPolicy { attempts: 4, base: Duration::from_millis(1), cap: Duration::from_millis(5) };

/// Options of a simulator without quotas and with a fixed wall clock.
pub(crate) fn options(machines: usize, realism: Realism) -> Options {
    let now = Timestamp::now();
    let unlimited = Options { quota_per_minute: None, quota_per_hour: None, ..Options::new(move || now) };
    Options { machines, realism, ..unlimited }
}

/// A simulator, its tenant with a quota that never delays a call, and a client of it.
pub(crate) struct Api {
    pub(crate) test_tenant: TestTenant,
    pub(crate) tenant: Tenant,
    pub(crate) clock: ManualClock,
    pub(crate) self_metrics: Arc<SelfMetrics>,
    pub(crate) client: Client,
}

impl Api {
    pub(crate) async fn new(options: Options, change: impl FnOnce(&mut Tenant)) -> Self {
        let sim = Simulator::start(options).await.unwrap();
        let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
        test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
        let plenty = 1_000_000.try_into().unwrap();
        let mut tenant = test_tenant.config();
        tenant.quota = Quota { per_minute: plenty, per_hour: plenty, share: 1.0 };
        change(&mut tenant);
        let clock = ManualClock::new();
        let self_metrics = Arc::new(SelfMetrics::new("test"));
        let client = client(&tenant, &clock, &self_metrics);
        Self { test_tenant, tenant, clock, self_metrics, client }
    }

    /// A simulator of `machines` plain machines.
    pub(crate) async fn plain(machines: usize) -> Self {
        Self::new(options(machines, Realism::Plain), |_| {}).await
    }

    pub(crate) fn control(&self) -> &Control {
        self.test_tenant.sim.control()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.control().requests(Endpoint::Machines) + self.control().requests(Endpoint::MissingKbs)
    }

    /// The first machine.
    pub(crate) fn id(&self) -> MachineId {
        MachineId::parse(&self.control().machine_ids()[0]).unwrap()
    }

    /// Fetches the missing KBs of the first machine.
    pub(crate) async fn fetch_kbs(&self) -> Result<Vec<String>, ApiError> {
        let answer = self.client.missing_kbs(&self.id()).await?;
        Ok(answer.updates.iter().map(|dated| dated.update.kb.to_string()).collect())
    }

    /// The value of a self metric of the tenant; 0 without such a series.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        count(&self.self_metrics, &self.tenant.name, name, labels)
    }
}

pub(crate) fn client(tenant: &Tenant, clock: &ManualClock, self_metrics: &Arc<SelfMetrics>) -> Client {
    let metrics = self_metrics.tenant(&tenant.name);
    let random = fastrand::Rng::with_seed(7);
    Client::new(tenant, ProxyMode::Direct, RETRY, random, QuotaHistory::default(), clock.as_clock(), metrics)
        .unwrap()
}

pub(crate) fn count(self_metrics: &SelfMetrics, tenant: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let exposition = parse(&String::from_utf8(self_metrics.encode_own()).unwrap()).unwrap();
    let labels = [&[("tenant", tenant)], labels].concat();
    exposition.value(&format!("mde_exporter_{name}"), &labels).unwrap_or_default()
}
