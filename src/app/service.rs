//! What the service manager is told: ready, reloading, stopping, how it goes, and that it lives.
//!
//! The protocol is that of `sd_notify(3)`; without `NOTIFY_SOCKET` in the environment nothing is said.
//! A message that cannot be sent costs what it would have told, nothing else.

use std::time::Duration;

use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::watchdog::Watchdog;
use crate::error::Chain;
use crate::publish::{Snapshot, SnapshotReader};

/// The time in which the service manager wants a sign of life; none when it wants none.
pub(super) fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Everything is started, or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins. The time tells the manager which of its requests this answers.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(error = %Chain(&error), "the clock does not answer"),
    }
}

/// The stop begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives signs of life and says how it goes, until `stop`.
pub(super) async fn run(watchdog: Watchdog, mut reader: SnapshotReader, stop: CancellationToken) {
    let status = async {
        let mut said = String::new();
        loop {
            let now = status(&reader.borrow_and_update());
            if now != said {
                tell(&[NotifyState::Status(&now)]);
                said = now;
            }
            if reader.changed().await.is_err() {
                return;
            }
        }
    };
    let both = async { tokio::join!(status, watchdog.run(|| tell(&[NotifyState::Watchdog]))) };
    let _: Option<((), ())> = stop.run_until_cancelled(both).await;
}

/// One line for `systemctl status`.
fn status(published: &Snapshot) -> String {
    let fleets = &published.fleets;
    let machines = fleets.iter().map(|fleet| fleet.machines.len()).sum();
    let last_poll = fleets.iter().filter_map(|fleet| fleet.status.last_poll).max();
    let last_poll = last_poll.map_or_else(
        || "not polled yet".to_owned(),
        |at| format!("last poll {}", TimeZone::UTC.to_datetime(at).strftime("%H:%M UTC")),
    );
    format!("{}, {}, {last_poll}", counted(fleets.len(), "tenant"), counted(machines, "machine"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %Chain(&error), "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{Freshness, MachineFacts, MachineId, TenantFleet};
    use crate::metrics::{DetailLevel, RenderOptions, Renderer};

    #[test]
    fn the_status_is_one_short_line() {
        let hour = Duration::from_hours(1);
        let freshness = Freshness { stale_after: hour, expire_after: hour, inactive_after: hour };
        let options = RenderOptions {
            freshness,
            policies: Arc::default(),
            detail: DetailLevel::Fleet,
            series_limit: 0,
        };
        let said = |fleets: Vec<TenantFleet>| {
            let (fleets, at) = (fleets.into_iter().map(Arc::new).collect(), jiff::Timestamp::UNIX_EPOCH);
            status(&Snapshot::render(&mut Renderer::default(), 1, fleets, at, &options))
        };
        let (contoso, mut fabrikam) =
            (TenantFleet::new("contoso".into()), TenantFleet::new("fabrikam".into()));
        assert_eq!(said(vec![contoso.clone()]), "1 tenant, 0 machines, not polled yet");
        let machine = MachineFacts::unlisted(MachineId::parse("a").unwrap());
        fabrikam.apply_list(vec![machine], "2026-03-10T12:30:59Z".parse().unwrap(), &freshness);
        fabrikam.status.last_poll = fabrikam.listed_at;
        assert_eq!(said(vec![contoso, fabrikam]), "2 tenants, 1 machine, last poll 12:30 UTC");
    }
}
