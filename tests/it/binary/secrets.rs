//! No secret anywhere: canaries in everything that is secret, and a search through everything that is
//! said, served or kept, also when things go wrong.

use std::path::Path;

use mde_exporter::clock::Clock;
use mde_exporter::config::{self, Auth, SecretSource};
use mde_exporter::defender::{Client, ListQuery, ProxyMode, QuotaHistory, RetryPolicy};
use mde_simulator::{Endpoint, Fault, Realism, Times};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::binary::{LOOPBACK, Running, command, configure, entry, finish, scene_with};
use crate::support::canaries::{Canaries, FEDERATED, PROXY_PASSWORD, VARIABLE};
use crate::support::check::{EXPORT, with_certificate};
use crate::support::proxy::proxy;
use crate::support::tenant::{Scene, metrics, source};

/// A tenant for each way to have a token, with both sources, and a proxy with a password for one of them.
async fn planted(tasks: &mut JoinSet<()>) -> (Scene, Vec<String>) {
    let scene = scene_with(12, Realism::Realistic).await;
    let certificate = with_certificate(&scene);
    scene.sim.control().register_certificate(&certificate).unwrap();
    scene.write("federated", FEDERATED);
    scene.sim.control().register_federated_token(FEDERATED);
    let target = scene.sim.api_url().replace("https://", "");
    let address = proxy(tasks, "200 OK", Some(target)).await;
    let by_proxy = format!(", proxy_url: \"http://user:{PROXY_PASSWORD}@{address}\"");
    let entry = |name: &str, auth: &str, http: &str| entry(&scene, name, auth, http);
    let export = |entry: String| entry.replace(EXPORT.0, EXPORT.1);
    let entries = vec![
        entry("secret", "client_secret_file: secret.txt", &by_proxy),
        export(entry("certificate", "client_certificate_file: client.pem", "")),
        entry("federated", "workload_identity: { token_file: federated }", ""),
        export(entry("managed", "managed_identity: {}", "")),
        entry("variable", "client_secret_env: CANARY", ""),
    ];
    (scene, entries)
}

/// The binary with the canaries that belong into the environment.
fn with_environment(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = command(&scene.folder, arguments);
    let endpoint = scene.sim.identity_endpoint();
    command.env("CANARY", VARIABLE).env("IDENTITY_ENDPOINT", endpoint);
    command.env("IDENTITY_HEADER", scene.sim.identity_header());
    command
}

const DEBUG: &str = "--log.level=debug";

#[tokio::test]
async fn daemon_logs_serves_and_stores_no_secret() {
    let mut tasks = JoinSet::new();
    let (scene, entries) = planted(&mut tasks).await;
    configure(&scene, &entries);
    let mut texts = Vec::new();

    let mut running = Running::start(with_environment(&scene, &["run", LOOPBACK, DEBUG])).await;
    for _ in &entries {
        running.line_with("poll finished").await;
    }
    for path in ["/", "/?q=secret", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
        texts.push((path.to_owned(), running.get(path).await.1.into_bytes()));
    }
    let said = running.stop("TERM").await;
    texts.push(("the log".to_owned(), said.stderr.into_bytes()));
    texts.push(("standard output".to_owned(), said.stdout.into_bytes()));
    for file in std::fs::read_dir(scene.folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        texts.push((path.display().to_string(), std::fs::read(path).unwrap()));
    }
    let json = ["run", LOOPBACK, DEBUG, "--log.format=json"];
    let mut running = Running::start_quiet(with_environment(&scene, &json));
    running.line_with("poll finished").await;
    texts.push(("the log as JSON".to_owned(), running.stop("TERM").await.stderr.into_bytes()));
    for arguments in [&["once", DEBUG][..], &["check", DEBUG], &["check-config"]] {
        let said = finish(with_environment(&scene, arguments)).await;
        texts.push((arguments.join(" "), format!("{}{}", said.stdout, said.stderr).into_bytes()));
    }

    let canaries = Canaries::of(&scene);
    for kind in ["access token", "assertion", "key", "link"] {
        assert!(canaries.0.iter().any(|(what, _)| *what == kind), "{kind} was not used");
    }
    let requests = |endpoint| scene.sim.control().requests(endpoint);
    assert!(requests(Endpoint::ExportFile) > 0 && requests(Endpoint::MissingKbs) > 0);
    for (place, bytes) in &texts {
        canaries.assert_absent(place, bytes);
    }
}

/// Something that goes wrong, as what is done to the scene.
type Trouble = fn(&Scene);

fn always(scene: &Scene, endpoint: Endpoint, fault: Fault) {
    scene.sim.control().inject(endpoint, fault, Times::Always);
}

