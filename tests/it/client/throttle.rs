//! Throttling: after a `Retry-After`, every call of the tenant waits for the time that the API requests.

use std::num::NonZeroU32;
use std::time::Duration;

use mde_exporter::config::Quota;
use mde_exporter::defender::{ApiError, ListQuery};
use mde_simulator::{Endpoint, Fault, Options, QuotaPeriod, Realism, Times};
use tokio::time::{advance, pause, resume};

use crate::support::api::{Api, options};

fn throttle(api: &Api, retry_after: Option<&str>, window: QuotaPeriod) {
    let retry_after = retry_after.map(str::to_owned);
    let fault = Fault::Throttle { retry_after, window };
    api.control().inject(Endpoint::MissingKbs, fault, Times::Next(1));
}

fn throttled(api: &Api) -> f64 {
    api.count("api_throttled_responses_total", &[])
}

/// Waits until the client has read this number of 429 replies.
async fn until_throttled(api: &Api, replies: f64) {
    while throttled(api) < replies {
        tokio::task::yield_now().await;
    }
}

/// Lets all tasks run that can run without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn throttled_reply_pauses_every_caller() {
    let api = Api::plain(1).await;
    let kbs = api.fetch_kbs().await.unwrap();
    // RFC 9110, section 10.2.3 allows both forms.
    let in_one_second = api.clock.now() + Duration::from_secs(1);
    let date =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&in_one_second).unwrap();
    for hint in ["1", date.as_str()] {
        let before = throttled(&api);
        throttle(&api, Some(hint), QuotaPeriod::Minute);
        let others = async {
            until_throttled(&api, before + 1.0).await;
            let list = api.client.machines(ListQuery::All);
            let (kbs, more_kbs, list) = tokio::join!(api.fetch_kbs(), api.fetch_kbs(), list);
            (kbs.unwrap(), more_kbs.unwrap(), list.unwrap().len())
        };
        let (first, others) = tokio::join!(api.fetch_kbs(), others);
        assert_eq!((first.unwrap(), others), (kbs.clone(), (kbs.clone(), kbs.clone(), 1)), "{hint}");

        let calls = api.control().calls();
        let rejected = calls.iter().rposition(|call| call.status == Some(429)).unwrap();
        let pauses: Vec<_> = calls[rejected + 1..].iter().map(|call| call.at - calls[rejected].at).collect();
        assert_eq!(pauses.len(), 4, "{hint}");
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_secs(1)), "{hint}: {pauses:?}");
    }
    assert_eq!(throttled(&api), 2.0);
    assert_eq!(api.count("api_retries_total", &[]), 2.0);
    assert!(api.count("api_throttle_wait_seconds_total", &[]) > 1.0);
}

/// The moment in 14 seconds, as an HTTP date of the simulator's clock.
fn in_14_seconds(api: &Api) -> String {
    let then = api.clock.now() + Duration::from_secs(14);
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).unwrap()
}

#[tokio::test]
async fn retry_after_of_any_reply_pauses_every_caller() {
    let throttle =
        |hint: &str| Fault::Throttle { retry_after: Some(hint.to_owned()), window: QuotaPeriod::Minute };
    for is_date in [false, true] {
        for unavailable in [false, true] {
            let api = Api::plain(3).await;
            let hint = if is_date { in_14_seconds(&api) } else { "14".to_owned() };
            let fault = if unavailable { Fault::Unavailable(hint) } else { throttle(&hint) };
            api.control().inject(Endpoint::MissingKbs, fault, Times::Next(1));
            let code = if unavailable { "503" } else { "429" };
            let first = api.fetch_kbs();
            let others = async {
                while api.count("api_requests_total", &[("endpoint", "getmissingkbs"), ("code", code)]) < 1.0
                {
                    tokio::task::yield_now().await;
                }
                let list = api.client.machines(ListQuery::All);
                let (kbs, more_kbs, list) = tokio::join!(api.fetch_kbs(), api.fetch_kbs(), list);
                kbs.unwrap();
                more_kbs.unwrap();
                assert_eq!(list.unwrap().len(), 3);
            };
            let time = async {
                while api.client.requested_pause().is_none() {
                    tokio::task::yield_now().await;
                }
                pause();
                assert_eq!(api.client.requested_pause().unwrap().length, Duration::from_secs(14));
                for _ in 0..13 {
                    settle().await;
                    advance(Duration::from_secs(1)).await;
                }
                settle().await;
                assert_eq!(api.requests(), 1, "nothing is sent in the 14 s");
                advance(Duration::from_secs(1)).await;
                resume();
            };
            let (first, (), ()) = tokio::join!(first, others, time);
            first.unwrap();
            assert_eq!((api.requests(), api.client.requested_pause()), (5, None));
        }
    }
}

