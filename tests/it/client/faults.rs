//! Errors of the API: retries, kinds and messages.

use std::time::Duration;

use mde_exporter::defender::{ApiError, ListQuery};
use mde_exporter::error::Chain;
use mde_simulator::{Endpoint, Fault, Realism, Times};

use crate::support::api::{Api, options};

/// An API of one machine, with a short timeout for endless replies.
async fn with_short_timeout() -> Api {
    Api::new(options(1, Realism::Plain), |tenant| tenant.http.timeout = Duration::from_millis(400)).await
}

fn inject(api: &Api, fault: Fault, times: Times) {
    api.control().inject(Endpoint::MissingKbs, fault, times);
}

/// Fetches while the fault is active, and returns the kind of the error and the number of requests.
async fn fetch_with(api: &Api, fault: Fault) -> (&'static str, u64) {
    let before = api.requests();
    inject(api, fault, Times::Always);
    let error = api.fetch_kbs().await.unwrap_err();
    api.control().clear();
    (error.kind(), api.requests() - before)
}

fn text(error: &ApiError) -> String {
    Chain(error).to_string()
}

#[tokio::test]
async fn transient_errors_are_retried() {
    let api = Api::plain(1).await;
    let kbs = api.fetch_kbs().await.unwrap();
    for (fault, code) in [
        (Fault::Status(500), "500"),
        (Fault::Status(503), "503"),
        (Fault::HtmlError(502), "502"),
        (Fault::Status(408), "408"),
        (Fault::Reset, "error"),
    ] {
        let before = (api.requests(), api.count("api_retries_total", &[]));
        inject(&api, fault, Times::Next(3));
        assert_eq!(api.fetch_kbs().await.unwrap(), kbs, "{code}");
        let after = (api.requests() - 4, api.count("api_retries_total", &[]) - 3.0);
        assert_eq!(after, before, "{code}: four requests, three of them retries");
        let labels = [("endpoint", "getmissingkbs"), ("code", code)];
        assert_eq!(api.count("api_requests_total", &labels), 3.0, "{code}");
    }
    inject(&api, Fault::Truncated, Times::Next(3));
    assert_eq!(api.fetch_kbs().await.unwrap(), kbs);
}

#[tokio::test]
async fn permanent_server_errors_end_after_four_attempts() {
    let api = Api::plain(1).await;
    for (fault, kind) in [
        (Fault::Status(500), "server_error"),
        (Fault::HtmlError(504), "server_error"),
        (Fault::Status(408), "server_error"),
        (Fault::Truncated, "network"),
        (Fault::Reset, "network"),
    ] {
        assert_eq!(fetch_with(&api, fault.clone()).await, (kind, 4), "{fault:?}");
    }
}

#[tokio::test]
async fn endless_reply_times_out() {
    let (hanging, dripping) = tokio::join!(with_short_timeout(), with_short_timeout());
    let fetch_with = async |api: &Api, fault| {
        api.fetch_kbs().await.unwrap();
        inject(api, fault, Times::Always);
        let kind = api.fetch_kbs().await.unwrap_err().kind();
        // A slow host may not receive the head of the reply in time.
        let ended = |code| api.count("api_requests_total", &[("endpoint", "getmissingkbs"), ("code", code)]);
        (kind, ended("error") + ended("200") - 1.0)
    };
    let (hang, drip) =
        tokio::join!(fetch_with(&hanging, Fault::Hang), fetch_with(&dripping, Fault::SlowDrip));
    assert_eq!((hang, drip), (("timeout", 4.0), ("timeout", 4.0)));
}

