//! Tokens for a secret, a certificate and a federated token, from a simulated Entra that verifies requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config::{Auth, SecretSource, Tenant};
use mde_exporter::defender::token::{TokenError, TokenSource};
use mde_exporter::http::{self, ProxyMode};
use mde_exporter::model::ExpositionFormat;
use mde_exporter::self_metrics::SelfMetrics;
use mde_simulator::{Endpoint, Fault, QuotaPeriod, Times};
use reqwest::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{advance, pause, resume};

use crate::support::certificates::client_certificate;
use crate::support::tenant::{SCOPE, TestTenant, call_api, source, source_at, text};

fn refusal_code(error: &TokenError) -> &str {
    let TokenError::Refused(refusal) = error else { panic!("not a rejection: {error:?}") };
    refusal.code.as_deref().unwrap_or_default()
}

/// The error that one faulty reply causes.
async fn error_after(test_tenant: &TestTenant, fault: Fault) -> TokenError {
    test_tenant.sim.control().inject(Endpoint::Token, fault, Times::Next(1));
    let mut tenant = test_tenant.config();
    tenant.http.timeout = Duration::from_millis(800);
    source(&tenant).token().await.unwrap_err()
}

#[tokio::test]
async fn client_secret_gives_a_token_that_the_api_accepts() {
    let test_tenant = TestTenant::new().await;
    let tenant = test_tenant.config();
    let token = source(&tenant).token().await.unwrap();

    let request = test_tenant.sim.control().token_requests().pop().unwrap();
    assert_eq!(request.path, format!("/{}/oauth2/v2.0/token", test_tenant.sim.tenant_id()));
    let sent = [
        ("client_id", test_tenant.sim.client_id()),
        ("client_secret", test_tenant.sim.client_secret()),
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
    ];
    assert_eq!(test_tenant.fields(), sent.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(call_api(&tenant, &token).await, StatusCode::OK);
}

#[tokio::test]
async fn client_secret_is_read_from_the_environment() {
    let test_tenant = TestTenant::new().await;
    // A variable that is always set.
    let secret = std::env::var("PATH").unwrap();
    test_tenant.sim.control().set_client_secret(Some(&secret));
    let variable = SecretSource::Environment("PATH".to_owned());
    source(&test_tenant.config_with(Auth::ClientSecret(variable))).token().await.unwrap();
    assert_eq!(test_tenant.field("client_secret"), secret);
}

#[tokio::test]
async fn replaced_secret_file_is_used_for_the_next_token() {
    let test_tenant = TestTenant::new().await;
    let source = source(&test_tenant.config());
    let old = source.token().await.unwrap();
    test_tenant.sim.control().set_client_secret(Some("renewed"));
    test_tenant.write("secret.txt", "renewed");
    source.reject(&old);
    assert_ne!(source.token().await.unwrap().expose(), old.expose());
    assert_eq!(test_tenant.field("client_secret"), "renewed");
}

#[tokio::test]
async fn configured_scope_is_requested() {
    let test_tenant = TestTenant::new().await;
    let mut tenant = test_tenant.config();
    tenant.scope = "https://api-gov.securitycenter.microsoft.us/.default".to_owned();
    source(&tenant).token().await.unwrap();
    assert_eq!(test_tenant.field("scope"), tenant.scope);
}

#[tokio::test]
async fn certificate_signs_a_valid_assertion() {
    let test_tenant = TestTenant::new().await;
    let (first, key) = client_certificate();
    let file = test_tenant.write("client.pem", &format!("{key}{first}"));
    let source = source(&test_tenant.config_with(Auth::ClientCertificate(file)));

    test_tenant.sim.control().register_certificate(&first).unwrap();
    let token = source.token().await.unwrap();
    let names: Vec<_> = test_tenant.fields().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["client_assertion", "client_assertion_type", "client_id", "grant_type", "scope"]);

    // Each assertion is used once, and a renewed file is used at once.
    source.reject(&token);
    let token = source.token().await.unwrap();
    let (second, key) = client_certificate();
    test_tenant.sim.control().register_certificate(&second).unwrap();
    source.reject(&token);
    let error = source.token().await.unwrap_err();
    assert_eq!(refusal_code(&error), "AADSTS700027", "{error}");
    assert!(error.to_string().contains("not registered"), "{error}");
    test_tenant.write("client.pem", &format!("{second}{key}"));
    source.token().await.unwrap();
}