#[tokio::test]
async fn error_output_holds_no_secret() {
    let troubles: [(&str, Trouble); 14] = [
        ("refused secret", |scene| scene.sim.control().set_client_secret(Some("another"))),
        ("expired secret", |scene| scene.sim.control().set_client_secret(None)),
        ("refused proofs", |scene| {
            let other =
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
            let other = rcgen::CertificateParams::default().self_signed(&other).unwrap();
            scene.sim.control().register_certificate(&other.pem()).unwrap();
            scene.sim.control().register_federated_token("another");
        }),
        ("untrusted certificate", |scene| {
            let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
            scene.write("ca.pem", &other.cert.pem());
        }),
        ("broken key", |scene| {
            let pem = std::fs::read_to_string(scene.folder.path().join("client.pem")).unwrap();
            scene.write("client.pem", &pem.replace("-----END PRIVATE", "-----END"));
        }),
        ("redirect of the token", |scene| {
            always(scene, Endpoint::Token, Fault::Redirect("https://login.example/".to_owned()));
        }),
        ("redirect of the API", |scene| {
            always(scene, Endpoint::Machines, Fault::Redirect("https://portal.example/".to_owned()));
        }),
        ("refused token", |scene| always(scene, Endpoint::Machines, Fault::Unauthorized)),
        ("missing role", |scene| scene.sim.control().set_roles(&["Machine.Read.All"])),
        ("link without TLS", |scene| bad_link(scene, "http://files.invalid/1?sig=")),
        ("link to nowhere", |scene| bad_link(scene, "https://files.invalid/1?sig=")),
        ("link with a user", |scene| bad_link(scene, "https://user@files.invalid/1?sig=")),
        ("refused link", |scene| always(scene, Endpoint::ExportFile, Fault::Status(403))),
        ("broken file", |scene| always(scene, Endpoint::ExportFile, Fault::NotJson)),
    ];
    for (trouble, cause) in troubles {
        let mut tasks = JoinSet::new();
        let (scene, entries) = planted(&mut tasks).await;
        cause(&scene);
        configure(&scene, &entries);
        let mut commands = JoinSet::new();
        for arguments in [&["once", DEBUG, "--log.format=json"][..], &["check"]] {
            commands.spawn(finish(with_environment(&scene, arguments)));
        }
        let said = commands.join_all().await;
        let canaries = Canaries::of(&scene);
        for said in said {
            assert_eq!(said.code, Some(1), "{trouble}: {}{}", said.stdout, said.stderr);
            canaries.assert_absent(trouble, format!("{}{}", said.stdout, said.stderr).as_bytes());
        }
    }
}

fn bad_link(scene: &Scene, start: &str) {
    let link = format!("{start}{}", scene.sim.link_secret());
    always(scene, Endpoint::Export, Fault::ForeignNextLink(link));
}

#[tokio::test]
async fn misplaced_secrets_are_not_repeated_in_errors() {
    let mut tasks = JoinSet::new();
    let (scene, _) = planted(&mut tasks).await;
    let (secret, good) = (scene.sim.client_secret(), "client_secret_file: secret.txt");
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
        let text = entry(&scene, "contoso", good, "");
        assert!(text.contains(old));
        configure(&scene, &[text.replace(old, new)]);
        for arguments in [["check-config"], ["check"], ["run"], ["once"]] {
            let said = finish(with_environment(&scene, &arguments)).await;
            assert_eq!(said.code, Some(64), "{new}: {}", said.stderr);
            let said = format!("{}{}", said.stdout, said.stderr);
            Canaries::of(&scene).assert_absent(new.split(':').next().unwrap(), said.as_bytes());
        }
    }
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let mut tasks = JoinSet::new();
    let (scene, entries) = planted(&mut tasks).await;
    let text = format!("tenants:\n{}", entries.concat());
    let loaded = config::parse(Path::new("mde_exporter.yml"), text.as_bytes()).unwrap();
    let mut printed = vec![format!("{loaded:?} {loaded:#?}")];

    let federated = Auth::WorkloadIdentity { token_file: Some(scene.folder.path().join("federated")) };
    let certificate = Auth::ClientCertificate(scene.folder.path().join("client.pem"));
    let secret = scene.write("secret.txt", scene.sim.client_secret());
    for auth in [federated, certificate, Auth::ClientSecret(SecretSource::File(secret))] {
        let tenant = scene.tenant_with(auth);
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
        always(&scene, Endpoint::ExportFile, Fault::Status(403));
        let error = client.reach_files(&export).await.unwrap_err();
        printed.push(format!("{error:?} {error}"));
        tokens.reject(&token);
        always(&scene, Endpoint::Token, Fault::Aadsts(53_003));
        let error = tokens.token().await.unwrap_err();
        printed.push(format!("{error:?} {error}"));
        scene.sim.control().clear();
    }
    let canaries = Canaries::of(&scene);
    for text in printed {
        canaries.assert_absent("debug output", text.as_bytes());
    }
}

#[tokio::test]
async fn canaries_are_found_in_every_encoding() {
    let mut tasks = JoinSet::new();
    let (scene, entries) = planted(&mut tasks).await;
    configure(&scene, &entries);
    finish(with_environment(&scene, &["once"])).await;
    let canaries = Canaries::of(&scene);
    let token =
        canaries.0.iter().find(|(what, secret)| *what == "access token" && secret.len() > 100).unwrap();
    for (what, text) in [
        ("client secret", format!("a=b secret=\"{}\"", scene.sim.client_secret())),
        ("link", format!("GET /x?sig={} HTTP", scene.sim.link_secret())),
        ("access token", format!("Bearer {}", token.1)),
        ("password of the proxy", format!("http://user:{PROXY_PASSWORD}@proxy")),
    ] {
        let mut bytes = vec![0, 0xff];
        bytes.extend(text.as_bytes());
        assert!(canaries.found_in(&bytes).contains(&what), "{what}");
    }
    assert!(canaries.found_in(b"nothing").is_empty());
}