#[tokio::test]
async fn retry_after_of_more_than_a_day_counts_as_a_day() {
    let api = Api::plain(1).await;
    let fault = Fault::Unavailable("200000".to_owned());
    api.control().inject(Endpoint::MissingKbs, fault, Times::Next(1));
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "server_error");
    assert_eq!(api.client.requested_pause().unwrap().length, Duration::from_hours(24));
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "throttled");
    assert_eq!(api.requests(), 1, "no attempt within the pause");
}

#[tokio::test]
async fn throttled_reply_without_retry_after_pauses_for_a_minute() {
    let api = Api::plain(1).await;
    api.fetch_kbs().await.unwrap();
    throttle(&api, None, QuotaPeriod::Minute);
    let time = async {
        until_throttled(&api, 1.0).await;
        pause();
        settle().await;
        advance(Duration::from_secs(59)).await;
        settle().await;
        assert_eq!(api.requests(), 2, "nothing is sent within the minute");
        advance(Duration::from_secs(2)).await;
        resume();
    };
    let (answer, ()) = tokio::join!(api.fetch_kbs(), time);
    answer.unwrap();
    assert_eq!(api.requests(), 3);
}

#[tokio::test]
async fn long_retry_after_fails_at_once_and_stays_in_effect() {
    let api = Api::plain(1).await;
    for (retry_after, window, wait) in
        [(Some("3600"), QuotaPeriod::Hour, 3600), (None, QuotaPeriod::Hour, 300)]
    {
        let api = if wait == 300 { &Api::plain(1).await } else { &api };
        throttle(api, retry_after, window);
        let error = api.fetch_kbs().await.unwrap_err();
        assert_eq!(error.kind(), "throttled");
        let ApiError::Throttled { wait: pause, .. } = &error else { panic!("{error}") };
        assert_eq!(pause.as_secs(), wait);
        assert!(error.to_string().contains("maximum allowed 1500 per 01:00:00"), "{error}");
        assert_eq!((api.requests(), api.count("api_retries_total", &[])), (1, 0.0));

        let later = api.client.machines(ListQuery::All).await.unwrap_err();
        assert_eq!(later.kind(), "throttled");
        assert_eq!(api.requests(), 1, "no request is sent");
    }
}

#[tokio::test]
async fn endless_throttling_fails_after_four_attempts() {
    let api = Api::plain(1).await;
    let fault = Fault::Throttle { retry_after: Some("0".to_owned()), window: QuotaPeriod::Minute };
    api.control().inject(Endpoint::MissingKbs, fault, Times::Always);
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "throttled");
    assert_eq!((api.requests(), throttled(&api)), (4, 4.0));
}

#[tokio::test]
async fn quota_of_the_api_below_the_configured_one_is_respected() {
    let quota = Options { quota_per_minute: Some(5), ..options(1, Realism::Plain) };
    let api = Api::new(quota, |_| {}).await;
    for _ in 0..5 {
        api.fetch_kbs().await.unwrap();
    }
    let others = async {
        until_throttled(&api, 1.0).await;
        pause();
        let callers =
            async { tokio::join!(api.fetch_kbs(), api.fetch_kbs(), api.fetch_kbs(), api.fetch_kbs()) };
        let time = async {
            settle().await;
            advance(Duration::from_secs(61)).await;
            resume();
        };
        tokio::join!(callers, time).0
    };
    let (first, (a, b, c, d)) = tokio::join!(api.fetch_kbs(), others);
    assert!(first.is_ok() && a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
    assert_eq!(api.control().early_calls(), 0);
    assert_eq!((api.requests(), throttled(&api)), (11, 1.0));
}

#[tokio::test]
async fn call_waits_for_the_next_hour_of_the_quota() {
    let one = NonZeroU32::MIN;
    let quota = Quota { per_minute: one, per_hour: one, share: 1.0 };
    let long = Options { token_lifetime: Duration::from_hours(4), ..options(1, Realism::Plain) };
    let api = Api::new(long, |tenant| tenant.quota = quota).await;
    api.fetch_kbs().await.unwrap();
    let time = async {
        settle().await;
        pause();
        // In steps, so that every timer in between fires.
        for _ in 0..60 {
            assert_eq!(api.requests(), 1);
            advance(Duration::from_mins(1)).await;
            settle().await;
        }
        resume();
    };
    let (answer, ()) = tokio::join!(api.fetch_kbs(), time);
    answer.unwrap();
    assert_eq!(api.requests(), 2);
    assert!(api.count("api_throttle_wait_seconds_total", &[]) > 3500.0);
}
