//! Searches for secrets: every secret is a canary, and logs, output, pages and files are searched for it,
//! also after errors.

use std::path::Path;

use mde_exporter::clock::Clock;
use mde_exporter::config::{self, Auth, SecretSource};
use mde_exporter::defender::{Client, ListQuery, QuotaHistory, RetryPolicy};
use mde_exporter::http::ProxyMode;
use mde_simulator::{Endpoint, Fault, Realism, Times};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::binary::{
    LOOPBACK, RunningExporter, command, configure, entry, finish, test_tenant_with,
};
use crate::support::canaries::{Canaries, FEDERATED, PROXY_PASSWORD, VARIABLE};
use crate::support::check::{EXPORT, with_certificate};
use crate::support::proxy::proxy;
use crate::support::tenant::{TestTenant, metrics, source};

/// A tenant for each kind of credential, with both sources; one uses a proxy with a password.
async fn test_tenant_with_canaries(tasks: &mut JoinSet<()>) -> (TestTenant, Vec<String>) {
    let test_tenant = test_tenant_with(12, Realism::Realistic).await;
    let certificate = with_certificate(&test_tenant);
    test_tenant.sim.control().register_certificate(&certificate).unwrap();
    test_tenant.write("federated", FEDERATED);
    test_tenant.sim.control().register_federated_token(FEDERATED);
    let target = test_tenant.sim.api_url().replace("https://", "");
    let address = proxy(tasks, "200 OK", Some(target)).await;
    let by_proxy = format!(", proxy_url: \"http://user:{PROXY_PASSWORD}@{address}\"");
    let entry = |name: &str, auth: &str, http: &str| entry(&test_tenant, name, auth, http);
    let export = |entry: String| entry.replace(EXPORT.0, EXPORT.1);
    let entries = vec![
        entry("secret", "client_secret_file: secret.txt", &by_proxy),
        export(entry("certificate", "client_certificate_file: client.pem", "")),
        entry("federated", "workload_identity: { token_file: federated }", ""),
        export(entry("managed", "managed_identity: {}", "")),
        entry("variable", "client_secret_env: CANARY", ""),
    ];
    (test_tenant, entries)
}

/// The binary with the canaries of the environment.
fn with_environment(test_tenant: &TestTenant, arguments: &[&str]) -> Command {
    let mut command = command(&test_tenant.folder, arguments);
    let endpoint = test_tenant.sim.identity_endpoint();
    command.env("CANARY", VARIABLE).env("IDENTITY_ENDPOINT", endpoint);
    command.env("IDENTITY_HEADER", test_tenant.sim.identity_header());
    command
}

const DEBUG: &str = "--log.level=debug";

#[tokio::test]
async fn daemon_logs_serves_and_stores_no_secret() {
    let mut tasks = JoinSet::new();
    let (test_tenant, entries) = test_tenant_with_canaries(&mut tasks).await;
    configure(&test_tenant, &entries);
    let mut texts = Vec::new();

    let mut running = RunningExporter::start(with_environment(&test_tenant, &["run", LOOPBACK, DEBUG])).await;
    for _ in &entries {
        running.line_with("poll finished").await;
    }
    for path in ["/", "/?q=secret", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
        texts.push((path.to_owned(), running.get(path).await.1.into_bytes()));
    }
    let output = running.stop("TERM").await;
    texts.push(("the log".to_owned(), output.stderr.into_bytes()));
    texts.push(("standard output".to_owned(), output.stdout.into_bytes()));
    for file in std::fs::read_dir(test_tenant.folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        texts.push((path.display().to_string(), std::fs::read(path).unwrap()));
    }
    let json = ["run", LOOPBACK, DEBUG, "--log.format=json"];
    let mut running = RunningExporter::start_quiet(with_environment(&test_tenant, &json));
    running.line_with("poll finished").await;
    texts.push(("the log as JSON".to_owned(), running.stop("TERM").await.stderr.into_bytes()));
    for arguments in [&["once", DEBUG][..], &["check", DEBUG], &["check-config"]] {
        let output = finish(with_environment(&test_tenant, arguments)).await;
        texts.push((arguments.join(" "), format!("{}{}", output.stdout, output.stderr).into_bytes()));
    }

    let canaries = Canaries::of(&test_tenant);
    for kind in ["access token", "assertion", "key", "link"] {
        assert!(canaries.0.iter().any(|(found, _)| *found == kind), "{kind} was not used");
    }
    let requests = |endpoint| test_tenant.sim.control().requests(endpoint);
    assert!(requests(Endpoint::ExportFile) > 0 && requests(Endpoint::MissingKbs) > 0);
    for (place, bytes) in &texts {
        canaries.assert_absent(place, bytes);
    }
}

