//! The ways that a request for a token takes: whom it trusts, which proxy, which endpoint of the host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mde_exporter::clock::Clock;
use mde_exporter::config::Auth;
use mde_exporter::defender::http::{self, Route};
use mde_exporter::defender::token::TokenSource;
use reqwest::{StatusCode, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::tenant::{Scene, call_api, metrics, source, tenant, text};

#[tokio::test]
async fn authority_with_an_unknown_ca_is_not_trusted() {
    let scene = Scene::new().await;
    let other = Scene::new().await;
    let mut tenant = scene.tenant();
    tenant.http.ca_file = Some(other.folder.path().join("ca.pem"));
    let error = source(&tenant).token().await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), ("network", false));
    assert!(text(&error).contains("invalid peer certificate"), "{}", text(&error));
    assert_eq!(scene.requests(), 0);
}

/// A proxy for https: opens tunnels and notes where to.
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
                // Either side may leave as it likes.
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn proxy_of_the_configuration_carries_tokens_and_api_alike() {
    let scene = Scene::new().await;
    let mut tasks = JoinSet::new();
    let (proxy, seen) = tunnels(&mut tasks).await;
    let mut tenant = scene.tenant();
    tenant.http.proxy_url = Some(proxy);
    tenant.api_url.set_host(Some("localhost")).unwrap();

    let token = source(&tenant).token().await.unwrap();
    assert_eq!(call_api(&tenant, &token).await, StatusCode::OK);
    let port = tenant.api_url.port().unwrap();
    assert_eq!(*seen.lock().unwrap(), [format!("127.0.0.1:{port}"), format!("localhost:{port}")]);
}

/// The instance metadata service as a virtual machine has it: plain http, answered by the simulator.
/// Clients that take it for their proxy find it at whatever address they ask for.
async fn metadata_service(scene: &Scene, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = http::client(&scene.tenant().http, Route::Direct).unwrap();
    let authority = scene.sim.authority_url();
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
async fn managed_identity_of_a_virtual_machine_is_asked_for_the_resource() {
    let scene = Scene::new().await;
    let mut tasks = JoinSet::new();
    let address = metadata_service(&scene, &mut tasks).await;
    let proxy = reqwest::Proxy::http(format!("http://{address}")).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).build().unwrap();
    let source = |client_id| {
        let tenant = scene.tenant_with(managed_identity(client_id));
        TokenSource::new(&tenant, client.clone(), Clock::system(), metrics())
    };

    let token = source(None).token().await.unwrap();
    assert_eq!(call_api(&scene.tenant(), &token).await, StatusCode::OK);
    assert_eq!(scene.field("resource"), "https://api.securitycenter.microsoft.com");
    assert_eq!(scene.field("client_id"), "");

    source(Some(scene.sim.client_id())).token().await.unwrap();
    assert_eq!(scene.field("client_id"), scene.sim.client_id());

    let error = source(Some("unknown")).token().await.unwrap_err();
    assert!(error.to_string().contains("Identity not found"), "{error}");
    assert!(error.to_string().contains("assigned to this machine"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn managed_identity_never_takes_a_proxy() {
    assert_eq!(Route::of_tokens(&managed_identity(None)), Route::Direct);
    assert_eq!(Route::of_tokens(&Auth::WorkloadIdentity { token_file: None }), Route::Configured);
}

#[tokio::test]
async fn direct_route_ignores_the_proxy() {
    let scene = Scene::new().await;
    let mut http = scene.tenant().http;
    http.proxy_url = Some("http://127.0.0.1:1".parse().unwrap());
    let client = http::client(&http, Route::Direct).unwrap();
    let reply = client.get(scene.sim.api_url()).send().await.unwrap();
    assert!(reply.status().is_client_error());
}

/// Runs [`child_takes_a_token`] in a process of its own, since the environment is shared by all tests.
async fn take_token_in_child(scene: &Scene, variables: &[(&str, &str)]) {
    scene.sim.control().register_federated_token("eyJ.from.environment");
    let federated = scene.write("federated", "eyJ.from.environment");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["token_routes::child_takes_a_token", "--exact", "--ignored", "--nocapture"]);
    child
        .env_clear()
        .env("AZURE_FEDERATED_TOKEN_FILE", federated)
        .env("MDE_TEST_AUTHORITY", scene.sim.authority_url())
        .env("MDE_TEST_TENANT", scene.sim.tenant_id())
        .env("MDE_TEST_CLIENT", scene.sim.client_id())
        .env("MDE_TEST_FOLDER", scene.folder.path())
        .envs(variables.iter().copied())
        .kill_on_drop(true);
    let output = child.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scene.requests(), 1);
}

#[tokio::test]
#[ignore = "run by other tests, with an environment of its own"]
async fn child_takes_a_token() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let auth = match std::env::var("IDENTITY_ENDPOINT") {
        Ok(_) => managed_identity(None),
        Err(_) => Auth::WorkloadIdentity { token_file: None },
    };
    let folder = PathBuf::from(variable("MDE_TEST_FOLDER"));
    let (authority, tenant_id) = (variable("MDE_TEST_AUTHORITY"), variable("MDE_TEST_TENANT"));
    let tenant = tenant(&authority, &tenant_id, &variable("MDE_TEST_CLIENT"), &folder, auth);
    let client = http::client(&tenant.http, Route::of_tokens(&tenant.auth)).unwrap();
    TokenSource::new(&tenant, client, Clock::system(), metrics()).token().await.unwrap();
}

#[tokio::test]
async fn managed_identity_of_app_service_is_found_in_the_environment() {
    let scene = Scene::new().await;
    let endpoint = scene.sim.identity_endpoint();
    let app_service = [
        ("IDENTITY_ENDPOINT", endpoint.as_str()),
        ("IDENTITY_HEADER", scene.sim.identity_header()),
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ];
    take_token_in_child(&scene, &app_service).await;
    assert_eq!(scene.field("api-version"), "2019-08-01");
    assert_eq!(scene.field("resource"), "https://api.securitycenter.microsoft.com");
}

#[tokio::test]
async fn file_of_the_federated_token_is_found_in_the_environment() {
    let scene = Scene::new().await;
    take_token_in_child(&scene, &[]).await;
    assert_eq!(scene.field("client_assertion"), "eyJ.from.environment");
}

#[tokio::test]
async fn ca_file_suffices_where_the_system_has_no_certificates() {
    let nowhere = [("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere")];
    take_token_in_child(&Scene::new().await, &nowhere).await;
}

#[tokio::test]
async fn proxy_of_the_environment_counts_unless_the_host_is_excepted() {
    let mut tasks = JoinSet::new();
    let (proxy, seen) = tunnels(&mut tasks).await;
    take_token_in_child(&Scene::new().await, &[("HTTPS_PROXY", proxy.as_str())]).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    let excepted = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1")];
    take_token_in_child(&Scene::new().await, &excepted).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}
