//! The limiter on paused time; `simulation` compares it with an API that counts calls itself.

mod simulation;

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::*;
use crate::config::{Auth, Cloud, Http, Selectors};
use crate::model::Source;
use crate::self_metrics::SelfMetrics;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The margin of the minute and of the hour, and the assumed time of a call without a reply.
const SLACK: Duration = Duration::from_secs(4);

fn tenant(per_minute: u32, per_hour: u32, share: f64) -> Tenant {
    let url: reqwest::Url = "https://api.security.microsoft.com".parse().unwrap();
    let (per_minute, per_hour) = (NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(per_hour).unwrap());
    Tenant {
        name: "contoso".into(),
        tenant_id: String::new(),
        client_id: None,
        auth: Auth::ManagedIdentity { client_id: None },
        cloud: Cloud::Commercial,
        authority_url: url.clone(),
        api_url: url,
        scope: String::new(),
        http: Http::default(),
        source: Source::Machines,
        machines: Selectors::default(),
        quota: Quota { per_minute, per_hour, share },
    }
}

fn limiter_after(tenant: &Tenant, made: Vec<(Timestamp, ApiOperation)>) -> Limiter {
    let metrics = Arc::new(SelfMetrics::new("test")).tenant(&tenant.name);
    let clock = Clock::following_tokio(Timestamp::UNIX_EPOCH);
    Limiter::new(tenant, QuotaHistory { made, recorder: None }, clock, metrics)
}

fn limiter(per_minute: u32, per_hour: u32, share: f64) -> Limiter {
    limiter_after(&tenant(per_minute, per_hour, share), Vec::new())
}

impl Limiter {
    async fn acquire(&self, endpoint: ApiOperation, patience: Duration) -> Result<Permit, QuotaPaused> {
        self.reserve(endpoint, patience).await?.take().await
    }
}

/// Makes `count` calls with immediate replies and returns the time of each grant.
async fn take(limiter: &Limiter, endpoint: ApiOperation, count: usize) -> Vec<Duration> {
    let start = Instant::now();
    let mut taken = Vec::new();
    for _ in 0..count {
        drop(limiter.acquire(endpoint, 24 * HOUR).await.unwrap());
        taken.push(start.elapsed());
    }
    taken
}

async fn refuse(limiter: &Limiter, endpoint: ApiOperation, wait: Duration, message: &str) {
    limiter.acquire(endpoint, 24 * HOUR).await.unwrap().throttled(wait, message);
}

fn allowed_now(limiter: &Limiter) -> [u64; 2] {
    lock(&limiter.calls).common_windows(Instant::now()).map(|window| window.allowed)
}

