//! Connections: names, ports, proxies, TLS and timeouts.

use mde_simulator::{Endpoint, Fault};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::check::{
    CaseOutput, EXPORT, NOTHING, SHORT, case, check, check_with, config, faults, golden, test_tenant,
};
use crate::support::proxy::proxy;

/// A case with a proxy, in which the authority has a name that only the proxy resolves.
fn proxied(title: &str, answer: &'static str, passes: bool) -> (String, CaseOutput) {
    let output = async move {
        let test_tenant = test_tenant().await;
        let mut tasks = JoinSet::new();
        let target = passes.then(|| test_tenant.sim.api_url().replace("https://", ""));
        let address = proxy(&mut tasks, answer, target).await;
        let by_proxy = format!("ca_file: ca.pem, proxy_url: \"http://user:hunter2@{address}\"");
        let authority = format!("authority_url: {}", test_tenant.sim.api_url());
        let changes =
            [("ca_file: ca.pem", by_proxy.as_str()), (&authority, "authority_url: https://login.example")];
        let output = check(&test_tenant, &config(&test_tenant, &changes)).await;
        assert!(!output.contains("hunter2"), "{output}");
        output.replace(&address, "127.0.0.1:3128")
    };
    (title.to_owned(), Box::pin(output))
}

#[tokio::test]
async fn network_errors_are_diagnosed() {
    let mut cases = vec![
        case("unknown authority of certificates", &[("{ ca_file: ca.pem }", "{}")], NOTHING),
        case("no file with the authority", &[("ca.pem", "gone.pem")], NOTHING),
        proxied("proxy that wants a password", "407 Proxy Authentication Required", false),
        proxied("proxy that refuses", "403 Forbidden", false),
        proxied("certificate of another host", "200 OK", true),
    ];
    let unreachable = [
        ("host without an address", "https://login.invalid"),
        ("port where nothing listens", "https://127.0.0.1:1"),
    ];
    for (title, url) in unreachable {
        for key in ["authority_url", "api_url"] {
            let output = async move {
                let test_tenant = test_tenant().await;
                let old = format!("{key}: {}", test_tenant.sim.api_url());
                check(&test_tenant, &config(&test_tenant, &[(&old, &format!("{key}: {url}"))])).await
            };
            cases.push((format!("{title} ({key})"), Box::pin(output)));
        }
    }
    cases.push(case(
        "proxy that is not there",
        &[("ca_file: ca.pem", "ca_file: ca.pem, proxy_url: \"http://127.0.0.1:1\"")],
        NOTHING,
    ));
    let environment = async {
        let test_tenant = test_tenant().await;
        check_with(
            &test_tenant,
            &config(&test_tenant, &[]),
            &[],
            &[("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")],
        )
        .await
    };
    cases.push(("proxy of the environment that is not there".to_owned(), Box::pin(environment)));
    let plain = async {
        let test_tenant = test_tenant().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, axum::Router::new()).await.unwrap() });
        let old = format!("authority_url: {}", test_tenant.sim.api_url());
        let output = check(
            &test_tenant,
            &config(&test_tenant, &[(&old, &format!("authority_url: https://{address}"))]),
        )
        .await;
        output.replace(&address.to_string(), "127.0.0.1:8080")
    };
    cases.push(("port of plain http".to_owned(), Box::pin(plain)));
    golden("network", cases).await;
}

#[tokio::test]
async fn missing_replies_time_out() {
    let hanging = || vec![Fault::Hang, Fault::SlowDrip];
    let export = [EXPORT, SHORT];
    let cases = faults(Endpoint::Token, &[SHORT], hanging())
        .chain(faults(Endpoint::Machines, &[SHORT], hanging()))
        .chain(faults(Endpoint::MissingKbs, &[SHORT], hanging()))
        .chain(faults(Endpoint::Export, &export, vec![Fault::Hang]))
        .chain(faults(Endpoint::ExportFile, &export, vec![Fault::Hang]));
    golden("timeouts", cases.collect()).await;
}
