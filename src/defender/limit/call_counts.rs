//! The calls that count against the quotas, and the pauses.

use std::time::Duration;

use tokio::time::Instant;

use super::{Permit, QuotaPaused};
use crate::defender::pause::RequestedPause;
use crate::defender::retry::named_windows;
use crate::defender::window::Ledger;
use crate::model::ApiOperation;
use crate::self_metrics::QuotaWindow;

/// The counted calls of an application in a tenant.
#[derive(Debug)]
pub(super) struct CallCounts {
    /// The quota of the whole tenant, then the quota of the export list.
    pub(super) ledgers: [Ledger; 2],
    pub(super) paused_until: Option<Instant>,
    /// The newest pause that a `Retry-After` requested.
    pub(super) requested_pause: Option<RequestedPause>,
}

impl CallCounts {
    /// The configured calls of the whole tenant, per minute and per hour, without reductions.
    pub(super) fn configured(&self) -> [usize; 2] {
        self.ledgers[0].windows.each_ref().map(|window| window.configured)
    }

    /// The quotas that calls of `endpoint` count against, the narrowest last.
    pub(super) fn ledgers_of(&mut self, endpoint: ApiOperation) -> &mut [Ledger] {
        let count = match endpoint {
            ApiOperation::ExportFile => 0,
            ApiOperation::Machines | ApiOperation::FindByTag | ApiOperation::MissingKbs => 1,
            ApiOperation::Export => 2,
        };
        &mut self.ledgers[..count]
    }

    /// The time to check again because of a quota that applies to this endpoint alone.
    pub(super) fn own_busy_until(&mut self, endpoint: ApiOperation) -> Option<Instant> {
        let now = Instant::now();
        self.ledgers_of(endpoint).iter_mut().skip(1).filter_map(|ledger| ledger.busy_until(now)).max()
    }

    /// The time to check again because of the tenant's quota or a pause.
    pub(super) fn common_busy_until(
        &mut self,
        patience: Duration,
        tenant: &str,
    ) -> Result<Option<Instant>, QuotaPaused> {
        let now = Instant::now();
        self.log_recoveries(now, tenant);
        let busy = self.ledgers[0].busy_until(now);
        let pause = self.paused_until.filter(|until| *until > now);
        match pause.filter(|until| *until > now + patience) {
            Some(until) => Err(QuotaPaused { remaining: until - now }),
            None => Ok(busy.max(pause)),
        }
    }

    pub(super) fn busy_until(
        &mut self,
        endpoint: ApiOperation,
        patience: Duration,
        tenant: &str,
    ) -> Result<Option<Instant>, QuotaPaused> {
        Ok(self.common_busy_until(patience, tenant)?.max(self.own_busy_until(endpoint)))
    }

    /// Counts a call now if every quota allows it, and returns the time.
    pub(super) fn take(
        &mut self,
        endpoint: ApiOperation,
        patience: Duration,
        tenant: &str,
    ) -> Result<Option<Instant>, QuotaPaused> {
        if self.busy_until(endpoint, patience, tenant)?.is_some() {
            return Ok(None);
        }
        let now = Instant::now();
        self.ledgers_of(endpoint).iter_mut().for_each(|ledger| ledger.add(now));
        Ok(Some(now))
    }

    pub(super) fn throttled(&mut self, permit: &Permit, wait: Duration, message: &str) {
        let now = Instant::now();
        let tenant = permit.limiter.metrics.name();
        let Some(ledger) = self.ledgers_of(permit.endpoint).last_mut() else { return };
        for (window, name) in ledger.windows.iter_mut().zip(named_windows(message)) {
            if let Some(name) = name
                && let Some(reduction) = window.reduce(permit.at, now)
            {
                tracing::warn!(tenant, endpoint = %permit.endpoint, window = name, from = reduction.from, to = reduction.to,
                    "API throttled below the configured quota; reducing the request rate");
            }
        }
        self.pause_until(now + wait);
    }

    pub(super) fn pause_until(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }

    pub(super) fn log_recoveries(&mut self, now: Instant, tenant: &str) {
        let windows = self.ledgers.iter_mut().flat_map(|ledger| &mut ledger.windows);
        for (window, name) in windows.zip(["1m", "1h", "1m", "1h"]) {
            if window.has_recovered(now) {
                tracing::info!(
                    tenant,
                    window = name,
                    allowed = window.configured,
                    "no recent throttling; restoring the configured request rate"
                );
            }
        }
    }

    pub(super) fn common_windows(&self, now: Instant) -> [QuotaWindow; 2] {
        let [common, _] = &self.ledgers;
        let used = common.used(now);
        [0, 1].map(|index| QuotaWindow {
            allowed: common.windows[index].allowed(now) as u64,
            used: used[index] as u64,
        })
    }
}