/// Causes an error of the test tenant.
type Break = fn(&TestTenant);

fn always(test_tenant: &TestTenant, endpoint: Endpoint, fault: Fault) {
    test_tenant.sim.control().inject(endpoint, fault, Times::Always);
}

#[tokio::test]
async fn error_output_holds_no_secret() {
    let failures: [(&str, Break); 14] = [
        ("rejected secret", |test_tenant| test_tenant.sim.control().set_client_secret(Some("another"))),
        ("expired secret", |test_tenant| test_tenant.sim.control().set_client_secret(None)),
        ("rejected assertions", |test_tenant| {
            let other =
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
            let other = rcgen::CertificateParams::default().self_signed(&other).unwrap();
            test_tenant.sim.control().register_certificate(&other.pem()).unwrap();
            test_tenant.sim.control().register_federated_token("another");
        }),
        ("untrusted certificate", |test_tenant| {
            let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
            test_tenant.write("ca.pem", &other.cert.pem());
        }),
        ("broken key", |test_tenant| {
            let pem = std::fs::read_to_string(test_tenant.folder.path().join("client.pem")).unwrap();
            test_tenant.write("client.pem", &pem.replace("-----END PRIVATE", "-----END"));
        }),
        ("redirect of the token", |test_tenant| {
            always(test_tenant, Endpoint::Token, Fault::Redirect("https://login.example/".to_owned()));
        }),
        ("redirect of the API", |test_tenant| {
            always(test_tenant, Endpoint::Machines, Fault::Redirect("https://portal.example/".to_owned()));
        }),
        ("rejected token", |test_tenant| always(test_tenant, Endpoint::Machines, Fault::Unauthorized)),
        ("missing role", |test_tenant| test_tenant.sim.control().set_roles(&["Machine.Read.All"])),
        ("link without TLS", |test_tenant| bad_link(test_tenant, "http://files.invalid/1?sig=")),
        ("link to nowhere", |test_tenant| bad_link(test_tenant, "https://files.invalid/1?sig=")),
        ("link with a user", |test_tenant| bad_link(test_tenant, "https://user@files.invalid/1?sig=")),
        ("rejected link", |test_tenant| always(test_tenant, Endpoint::ExportFile, Fault::Status(403))),
        ("broken file", |test_tenant| always(test_tenant, Endpoint::ExportFile, Fault::NotJson)),
    ];
    for (failure, cause) in failures {
        let mut tasks = JoinSet::new();
        let (test_tenant, entries) = test_tenant_with_canaries(&mut tasks).await;
        cause(&test_tenant);
        configure(&test_tenant, &entries);
        let mut commands = JoinSet::new();
        for arguments in [&["once", DEBUG, "--log.format=json"][..], &["check"]] {
            commands.spawn(finish(with_environment(&test_tenant, arguments)));
        }
        let outputs = commands.join_all().await;
        let canaries = Canaries::of(&test_tenant);
        for output in outputs {
            assert_eq!(output.code, Some(1), "{failure}: {}{}", output.stdout, output.stderr);
            canaries.assert_absent(failure, format!("{}{}", output.stdout, output.stderr).as_bytes());
        }
    }
}

fn bad_link(test_tenant: &TestTenant, start: &str) {
    let link = format!("{start}{}", test_tenant.sim.link_secret());
    always(test_tenant, Endpoint::Export, Fault::ForeignNextLink(link));
}