#[tokio::test]
async fn permanent_errors_are_not_retried() {
    let api = Api::plain(1).await;
    for (fault, kind) in [
        (Fault::Status(400), "bad_request"),
        (Fault::Status(418), "unexpected_status"),
        (Fault::Forbidden("Software.Read.All".to_owned()), "forbidden"),
        (Fault::NotFound, "not_found"),
        (Fault::NotJson, "decode"),
        (Fault::WrongShape, "decode"),
        (Fault::Body(Vec::new()), "decode"),
        (Fault::Body(br#"{"value":null}"#.to_vec()), "decode"),
        (Fault::Body(br#"{"value":[{"id":"5001234"}"#.to_vec()), "decode"),
    ] {
        assert_eq!(fetch_with(&api, fault.clone()).await, (kind, 1), "{fault:?}");
    }
    assert_eq!(api.count("api_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn unbounded_reply_ends_at_the_size_limit() {
    let api = Api::plain(1).await;
    for fault in [Fault::HugeBody, Fault::CompressedBomb] {
        inject(&api, fault.clone(), Times::Next(1));
        let error = api.fetch_kbs().await.unwrap_err();
        let ApiError::TooLarge { limit_bytes, .. } = error else { panic!("{fault:?}: {error}") };
        assert_eq!(limit_bytes, 8 << 20, "the reply has half a gigabyte");
        assert_eq!(error.kind(), "too_large");
    }
    api.control().inject(Endpoint::Machines, Fault::CompressedBomb, Times::Next(1));
    assert_eq!(api.client.machines(ListQuery::All).await.unwrap_err().kind(), "too_large");
    assert_eq!(api.requests(), 3);
}

#[tokio::test]
async fn missing_role_is_named_with_the_correlation_id() {
    let api = Api::plain(1).await;
    api.control().set_roles(&["Machine.Read.All"]);
    let error = api.fetch_kbs().await.unwrap_err();
    assert_eq!(error.kind(), "forbidden");
    let text = text(&error);
    assert!(text.contains("API required roles: Software.Read.All"), "{text}");
    assert!(text.contains("grant the application role `Software.Read.All`"), "{text}");
    let target = text.split("(correlation id ").nth(1).and_then(|rest| rest.split(')').next());
    assert_eq!(target.map(str::len), Some(36), "{text}");

    api.control().set_roles(&["Software.Read.All"]);
    api.control().revoke_tokens();
    let error = api.client.machines(ListQuery::All).await.unwrap_err();
    assert!(error.to_string().contains("grant the application role `Machine.Read.All`"), "{error}");
}

#[tokio::test]
async fn error_message_of_the_api_is_reported() {
    let api = Api::plain(1).await;
    for (fault, message) in [
        (Fault::Status(400), "(400): BadRequest: An error has occurred. (correlation id "),
        (Fault::NotFound, "(404): ResourceNotFound: Machine "),
        (Fault::Status(503), "(503): ServiceUnavailable: An error has occurred. (correlation id "),
        (Fault::HtmlError(502), "`getmissingkbs` failed (502)"),
        (Fault::Unauthorized, "(401): Unauthorized: Invalid or expired authorization header."),
    ] {
        inject(&api, fault, Times::Always);
        let text = text(&api.fetch_kbs().await.unwrap_err());
        assert!(text.contains(message), "{text}");
        assert!(!text.contains("<html>") && !text.contains(api.test_tenant.sim.client_secret()), "{text}");
        api.control().clear();
    }
}

#[tokio::test]
async fn revoked_token_is_replaced_once_and_the_call_succeeds() {
    let api = Api::plain(1).await;
    let kbs = api.fetch_kbs().await.unwrap();
    api.control().revoke_tokens();
    assert_eq!(api.fetch_kbs().await.unwrap(), kbs);
    assert_eq!(api.control().token_requests().len(), 2);
    let calls = api.control().calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.endpoint == Endpoint::MissingKbs).collect();
    assert_eq!(sent.iter().map(|call| call.status).collect::<Vec<_>>(), [Some(200), Some(401), Some(200)]);
    assert_eq!(sent[0].authorization, sent[1].authorization);
    assert_ne!(sent[1].authorization, sent[2].authorization);
    assert_eq!(api.count("token_refreshes_total", &[]), 2.0);
    assert_eq!(api.count("api_retries_total", &[]), 1.0);
}

#[tokio::test]
async fn rejected_new_token_ends_the_call() {
    let api = Api::plain(1).await;
    assert_eq!(fetch_with(&api, Fault::Unauthorized).await, ("unauthorized", 2));
    assert_eq!(api.control().token_requests().len(), 2);
}

#[tokio::test]
async fn token_errors_are_distinguished_and_cause_no_api_call() {
    let api = Api::plain(1).await;
    for (fault, kind, tries) in [
        (Fault::Status(503), "token", 4),
        (Fault::Reset, "network", 4),
        (Fault::Status(401), "token", 1),
        (Fault::NotJson, "token", 1),
    ] {
        let before = api.control().requests(Endpoint::Token);
        api.control().inject(Endpoint::Token, fault.clone(), Times::Always);
        assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), kind, "{fault:?}");
        assert_eq!(api.control().requests(Endpoint::Token) - before, tries, "{fault:?}");
        api.control().clear();
    }
    assert_eq!(api.requests(), 0);
    assert_eq!(api.count("token_refresh_failures_total", &[]), 10.0);
    api.fetch_kbs().await.unwrap();
}
