//! Notifications to the service manager: ready, reloading, stopping, status and watchdog.
//!
//! The protocol is that of `sd_notify(3)`. Nothing is sent without `NOTIFY_SOCKET` in the environment. A
//! notification that cannot be sent is logged at debug level and has no other effect.

use std::time::Duration;

use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::watchdog::Watchdog;
use crate::error::Chain;
use crate::publish::{Snapshot, SnapshotReader};

/// The time within which the service manager expects a watchdog notification; none if it expects none.
pub(super) fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Reports that the start, or a reload, is complete.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a reload begins. The time lets the service manager match the report to its request.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(error = %Chain(&error), "cannot read the monotonic clock"),
    }
}

/// Reports that the stop begins.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Sends watchdog notifications and status lines until `stop`.
pub(super) async fn run(watchdog: Watchdog, mut reader: SnapshotReader, stop: CancellationToken) {
    let report_status = async {
        let mut reported = String::new();
        loop {
            let current = status(&reader.borrow_and_update());
            if current != reported {
                notify(&[NotifyState::Status(&current)]);
                reported = current;
            }
            if reader.changed().await.is_err() {
                return;
            }
        }
    };
    let feed_watchdog = watchdog.run(|| notify(&[NotifyState::Watchdog]));
    let both = async { tokio::join!(report_status, feed_watchdog) };
    let _: Option<((), ())> = stop.run_until_cancelled(both).await;
}

/// The status line for `systemctl status`.
fn status(snapshot: &Snapshot) -> String {
    let fleets = &snapshot.fleets;
    let machines = fleets.iter().map(|fleet| fleet.machines.len()).sum();
    let last_poll = fleets.iter().filter_map(|fleet| fleet.status.last_poll).max();
    let last_poll = last_poll.map_or_else(
        || "not polled yet".to_owned(),
        |at| format!("last poll {}", TimeZone::UTC.to_datetime(at).strftime("%H:%M UTC")),
    );
    format!("{}, {}, {last_poll}", quantity(fleets.len(), "tenant"), quantity(machines, "machine"))
}

fn quantity(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %Chain(&error), "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{MachineFacts, TenantFleet};
    use crate::metrics::{RenderOptions, Renderer};
    use crate::model::{DetailLevel, Freshness, MachineId};

    #[test]
    fn the_status_is_one_short_line() {
        let hour = Duration::from_hours(1);
        let freshness = Freshness { stale_after: hour, expire_after: hour, inactive_after: hour };
        let options = RenderOptions { freshness, detail: DetailLevel::Fleet, ..RenderOptions::default() };
        let status_of = |fleets: Vec<TenantFleet>| {
            let fleets = fleets.into_iter().map(Arc::new).collect();
            let at = jiff::Timestamp::UNIX_EPOCH;
            status(&Snapshot::render(&mut Renderer::default(), 1, fleets, at, &options, Arc::default()))
        };
        let contoso = TenantFleet::new("contoso".into());
        let mut fabrikam = TenantFleet::new("fabrikam".into());
        assert_eq!(status_of(vec![contoso.clone()]), "1 tenant, 0 machines, not polled yet");
        let machine = MachineFacts::unlisted(MachineId::parse("a").unwrap());
        fabrikam.apply_list(vec![machine], "2026-03-10T12:30:59Z".parse().unwrap(), &freshness);
        fabrikam.status.last_poll = fabrikam.listed_at;
        assert_eq!(status_of(vec![contoso, fabrikam]), "2 tenants, 1 machine, last poll 12:30 UTC");
    }
}