#[tokio::test]
async fn federated_token_is_read_again_each_time() {
    let test_tenant = TestTenant::new().await;
    let file = test_tenant.write("federated", "eyJ.first.one\n");
    let source = source(&test_tenant.config_with(Auth::WorkloadIdentity { token_file: Some(file) }));
    let error = source.token().await.unwrap_err();
    assert_eq!(refusal_code(&error), "AADSTS70025", "{error}");

    test_tenant.sim.control().register_federated_token("eyJ.second.one");
    test_tenant.write("federated", "eyJ.second.one\n");
    source.token().await.unwrap();
    assert_eq!(test_tenant.field("client_assertion"), "eyJ.second.one");
    assert_eq!(
        test_tenant.field("client_assertion_type"),
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
}

/// Makes one mistake in a tenant's configuration.
type Misconfigure = fn(&mut Tenant, &TestTenant);

#[tokio::test]
async fn rejections_name_the_code_and_the_fix() {
    let test_tenant = TestTenant::new().await;
    let cases: [(Misconfigure, &str, &str); 6] = [
        (
            |_, test_tenant| drop(test_tenant.write("secret.txt", "planted-wrong-secret")),
            "AADSTS7000215",
            "and not its id",
        ),
        (|_, test_tenant| test_tenant.sim.control().set_client_secret(None), "AADSTS7000222", "expired"),
        (|tenant, _| tenant.client_id = Some("nobody".to_owned()), "AADSTS700016", "client_id"),
        (|tenant, _| tenant.tenant_id = "nowhere".to_owned(), "AADSTS90002", "tenant_id"),
        (|tenant, _| tenant.scope = "nonsense".to_owned(), "AADSTS70011", "scope"),
        (|tenant, _| tenant.scope = "https://x.example/.default".to_owned(), "AADSTS500011", "scope"),
    ];
    for (misconfigure, code, hint) in cases {
        let mut tenant = test_tenant.config();
        misconfigure(&mut tenant, &test_tenant);
        let error = source(&tenant).token().await.unwrap_err();
        assert_eq!(refusal_code(&error), code);
        assert_eq!((error.kind(), error.is_transient()), ("token", false));
        let text = text(&error);
        assert!(text.contains(hint) && text.contains("correlation id"), "{text}");
        assert!(!text.contains("planted") && !text.contains(test_tenant.sim.client_secret()), "{text}");
        assert!(!text.contains("\\r") && !text.contains("Trace ID"), "{text}");
    }
}

#[tokio::test]
async fn unusable_secret_is_named_and_no_request_is_sent() {
    let test_tenant = TestTenant::new().await;
    let empty = test_tenant.write("empty.txt", "\n");
    let cases = [
        (Auth::ClientSecret(SecretSource::File(empty.clone())), "empty.txt` is empty"),
        (Auth::ClientSecret(SecretSource::Environment("MDE_NO_SUCH".into())), "`MDE_NO_SUCH` is not set"),
        (Auth::ClientCertificate(test_tenant.folder.path().join("gone.pem")), "gone.pem`"),
        (
            Auth::ClientCertificate(test_tenant.write("ca-only.pem", test_tenant.sim.ca_pem())),
            "no private key",
        ),
        (Auth::WorkloadIdentity { token_file: Some(empty) }, "empty.txt` is empty"),
    ];
    for (auth, named) in cases {
        let error = source(&test_tenant.config_with(auth)).token().await.unwrap_err();
        assert!(text(&error).contains(named), "{}", text(&error));
        assert_eq!((error.kind(), error.is_transient()), ("token", false));
    }
    assert_eq!(test_tenant.requests(), 0);
}

#[tokio::test]
async fn broken_replies_are_classified() {
    let test_tenant = TestTenant::new().await;
    let cases = [
        (Fault::HtmlError(502), "token", true),
        (Fault::Status(503), "token", true),
        (Fault::Status(400), "token", false),
        (Fault::NotJson, "token", false),
        (Fault::WrongShape, "token", false),
        (Fault::Body(b"{}".to_vec()), "token", false),
        (Fault::HugeBody, "token", false),
        (Fault::Truncated, "network", true),
        (Fault::Reset, "network", true),
        (Fault::Hang, "timeout", true),
        (Fault::SlowDrip, "timeout", true),
    ];
    for (fault, kind, transient) in cases {
        let error = error_after(&test_tenant, fault.clone()).await;
        assert_eq!((error.kind(), error.is_transient()), (kind, transient), "{fault:?}: {}", text(&error));
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let test_tenant = TestTenant::new().await;
    let other = TestTenant::new().await;
    let target = format!("{}/{}/oauth2/v2.0/token", other.sim.authority_url(), other.sim.tenant_id());
    let error = error_after(&test_tenant, Fault::Redirect(target)).await;
    assert!(matches!(error, TokenError::BadReply { status: 302, .. }), "{error:?}");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn concurrent_callers_share_one_request_and_its_failure() {
    let test_tenant = TestTenant::new().await;
    let source = Arc::new(source(&test_tenant.config()));
    test_tenant.sim.control().inject(Endpoint::Token, Fault::HtmlError(503), Times::Next(1));
    let request_ten_times = || async {
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let source = Arc::clone(&source);
            callers.spawn(async move { source.token().await });
        }
        callers.join_all().await
    };
    assert!(request_ten_times().await.iter().all(Result::is_err));
    assert_eq!(test_tenant.requests(), 1);
    assert!(request_ten_times().await.iter().all(Result::is_ok));
    assert_eq!(test_tenant.requests(), 2);
}

#[tokio::test]
async fn retry_after_of_the_token_endpoint_is_obeyed() {
    let throttled = Fault::Throttle { retry_after: Some("14".to_owned()), window: QuotaPeriod::Minute };
    for fault in [Fault::Unavailable("14".to_owned()), throttled] {
        let test_tenant = TestTenant::new().await;
        let source = source(&test_tenant.config());
        test_tenant.sim.control().inject(Endpoint::Token, fault, Times::Next(1));
        assert!(source.token().await.unwrap_err().is_transient());
        let time = async {
            pause();
            for _ in 0..13 {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                advance(Duration::from_secs(1)).await;
            }
            assert_eq!(test_tenant.requests(), 1, "nothing is sent in the 14 s");
            advance(Duration::from_secs(1)).await;
            resume();
        };
        let (first, second, ()) = tokio::join!(source.token(), source.token(), time);
        assert_eq!(first.unwrap().expose(), second.unwrap().expose());
        assert_eq!(test_tenant.requests(), 2);
    }
}

#[tokio::test]
async fn long_pause_of_the_token_endpoint_fails_at_once() {
    let test_tenant = TestTenant::new().await;
    let source = source(&test_tenant.config());
    let fault = Fault::Unavailable("200000".to_owned());
    test_tenant.sim.control().inject(Endpoint::Token, fault, Times::Next(1));
    source.token().await.unwrap_err();
    let error = source.token().await.unwrap_err();
    assert_eq!((error.kind(), test_tenant.requests()), ("throttled", 1));
    assert!(error.to_string().contains("for another 1day"), "{error}");
}

#[tokio::test]
async fn lifetime_of_a_token_may_be_text_or_missing() {
    for lifetime in [r#","expires_in":"3599""#, r#","expires_in":3599.0"#, "", r#","expires_in":null"#] {
        let test_tenant = TestTenant::new().await;
        let body = format!(r#"{{"token_type":"Bearer","access_token":"opaque"{lifetime}}}"#);
        let fault = Fault::Body(body.into_bytes());
        test_tenant.sim.control().inject(Endpoint::Token, fault, Times::Next(1));
        assert_eq!(source(&test_tenant.config()).token().await.unwrap().expose(), "opaque", "{lifetime}");
    }
}

#[tokio::test]
async fn token_rejected_twice_costs_one_request() {
    let test_tenant = TestTenant::new().await;
    let source = source(&test_tenant.config());
    let old = source.token().await.unwrap();
    source.reject(&old);
    let new = source.token().await.unwrap();
    source.reject(&old);
    assert_eq!(source.token().await.unwrap().expose(), new.expose());
    assert_eq!(test_tenant.requests(), 2);
}

#[tokio::test]
async fn token_is_kept_until_five_minutes_before_its_end() {
    let test_tenant = TestTenant::new().await;
    let seconds = Arc::new(AtomicI64::new(0));
    let now = Arc::clone(&seconds);
    let clock = Clock::new(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
    let source = source_at(&test_tenant.config(), clock);
    for (minute, requests) in [(0, 1), (54, 1), (55, 2)] {
        seconds.store(minute * 60, Ordering::SeqCst);
        source.token().await.unwrap();
        assert_eq!(test_tenant.requests(), requests, "minute {minute}");
    }
}

#[tokio::test]
async fn token_requests_and_failures_are_counted() {
    let test_tenant = TestTenant::new().await;
    let metrics = Arc::new(SelfMetrics::new("test"));
    let tenant = test_tenant.config();
    let client = http::client(&tenant.http, ProxyMode::Direct).unwrap();
    let source = TokenSource::new(&tenant, client, Clock::system(), metrics.tenant("contoso"));
    test_tenant.sim.control().inject(Endpoint::Token, Fault::Reset, Times::Next(1));
    source.token().await.unwrap_err();
    let expires = source.token().await.unwrap().expires().as_second();
    let text = String::from_utf8(metrics.encode(ExpositionFormat::Text)).unwrap();
    for sample in [
        "mde_exporter_token_refreshes_total{tenant=\"contoso\"} 1\n".to_owned(),
        "mde_exporter_token_refresh_failures_total{tenant=\"contoso\"} 1\n".to_owned(),
        format!("mde_exporter_token_expiry_timestamp_seconds{{tenant=\"contoso\"}} {expires}"),
    ] {
        assert!(text.contains(&sample), "{sample} is not in\n{text}");
    }
}

#[tokio::test]
async fn debug_output_of_tokens_holds_no_secret() {
    let test_tenant = TestTenant::new().await;
    let source = source(&test_tenant.config());
    let token = source.token().await.unwrap();
    let printed = format!("{source:?} {token:?}");
    assert!(
        !printed.contains(token.expose()) && !printed.contains(test_tenant.sim.client_secret()),
        "{printed}"
    );
}