#[tokio::test]
async fn misplaced_secrets_are_not_repeated_in_errors() {
    let mut tasks = JoinSet::new();
    let (test_tenant, _) = test_tenant_with_canaries(&mut tasks).await;
    let (secret, good) = (test_tenant.sim.client_secret(), "client_secret_file: secret.txt");
    let password = format!("proxy_url: \"ftp://user:{PROXY_PASSWORD}@proxy.example\"");
    for (old, new) in [
        (good, &*format!("client_secret: {secret}")),
        (good, secret),
        (good, &format!("client_secret_env: {secret}")),
        (good, &format!("client_secret_file: [{secret}]")),
        (good, &format!("{secret}: 1")),
        ("ca_file: ca.pem", &password),
        ("{ all: true }", &format!("{{ all: \"{secret}\" }}")),
        ("    http:", &format!("    client_id: \"{secret}\"\n    http:")),
    ] {
        let text = entry(&test_tenant, "contoso", good, "");
        assert!(text.contains(old));
        configure(&test_tenant, &[text.replace(old, new)]);
        for arguments in [["check-config"], ["check"], ["run"], ["once"]] {
            let output = finish(with_environment(&test_tenant, &arguments)).await;
            assert_eq!(output.code, Some(64), "{new}: {}", output.stderr);
            let output = format!("{}{}", output.stdout, output.stderr);
            Canaries::of(&test_tenant).assert_absent(new.split(':').next().unwrap(), output.as_bytes());
        }
    }
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let mut tasks = JoinSet::new();
    let (test_tenant, entries) = test_tenant_with_canaries(&mut tasks).await;
    let text = format!("tenants:\n{}", entries.concat());
    let loaded = config::parse(Path::new("mde_exporter.yml"), text.as_bytes()).unwrap();
    let mut printed = vec![format!("{loaded:?} {loaded:#?}")];

    let federated = Auth::WorkloadIdentity { token_file: Some(test_tenant.folder.path().join("federated")) };
    let certificate = Auth::ClientCertificate(test_tenant.folder.path().join("client.pem"));
    let secret = test_tenant.write("secret.txt", test_tenant.sim.client_secret());
    for auth in [federated, certificate, Auth::ClientSecret(SecretSource::File(secret))] {
        let tenant = test_tenant.config_with(auth);
        let tokens = source(&tenant);
        let token = tokens.token().await.unwrap();
        let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        let (random, history) = (fastrand::Rng::with_seed(1), QuotaHistory::default());
        let client =
            Client::new(&tenant, ProxyMode::Direct, retry, random, history, Clock::system(), metrics())
                .unwrap();
        let machines = client.machines(ListQuery::All).await.unwrap();
        let (facts, export) = (client.token_facts().await.unwrap(), client.export_list().await.unwrap());
        client.reach_files(&export).await.unwrap();
        printed.push(format!("{tenant:?} {tokens:?} {token:?} {client:?} {machines:?} {facts:?} {export:?}"));
        always(&test_tenant, Endpoint::ExportFile, Fault::Status(403));
        let error = client.reach_files(&export).await.unwrap_err();
        printed.push(format!("{error:?} {error}"));
        tokens.reject(&token);
        always(&test_tenant, Endpoint::Token, Fault::Aadsts(53_003));
        let error = tokens.token().await.unwrap_err();
        printed.push(format!("{error:?} {error}"));
        test_tenant.sim.control().clear();
    }
    let canaries = Canaries::of(&test_tenant);
    for text in printed {
        canaries.assert_absent("debug output", text.as_bytes());
    }
}

#[tokio::test]
async fn canaries_are_found_in_every_encoding() {
    let mut tasks = JoinSet::new();
    let (test_tenant, entries) = test_tenant_with_canaries(&mut tasks).await;
    configure(&test_tenant, &entries);
    finish(with_environment(&test_tenant, &["once"])).await;
    let canaries = Canaries::of(&test_tenant);
    let token =
        canaries.0.iter().find(|(kind, secret)| *kind == "access token" && secret.len() > 100).unwrap();
    for (kind, text) in [
        ("client secret", format!("a=b secret=\"{}\"", test_tenant.sim.client_secret())),
        ("link", format!("GET /x?sig={} HTTP", test_tenant.sim.link_secret())),
        ("access token", format!("Bearer {}", token.1)),
        ("proxy password", format!("http://user:{PROXY_PASSWORD}@proxy")),
    ] {
        let mut bytes = vec![0, 0xff];
        bytes.extend(text.as_bytes());
        assert!(canaries.found_in(&bytes).contains(&kind), "{kind}");
    }
    assert!(canaries.found_in(b"nothing").is_empty());
}