#[track_caller]
fn assert_about(found: Duration, expected: Duration) {
    assert!(found >= expected && found < expected + SLACK, "{found:?} is not about {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_within_the_share_pass_and_the_next_waits() {
    let taken = take(&limiter(50, 1500, 0.8), ApiOperation::MissingKbs, 41).await;
    assert_eq!(taken[39], Duration::ZERO);
    assert_about(taken[40], MINUTE);
}

#[tokio::test(start_paused = true)]
async fn call_counts_from_its_reply_and_at_most_a_second_later() {
    let limiter = limiter(1, 1500, 1.0);
    let at_once = take(&limiter, ApiOperation::MissingKbs, 2).await;
    assert!(at_once[1] < MINUTE + Duration::from_millis(200), "{at_once:?}");
    tokio::time::advance(2 * MINUTE).await;
    let start = Instant::now();
    let slow = limiter.acquire(ApiOperation::MissingKbs, HOUR).await.unwrap();
    let (next, ()) = tokio::join!(take(&limiter, ApiOperation::MissingKbs, 1), async {
        tokio::time::sleep(MINUTE / 2).await;
        drop(slow);
    });
    assert_eq!(next.len(), 1);
    let waited = start.elapsed();
    assert!(
        waited > MINUTE + Duration::from_secs(1) && waited < MINUTE + Duration::from_millis(1200),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_hour_holds_as_well_as_the_minute() {
    let taken = take(&limiter(50, 100, 1.0), ApiOperation::MissingKbs, 101).await;
    assert_about(taken[99], MINUTE);
    assert_about(taken[100], HOUR);
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_counts_in_the_quota_of_the_tenant() {
    let limiter = limiter(4, 100, 1.0);
    for endpoint in
        [ApiOperation::Machines, ApiOperation::FindByTag, ApiOperation::Export, ApiOperation::MissingKbs]
    {
        assert_eq!(take(&limiter, endpoint, 1).await, [Duration::ZERO]);
    }
    assert_about(take(&limiter, ApiOperation::MissingKbs, 1).await[0], MINUTE);
    assert_eq!(limiter.calls_made(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_export_list_has_windows_of_its_own() {
    let taken = take(&limiter(1000, 10_000, 0.8), ApiOperation::Export, 17).await;
    assert_eq!(taken[3], Duration::ZERO);
    assert_about(taken[4], MINUTE);
    assert_about(taken[15], 3 * MINUTE);
    assert_about(taken[16], HOUR);
}

#[tokio::test(start_paused = true)]
async fn wait_for_the_export_list_delays_no_other_call() {
    let limiter = limiter(1000, 10_000, 1.0);
    let exports = async { take(&limiter, ApiOperation::Export, 12).await };
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        take(&limiter, ApiOperation::MissingKbs, 500).await
    };
    let (exports, others) = tokio::join!(exports, others);
    assert_about(exports[11], 2 * MINUTE);
    assert_eq!(others[499], Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn files_of_the_export_count_nowhere_and_wait_for_nothing() {
    let limiter = limiter(1, 1, 1.0);
    refuse(&limiter, ApiOperation::MissingKbs, HOUR, "").await;
    let waiting = limiter.acquire(ApiOperation::MissingKbs, 24 * HOUR);
    let files = async { take(&limiter, ApiOperation::ExportFile, 100).await };
    tokio::select! {
        biased;
        _ = waiting => panic!("the hour is not over"),
        taken = files => assert_eq!(taken[99], Duration::ZERO),
    }
    assert_eq!(limiter.calls_made(), 1);
}

#[tokio::test(start_paused = true)]
async fn pause_delays_every_caller_and_outlives_a_shorter_one() {
    let limiter = limiter(50, 1500, 1.0);
    refuse(&limiter, ApiOperation::MissingKbs, Duration::ZERO, "").await;
    let permits = [
        limiter.acquire(ApiOperation::MissingKbs, HOUR).await,
        limiter.acquire(ApiOperation::Export, HOUR).await,
    ];
    for (permit, wait) in permits.iter().zip([30, 5]) {
        permit.as_ref().unwrap().throttled(Duration::from_secs(wait), "");
    }
    let start = Instant::now();
    let other = limiter.clone();
    let (a, b) = tokio::join!(
        limiter.acquire(ApiOperation::Export, HOUR),
        other.acquire(ApiOperation::Machines, HOUR)
    );
    assert!(a.is_ok() && b.is_ok());
    assert_about(start.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn pause_longer_than_the_patience_is_an_immediate_error() {
    let limiter = limiter(50, 1500, 1.0);
    refuse(&limiter, ApiOperation::MissingKbs, HOUR, "").await;
    let paused = limiter.acquire(ApiOperation::MissingKbs, MINUTE).await.unwrap_err();
    assert_eq!(paused.remaining, HOUR);
    tokio::time::advance(HOUR).await;
    assert!(limiter.acquire(ApiOperation::MissingKbs, MINUTE).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refusal_reduces_the_named_window_which_recovers() {
    let limiter = limiter(50, 1500, 0.8);
    refuse(&limiter, ApiOperation::MissingKbs, MINUTE, "maximum allowed 50 per 00:01:00").await;
    assert_eq!(allowed_now(&limiter), [20, 1200]);
    tokio::time::advance(MINUTE + SLACK).await;
    let taken = take(&limiter, ApiOperation::MissingKbs, 21).await;
    assert_eq!(taken[19], Duration::ZERO);
    assert_about(taken[20], MINUTE);
    refuse(&limiter, ApiOperation::MissingKbs, MINUTE, "maximum allowed 1500 per 01:00:00").await;
    assert_eq!(allowed_now(&limiter), [20, 600]);
    tokio::time::advance(HOUR).await;
    assert_eq!(allowed_now(&limiter), [40, 720]);
    tokio::time::advance(4 * HOUR).await;
    assert_eq!(allowed_now(&limiter), [40, 1200]);
    refuse(&limiter, ApiOperation::MissingKbs, MINUTE, "too many requests").await;
    assert_eq!(allowed_now(&limiter), [20, 600]);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_the_export_list_affects_no_other_call() {
    let limiter = limiter(50, 1500, 0.8);
    refuse(&limiter, ApiOperation::Export, MINUTE, "maximum allowed 5 per 00:01:00").await;
    assert_eq!(allowed_now(&limiter), [40, 1200]);
    tokio::time::advance(MINUTE + SLACK).await;
    assert_about(take(&limiter, ApiOperation::Export, 3).await[2], MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_grows_back_is_not_slept_through() {
    let limiter = limiter(1000, 10, 1.0);
    refuse(&limiter, ApiOperation::MissingKbs, Duration::ZERO, "per 01:00:00").await;
    tokio::time::advance(119 * MINUTE).await;
    assert_eq!(allowed_now(&limiter), [1000, 6]);
    let taken = take(&limiter, ApiOperation::MissingKbs, 7).await;
    assert_eq!(taken[5], Duration::ZERO);
    assert_about(taken[6], MINUTE);
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_earlier_run_count_where_they_were_made() {
    let tenant = tenant(10, 12, 1.0);
    let minutes_ago = |minutes: i64| Timestamp::from_second(-60 * minutes).unwrap();
    tokio::time::advance(2 * HOUR).await;
    let made = [59, 30, 10].map(|minutes| (minutes_ago(minutes), ApiOperation::MissingKbs));
    let taken = take(&limiter_after(&tenant, made.to_vec()), ApiOperation::MissingKbs, 11).await;
    assert_eq!(taken[8], Duration::ZERO);
    assert_about(taken[9], MINUTE);
    assert_about(taken[10], 30 * MINUTE);

    let made = vec![(minutes_ago(20), ApiOperation::Export); 19];
    let tenant = Tenant { quota: Quota { per_hour: 1000.try_into().unwrap(), ..tenant.quota }, ..tenant };
    let taken = take(&limiter_after(&tenant, made), ApiOperation::Export, 2).await;
    assert_eq!(taken[0], Duration::ZERO);
    assert_about(taken[1], 40 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn caller_that_gives_up_lets_the_next_one_pass() {
    let limiter = limiter(1, 1500, 1.0);
    take(&limiter, ApiOperation::MissingKbs, 1).await;
    let impatient = tokio::time::timeout(MINUTE / 2, limiter.acquire(ApiOperation::MissingKbs, HOUR));
    let next = async {
        tokio::task::yield_now().await;
        take(&limiter, ApiOperation::MissingKbs, 1).await
    };
    let (gave_up, next) = tokio::join!(impatient, next);
    assert!(gave_up.is_err());
    assert_about(next[0], MINUTE);
}

#[tokio::test(start_paused = true)]
async fn another_limiter_inherits_calls_and_pauses() {
    let older = limiter(10, 100, 1.0);
    take(&older, ApiOperation::MissingKbs, 7).await;
    let mut newer = limiter(10, 100, 1.0);
    newer.inherit(&older, &tenant(10, 100, 1.0));
    let taken = take(&newer, ApiOperation::MissingKbs, 4).await;
    assert!(taken[2] < SLACK && taken[3] >= MINUTE, "{taken:?}");

    refuse(&newer, ApiOperation::MissingKbs, HOUR, "").await;
    let mut newest = limiter(10, 100, 1.0);
    newest.inherit(&newer, &tenant(10, 100, 1.0));
    let paused = newest.acquire(ApiOperation::MissingKbs, MINUTE).await.unwrap_err();
    assert!(paused.remaining + SLACK > HOUR);
    // Callers that still use the first one share the same quota.
    assert!(older.acquire(ApiOperation::MissingKbs, MINUTE).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn two_entries_of_one_application_share_the_smaller_quota() {
    tokio::time::sleep(HOUR).await;
    let made = |minutes: i64, calls: usize| {
        let at = Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_mins(minutes);
        vec![(at, ApiOperation::MissingKbs); calls]
    };
    let (large, small) = (tenant(10, 100, 1.0), tenant(8, 200, 1.0));
    let one = limiter_after(&large, made(10, 30));
    let mut other = limiter_after(&small, made(20, 40));
    other.join(&one);
    for limiter in [&one, &other] {
        limiter.set_quota(&[&large, &small]);
        assert_eq!(allowed_now(limiter), [8, 100]);
        let used = lock(&limiter.calls).common_windows(Instant::now()).map(|window| window.used);
        assert_eq!(used, [0, 70], "calls of earlier runs count for both");
    }
    take(&one, ApiOperation::MissingKbs, 5).await;
    let taken = take(&other, ApiOperation::MissingKbs, 4).await;
    assert!(taken[2] < SLACK && taken[3] >= MINUTE, "{taken:?}");
    assert_eq!((one.calls_made(), other.calls_made()), (5, 4));
    refuse(&one, ApiOperation::MissingKbs, HOUR, "").await;
    assert!(other.acquire(ApiOperation::MissingKbs, MINUTE).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn another_quota_counts_from_the_next_call() {
    let limiter = limiter(10, 100, 1.0);
    take(&limiter, ApiOperation::MissingKbs, 7).await;
    limiter.set_quota(&[&tenant(8, 100, 0.5)]);
    assert_eq!(allowed_now(&limiter), [4, 50]);
    assert!(take(&limiter, ApiOperation::MissingKbs, 1).await[0] >= MINUTE);
    limiter.set_quota(&[&tenant(20, 100, 1.0)]);
    let taken = take(&limiter, ApiOperation::MissingKbs, 12).await;
    assert!(taken[11] < SLACK, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_and_pauses_are_remembered_as_long_as_they_count() {
    let limiter = limiter(10, 100, 1.0);
    assert!(!limiter.has_quota_state());
    take(&limiter, ApiOperation::MissingKbs, 1).await;
    assert!(limiter.has_quota_state());
    tokio::time::sleep(HOUR + SLACK).await;
    assert!(!limiter.has_quota_state());
    refuse(&limiter, ApiOperation::MissingKbs, 3 * HOUR, "").await;
    tokio::time::sleep(2 * HOUR).await;
    assert!(limiter.has_quota_state());
    tokio::time::sleep(HOUR + SLACK).await;
    assert!(!limiter.has_quota_state());
}
