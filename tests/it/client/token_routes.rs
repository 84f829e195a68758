//! Connections of token requests: trusted certificates, proxies, and identity endpoints of the host.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mde_exporter::clock::Clock;
use mde_exporter::config::Auth;
use mde_exporter::defender::token::TokenSource;
use mde_exporter::http::{self, ProxyMode};
use mde_simulator::Endpoint;
use reqwest::{StatusCode, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::binary::{command, configure, entry, finish, test_tenant};
use crate::support::tenant::{TestTenant, call_api, metrics, source, text};

#[tokio::test]
async fn authority_with_an_unknown_ca_is_not_trusted() {
    let test_tenant = TestTenant::new().await;
    let other = TestTenant::new().await;
    let mut tenant = test_tenant.config();
    tenant.http.ca_file = Some(other.folder.path().join("ca.pem"));
    let error = source(&tenant).token().await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), ("network", false));
    assert!(text(&error).contains("invalid peer certificate"), "{}", text(&error));
    assert_eq!(test_tenant.requests(), 0);
}

/// A proxy for https that records the targets of its tunnels.
async fn tunnels(tasks: &mut JoinSet<()>) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let targets = Arc::clone(&seen);
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let targets = Arc::clone(&targets);
            open.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
                let mut server = TcpStream::connect(&target).await.unwrap();
                targets.lock().unwrap().push(target);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                // Either side may close the connection.
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn configured_proxy_carries_tokens_and_api_calls() {
    let test_tenant = TestTenant::new().await;
    let mut tasks = JoinSet::new();
    let (proxy, seen) = tunnels(&mut tasks).await;
    let mut tenant = test_tenant.config();
    tenant.http.proxy_url = Some(proxy);
    tenant.api_url.set_host(Some("localhost")).unwrap();

    let token = source(&tenant).token().await.unwrap();
    assert_eq!(call_api(&tenant, &token).await, StatusCode::OK);
    let port = tenant.api_url.port().unwrap();
    assert_eq!(*seen.lock().unwrap(), [format!("127.0.0.1:{port}"), format!("localhost:{port}")]);
}

/// The instance metadata service of a virtual machine: plain http, forwarded to the simulator.
/// Clients use it as their proxy, so that they reach it under any address.
async fn metadata_service(test_tenant: &TestTenant, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = http::client(&test_tenant.config().http, ProxyMode::Direct).unwrap();
    let authority = test_tenant.sim.authority_url();
    let router = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        assert_eq!(request.uri().host(), Some("169.254.169.254"));
        let url = format!("{authority}{}", request.uri().path_and_query().unwrap());
        let metadata = request.headers()["metadata"].clone();
        let reply = client.get(url).header("metadata", metadata).send().await.unwrap();
        (reply.status(), reply.bytes().await.unwrap())
    });
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn managed_identity(client_id: Option<&str>) -> Auth {
    Auth::ManagedIdentity { client_id: client_id.map(str::to_owned) }
}

#[tokio::test]
async fn managed_identity_of_a_vm_requests_the_resource() {
    let test_tenant = TestTenant::new().await;
    let mut tasks = JoinSet::new();
    let address = metadata_service(&test_tenant, &mut tasks).await;
    let proxy = reqwest::Proxy::http(format!("http://{address}")).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).build().unwrap();
    let source = |client_id| {
        let tenant = test_tenant.config_with(managed_identity(client_id));
        TokenSource::new(&tenant, client.clone(), Clock::system(), metrics())
    };

    let token = source(None).token().await.unwrap();
    assert_eq!(call_api(&test_tenant.config(), &token).await, StatusCode::OK);
    assert_eq!(test_tenant.field("resource"), "https://api.securitycenter.microsoft.com");
    assert_eq!(test_tenant.field("client_id"), "");

    source(Some(test_tenant.sim.client_id())).token().await.unwrap();
    assert_eq!(test_tenant.field("client_id"), test_tenant.sim.client_id());

    let error = source(Some("unknown")).token().await.unwrap_err();
    assert!(error.to_string().contains("Identity not found"), "{error}");
    assert!(error.to_string().contains("assigned to this machine"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn managed_identity_never_takes_a_proxy() {
    assert_eq!(ProxyMode::of_tokens(&managed_identity(None)), ProxyMode::Direct);
    assert_eq!(ProxyMode::of_tokens(&Auth::WorkloadIdentity { token_file: None }), ProxyMode::Configured);
}

#[tokio::test]
async fn direct_connection_ignores_the_proxy() {
    let test_tenant = TestTenant::new().await;
    let mut http = test_tenant.config().http;
    http.proxy_url = Some("http://127.0.0.1:1".parse().unwrap());
    let client = http::client(&http, ProxyMode::Direct).unwrap();
    let reply = client.get(test_tenant.sim.api_url()).send().await.unwrap();
    assert!(reply.status().is_client_error());
}

/// Runs `once` with these environment variables, and asserts that it fetches one token and the machine list.
async fn once(test_tenant: &TestTenant, auth: &str, variables: &[(&str, &str)]) {
    test_tenant.sim.control().register_federated_token("eyJ.from.environment");
    configure(test_tenant, &[entry(test_tenant, "contoso", auth, "")]);
    let mut once = command(&test_tenant.folder, &["once"]);
    once.envs(variables.iter().copied());
    let output = finish(once).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!((test_tenant.requests(), test_tenant.sim.control().requests(Endpoint::Machines)), (1, 1));
}

const SECRET: &str = "client_secret_file: secret.txt";

#[tokio::test]
async fn managed_identity_of_app_service_uses_the_environment() {
    let test_tenant = test_tenant(1).await;
    let mut tasks = JoinSet::new();
    let (proxy, seen) = tunnels(&mut tasks).await;
    let endpoint = test_tenant.sim.identity_endpoint();
    let app_service = [
        ("IDENTITY_ENDPOINT", endpoint.as_str()),
        ("IDENTITY_HEADER", test_tenant.sim.identity_header()),
        ("HTTPS_PROXY", proxy.as_str()),
    ];
    once(&test_tenant, "managed_identity: {}", &app_service).await;
    assert_eq!(test_tenant.field("api-version"), "2019-08-01");
    assert_eq!(test_tenant.field("resource"), "https://api.securitycenter.microsoft.com");
    assert_eq!(seen.lock().unwrap().len(), 1, "the API is behind the proxy, the identity is not");
}

#[tokio::test]
async fn federated_token_file_is_taken_from_the_environment() {
    let test_tenant = test_tenant(1).await;
    let file = test_tenant.write("federated", "eyJ.from.environment");
    let variables = [("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())];
    once(&test_tenant, "workload_identity: {}", &variables).await;
    assert_eq!(test_tenant.field("client_assertion"), "eyJ.from.environment");
}

#[tokio::test]
async fn ca_file_suffices_without_system_certificates() {
    let nowhere = [("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere")];
    once(&test_tenant(1).await, SECRET, &nowhere).await;
}

#[tokio::test]
async fn system_without_certificates_comes_with_advice() {
    let test_tenant = test_tenant(1).await;
    let text = format!("tenants:\n{}", entry(&test_tenant, "contoso", SECRET, ""));
    test_tenant.write("mde_exporter.yml", &text.replace("ca_file: ca.pem", ""));
    let mut check = command(&test_tenant.folder, &["check"]);
    check.envs([("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere")]);
    let output = finish(check).await;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    let advice = "[install the package ca-certificates, or set http.ca_file]";
    assert!(output.stdout.contains(advice), "{}", output.stdout);
}

#[tokio::test]
async fn environment_proxy_is_used_except_for_no_proxy_hosts() {
    let mut tasks = JoinSet::new();
    let (proxy, seen) = tunnels(&mut tasks).await;
    let behind = test_tenant(1).await;
    once(&behind, SECRET, &[("HTTPS_PROXY", proxy.as_str())]).await;
    let target = behind.sim.api_url().replace("https://", "");
    let targets = seen.lock().unwrap().split_off(0);
    assert!(!targets.is_empty() && targets.iter().all(|seen| *seen == target), "{targets:?}");

    let quoted = format!("\"{proxy}\"");
    let quoted_behind = test_tenant(1).await;
    once(&quoted_behind, SECRET, &[("HTTPS_PROXY", quoted.as_str())]).await;
    assert!(!seen.lock().unwrap().split_off(0).is_empty(), "a proxy in quotes is used");
    let excepted = [("HTTPS_PROXY", quoted.as_str()), ("NO_PROXY", "'127.0.0.1'")];
    once(&test_tenant(1).await, SECRET, &excepted).await;

    let excepted = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1")];
    once(&test_tenant(1).await, SECRET, &excepted).await;
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
}
