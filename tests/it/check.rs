//! `check` as a person sees it: the whole output for everything that can go wrong.
//!
//! Each group of cases is one golden file, so that a file reads like the chapter of a manual. What is
//! different on each run (ports) and on each system (words of the resolver) is filtered.

use std::future::Future;
use std::pin::Pin;

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use mde_simulator::{Endpoint, Fault, Options, QuotaPeriod, Realism, Simulator, Times};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::binary::{LOOPBACK, Running, command, entry, finish};
use crate::tenant::Scene;

const SECRET: &str = "client_secret_file: secret.txt";

/// A simulator whose fleet is the same on each day.
async fn scene() -> Scene {
    scene_of(5, SignedDuration::ZERO).await
}

/// One of so many machines, whose clock is so far ahead.
async fn scene_of(machines: usize, ahead: SignedDuration) -> Scene {
    let options = Options {
        machines,
        realism: Realism::Plain,
        quota_per_minute: None,
        quota_per_hour: None,
        start: date(2026, 3, 20),
        ..Options::new(move || Timestamp::now() + ahead)
    };
    let sim = Simulator::start(options).await.unwrap();
    let scene = Scene { sim, folder: TempDir::new().unwrap() };
    scene.write("ca.pem", scene.sim.ca_pem());
    scene.write("secret.txt", scene.sim.client_secret());
    scene
}

/// The configuration that works, with every `old` in it replaced by its `new`.
fn config(scene: &Scene, changes: &[(&str, &str)]) -> String {
    let mut text = format!("tenants:\n{}", entry(scene, "contoso", SECRET, ""));
    for (old, new) in changes {
        assert!(text.contains(old), "{old} is not in\n{text}");
        text = text.replace(old, new);
    }
    text
}

pub(crate) const EXPORT: (&str, &str) = ("    machines:", "    source: export\n    machines:");

/// Short, so that what hangs costs no more than that; long enough for what does not.
const SHORT: (&str, &str) = ("ca_file: ca.pem", "ca_file: ca.pem, timeout: 5s");

/// What `check` says about a configuration: exit code, stdout, and stderr when there is any.
async fn check(scene: &Scene, config: &str) -> String {
    check_with(scene, config, &[], &[]).await
}

async fn check_with(scene: &Scene, config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    scene.write("mde_exporter.yml", config);
    let mut check = command(&scene.folder, &[&["check"], arguments].concat());
    check.envs(variables.iter().copied());
    let said = finish(check).await;
    let api = scene.sim.api_url();
    let text = format!("exit code {}\n{}{}", said.code.unwrap(), said.stdout, said.stderr);
    assert!(!text.contains(scene.sim.client_secret()) && !text.contains(scene.sim.link_secret()), "{text}");
    let text = text.replace(api.trim_start_matches("https://"), "127.0.0.1:4443");
    // What a resolver says of a name that cannot exist depends on whether it has a network.
    let text = text.replace("Temporary failure in name resolution", "Name or service not known");
    text.split_inclusive('\n').map(any_machine).map(any_request).collect()
}

/// Of tenants that ask at the same time, either is first, and ids go by the order.
fn any_request(line: String) -> String {
    let Some((start, rest)) = line.split_once("correlation id ") else { return line };
    let end = rest.find(|sign: char| !sign.is_ascii_hexdigit() && sign != '-').unwrap_or(rest.len());
    let id = if end == 36 { "ID" } else { &rest[..end] };
    format!("{start}correlation id {id}{}", &rest[end..])
}

/// Which machine was seen last changes from hour to hour.
fn any_machine(line: &str) -> String {
    let machine = |word: &str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(id) = line.split(' ').find(|word| machine(word)) else { return line.to_owned() };
    let line = line.replace(id, "ID");
    match line.split_once(" misses ") {
        Some((start, _)) => format!("{start} misses some updates\n"),
        None => line,
    }
}

/// Cases at once: enough for those that wait, and few enough for none to wait for the others.
const AT_ONCE: usize = 8;

type Output = Pin<Box<dyn Future<Output = String> + Send>>;

/// Runs all cases and holds what they said against the golden file.
async fn golden(name: &str, cases: Vec<(String, Output)>) {
    let mut running = JoinSet::new();
    let mut said = Vec::new();
    for (place, (title, output)) in cases.into_iter().enumerate() {
        if running.len() == AT_ONCE {
            said.extend(running.join_next().await.map(Result::unwrap));
        }
        running.spawn(async move { (place, format!("=== {title}\n{}\n", output.await)) });
    }
    said.extend(running.join_all().await);
    said.sort();
    let said: String = said.into_iter().map(|(_, text)| text).collect();
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(format!("check_{name}"), said));
}

/// A case that changes the configuration, and prepares the scene.
fn case(title: &str, changes: &[(&'static str, &'static str)], prepare: fn(&Scene)) -> (String, Output) {
    let changes = changes.to_vec();
    let output = async move {
        let scene = scene().await;
        prepare(&scene);
        check(&scene, &config(&scene, &changes)).await
    };
    (title.to_owned(), Box::pin(output))
}

/// A case for each fault at an endpoint.
fn faults(
    endpoint: Endpoint,
    changes: &[(&'static str, &'static str)],
    faults: Vec<Fault>,
) -> impl Iterator<Item = (String, Output)> {
    let changes = changes.to_vec();
    faults.into_iter().map(move |fault| {
        let changes = changes.clone();
        let title = match &fault {
            Fault::Body(bytes) => format!("{endpoint:?}: {}", String::from_utf8_lossy(bytes)),
            fault => format!("{endpoint:?}: {fault:?}"),
        };
        let output = async move {
            let scene = scene().await;
            scene.sim.control().inject(endpoint, fault, Times::Always);
            check(&scene, &config(&scene, &changes)).await
        };
        (title, Box::pin(output) as Output)
    })
}

fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub(crate) fn with_certificate(scene: &Scene) -> String {
    let (certificate, key) = certificate();
    scene.write("client.pem", &format!("{certificate}{key}"));
    certificate
}

const CERTIFICATE: (&str, &str) = (SECRET, "client_certificate_file: client.pem");
const FEDERATED: (&str, &str) = (SECRET, "workload_identity: { token_file: federated }");
const MANAGED: (&str, &str) = (SECRET, "managed_identity: {}");
const NOTHING: fn(&Scene) = |_| {};

#[tokio::test]
async fn what_works_is_said_step_by_step() {
    let mut cases = vec![
        case("machine by machine", &[], NOTHING),
        case("the export", &[EXPORT], NOTHING),
        case(
            "every selector",
            &[("{ all: true }", "{ all: true, tags: [production], filter: \"osPlatform eq 'Windows11'\" }")],
            NOTHING,
        ),
        case("a certificate", &[CERTIFICATE], |scene| {
            scene.sim.control().register_certificate(&with_certificate(scene)).unwrap();
        }),
        case("a federated token", &[FEDERATED], |scene| {
            scene.write("federated", "eyJ.from.elsewhere");
            scene.sim.control().register_federated_token("eyJ.from.elsewhere");
        }),
        case("roles that allow more than needed", &[], |scene| {
            scene.sim.control().set_roles(&["Machine.ReadWrite.All", "Software.Read.All", "Alert.Read.All"]);
        }),
        case("an unusual value in the configuration", &[("    quota", "    http: {}\n    quota")], NOTHING),
    ];
    cases.pop();
    let managed = async {
        let scene = scene().await;
        let (endpoint, header) = (scene.sim.identity_endpoint(), scene.sim.identity_header());
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)];
        check_with(&scene, &config(&scene, &[MANAGED]), &[], &variables).await
    };
    cases.push(("a managed identity".to_owned(), Box::pin(managed)));
    golden("fine", cases).await;
}

#[tokio::test]
async fn credentials_that_are_refused_say_what_to_do() {
    let mut cases = vec![
        case("wrong client secret", &[], |scene| drop(scene.write("secret.txt", "not-the-secret"))),
        case("expired client secret", &[], |scene| scene.sim.control().set_client_secret(None)),
        case("no file with the secret", &[("secret.txt", "gone.txt")], NOTHING),
        case("empty file with the secret", &[], |scene| drop(scene.write("secret.txt", "\n"))),
        case("variable that is not set", &[(SECRET, "client_secret_env: MDE_SECRET")], NOTHING),
        case("unknown client", &[("client_id: c", "client_id: d")], NOTHING),
        case("unknown tenant", &[("tenant_id: 7", "tenant_id: 8")], NOTHING),
        case("certificate that is not registered", &[CERTIFICATE], |scene| {
            with_certificate(scene);
            scene.sim.control().register_certificate(&certificate().0).unwrap();
        }),
        case("certificate without a key", &[CERTIFICATE], |scene| {
            scene.write("client.pem", scene.sim.ca_pem());
        }),
        case("federated token that is not registered", &[FEDERATED], |scene| {
            scene.write("federated", "eyJ.from.elsewhere");
        }),
        case("no file with the federated token", &[(SECRET, "workload_identity: {}")], NOTHING),
        case("scope that is none", &[("    api_url", "    scope: nonsense/.default\n    api_url")], NOTHING),
    ];
    let nowhere = async {
        let scene = scene().await;
        let variables = [("IDENTITY_ENDPOINT", "https://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "none")];
        check_with(&scene, &config(&scene, &[MANAGED]), &[], &variables).await
    };
    cases.push(("managed identity where there is none".to_owned(), Box::pin(nowhere)));
    golden("credentials", cases).await;
}

#[tokio::test]
async fn a_certificate_on_a_machine_with_a_wrong_clock_says_so() {
    let output = async {
        let scene = scene_of(5, SignedDuration::from_mins(20)).await;
        scene.sim.control().register_certificate(&with_certificate(&scene)).unwrap();
        check(&scene, &config(&scene, &[CERTIFICATE])).await
    };
    let mut cases: Vec<(String, Output)> = vec![("the assertion has expired".to_owned(), Box::pin(output))];
    for (title, seconds) in [("far behind", 1_200), ("far ahead", -7_500), ("a little ahead", -60)] {
        let output = async move {
            let scene = scene_of(5, SignedDuration::from_secs(seconds)).await;
            check(&scene, &config(&scene, &[])).await
        };
        cases.push((format!("a clock {title}"), Box::pin(output)));
    }
    golden("clock", cases).await;
}

#[tokio::test]
async fn trouble_at_entra_is_told_apart() {
    let passing = vec![
        Fault::Aadsts(53_003),
        Fault::Aadsts(900_382),
        Fault::Aadsts(7_000_112),
        Fault::Aadsts(650_052),
        Fault::Aadsts(12_345),
        Fault::Status(503),
        Fault::Throttle { retry_after: Some("17".to_owned()), window: QuotaPeriod::Minute },
        Fault::HtmlError(502),
        Fault::NotJson,
        Fault::WrongShape,
        Fault::HugeBody,
        Fault::Truncated,
        Fault::Reset,
        Fault::Redirect("https://login.example/".to_owned()),
        Fault::Body(br#"{"token_type":"Bearer","expires_in":3599,"access_token":"opaque"}"#.to_vec()),
    ];
    golden("entra", faults(Endpoint::Token, &[], passing).collect()).await;
}

#[tokio::test]
async fn a_role_that_is_missing_is_named_and_where_to_grant_it() {
    let mut cases = vec![
        case("no consent", &[], |scene| scene.sim.control().set_roles(&[])),
        case("no role for the source", &[], |scene| scene.sim.control().set_roles(&["Machine.Read.All"])),
        case("no role for the export", &[EXPORT], |scene| {
            scene.sim.control().set_roles(&["Machine.Read.All", "Software.Read.All"]);
        }),
        case("no role for the list", &[], |scene| scene.sim.control().set_roles(&["Software.Read.All"])),
        case(
            "token of another API",
            &[("    api_url", "    scope: https://api.security.microsoft.com/.default\n    api_url")],
            NOTHING,
        ),
    ];
    for (title, roles) in
        [("ids need no list", &["Software.Read.All"][..]), ("ids need the role of the source", &[])]
    {
        let output = async move {
            let scene = scene().await;
            scene.sim.control().set_roles(roles);
            let ids = format!("{{ ids: [{}] }}", scene.sim.control().machine_ids()[0]);
            check(&scene, &config(&scene, &[("{ all: true }", &ids)])).await
        };
        cases.push((title.to_owned(), Box::pin(output)));
    }
    let managed = async {
        let scene = scene().await;
        scene.sim.control().set_roles(&["Machine.Read.All"]);
        let (endpoint, header) = (scene.sim.identity_endpoint(), scene.sim.identity_header());
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)];
        check_with(&scene, &config(&scene, &[MANAGED]), &[], &variables).await
    };
    cases.push(("no role of a managed identity".to_owned(), Box::pin(managed)));
    golden("roles", cases).await;
}

/// A proxy that answers every CONNECT so, and then passes on to `target` when there is one.
pub(crate) async fn proxy(tasks: &mut JoinSet<()>, answer: &'static str, target: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let target = target.clone();
            open.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
                if let Some(target) = target {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                }
            });
        }
    });
    address
}

/// A case with a proxy in between, under a name of the authority that no resolver has to know.
fn proxied(title: &str, answer: &'static str, passes: bool) -> (String, Output) {
    let output = async move {
        let scene = scene().await;
        let mut tasks = JoinSet::new();
        let target = passes.then(|| scene.sim.api_url().replace("https://", ""));
        let address = proxy(&mut tasks, answer, target).await;
        let by_proxy = format!("ca_file: ca.pem, proxy_url: \"http://user:hunter2@{address}\"");
        let authority = format!("authority_url: {}", scene.sim.api_url());
        let changes =
            [("ca_file: ca.pem", by_proxy.as_str()), (&authority, "authority_url: https://login.example")];
        let said = check(&scene, &config(&scene, &changes)).await;
        assert!(!said.contains("hunter2"), "{said}");
        said.replace(&address, "127.0.0.1:3128")
    };
    (title.to_owned(), Box::pin(output))
}

#[tokio::test]
async fn trouble_on_the_way_is_told_apart() {
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
                let scene = scene().await;
                let old = format!("{key}: {}", scene.sim.api_url());
                check(&scene, &config(&scene, &[(&old, &format!("{key}: {url}"))])).await
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
        let scene = scene().await;
        check_with(&scene, &config(&scene, &[]), &[], &[("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")])
            .await
    };
    cases.push(("proxy of the environment that is not there".to_owned(), Box::pin(environment)));
    let plain = async {
        let scene = scene().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, axum::Router::new()).await.unwrap() });
        let old = format!("authority_url: {}", scene.sim.api_url());
        let said =
            check(&scene, &config(&scene, &[(&old, &format!("authority_url: https://{address}"))])).await;
        said.replace(&address.to_string(), "127.0.0.1:8080")
    };
    cases.push(("port of plain http".to_owned(), Box::pin(plain)));
    golden("way", cases).await;
}

#[tokio::test]
async fn trouble_with_the_api_is_told_apart() {
    let role = || Fault::Forbidden("Machine.Read.All".to_owned());
    let listed = vec![
        role(),
        Fault::Unauthorized,
        Fault::Status(403),
        Fault::Status(400),
        Fault::Status(500),
        Fault::HtmlError(503),
        Fault::Throttle { retry_after: Some("17".to_owned()), window: QuotaPeriod::Minute },
        Fault::Throttle { retry_after: Some("1800".to_owned()), window: QuotaPeriod::Hour },
        Fault::NotFound,
        Fault::Truncated,
        Fault::NotJson,
        Fault::WrongShape,
        Fault::Reset,
        Fault::EndlessPaging,
        Fault::EndlessEmptyPages,
        Fault::RepeatedLink,
        Fault::ForeignNextLink("https://api-gov.securitycenter.microsoft.us/api/machines".to_owned()),
        Fault::HugeBody,
        Fault::CompressedBomb,
        Fault::Redirect("https://portal.example/".to_owned()),
        Fault::Body(br#"{"value":[{"id":7},{"no":"id"}]}"#.to_vec()),
    ];
    let answered = vec![
        Fault::Forbidden("Software.Read.All".to_owned()),
        Fault::Status(403),
        Fault::NotFound,
        Fault::Status(500),
    ];
    let cases = faults(Endpoint::Machines, &[], listed)
        .chain(faults(Endpoint::MissingKbs, &[], answered))
        .chain(faults(
            Endpoint::FindByTag,
            &[("{ all: true }", "{ tags: [pilot] }")],
            vec![role(), Fault::Status(500)],
        ));
    golden("api", cases.collect()).await;
}

#[tokio::test]
async fn trouble_with_the_export_is_told_apart() {
    let list = vec![
        Fault::Forbidden("Vulnerability.Read.All".to_owned()),
        Fault::Throttle { retry_after: Some("600".to_owned()), window: QuotaPeriod::Hour },
        Fault::WrongShape,
        Fault::Body(br#"{"exportFiles":[],"generatedTime":"2026-03-20T00:00:00Z"}"#.to_vec()),
        Fault::ForeignNextLink("http://files.example/1?sig=canary".to_owned()),
        Fault::ForeignNextLink("https://files.invalid/1?sig=canary".to_owned()),
    ];
    let file = vec![
        Fault::Status(403),
        Fault::NotFound,
        Fault::Throttle { retry_after: Some("30".to_owned()), window: QuotaPeriod::Minute },
        Fault::Reset,
        Fault::Redirect("https://portal.example/".to_owned()),
    ];
    let cases =
        faults(Endpoint::Export, &[EXPORT], list).chain(faults(Endpoint::ExportFile, &[EXPORT], file));
    golden("export", cases.collect()).await;
}

#[tokio::test]
async fn selectors_quota_and_cloud_are_looked_at() {
    let select = |text: &'static str| ("{ all: true }", text);
    let mut cases = vec![
        case("names that do not exist", &[select("{ names: [a, b, c, d, e, f, g], tags: [nope] }")], NOTHING),
        case("everything is excluded", &[select("{ all: true, exclude: { names: ['*'] } }")], NOTHING),
        case("filter that is not understood", &[select("{ filter: 'osPlatform = 7' }")], NOTHING),
        case("filter that finds nothing", &[select("{ filter: \"osPlatform eq 'Amiga'\" }")], NOTHING),
        case(
            "quota that is too small",
            &[(
                "{ per_minute: 60000, per_hour: 3600000 }\n",
                "{ per_minute: 10, per_hour: 10 }\npoll: { interval: 10m }\n",
            )],
            NOTHING,
        ),
        case(
            "host of another cloud",
            &[(
                "    api_url",
                "    cloud: gcc_high\n    scope: https://api.securitycenter.microsoft.com/.default\n    api_url",
            )],
            NOTHING,
        ),
    ];
    let empty = async {
        let scene = scene_of(0, SignedDuration::ZERO).await;
        check(&scene, &config(&scene, &[])).await
    };
    cases.push(("tenant without machines".to_owned(), Box::pin(empty)));
    golden("scope", cases).await;
}

#[tokio::test]
async fn one_tenant_does_not_stop_the_others_and_the_storage_is_tried() {
    let two = async {
        let scene = scene().await;
        scene.write("wrong.txt", "not-the-secret");
        let fabrikam = entry(&scene, "fabrikam", "client_secret_file: wrong.txt", "");
        let contoso = entry(&scene, "contoso", SECRET, "");
        check(&scene, &format!("tenants:\n{fabrikam}{contoso}")).await
    };
    let storage = async {
        let scene = scene().await;
        check_with(&scene, &config(&scene, &[]), &["--storage.path=secret.txt/data"], &[]).await
    };
    let cases: Vec<(String, Output)> =
        vec![("two tenants".to_owned(), Box::pin(two)), ("storage".to_owned(), Box::pin(storage))];
    golden("machine", cases).await;
}

#[tokio::test]
async fn what_never_answers_is_given_up() {
    let hanging = || vec![Fault::Hang, Fault::SlowDrip];
    let export = [EXPORT, SHORT];
    let cases = faults(Endpoint::Token, &[SHORT], hanging())
        .chain(faults(Endpoint::Machines, &[SHORT], hanging()))
        .chain(faults(Endpoint::MissingKbs, &[SHORT], hanging()))
        .chain(faults(Endpoint::Export, &export, vec![Fault::Hang]))
        .chain(faults(Endpoint::ExportFile, &export, vec![Fault::Hang]));
    golden("late", cases.collect()).await;
}

#[tokio::test]
async fn each_thing_is_asked_once_and_nothing_is_left_behind() {
    let scene = scene().await;
    let requests = |endpoint| scene.sim.control().requests(endpoint);
    check(&scene, &config(&scene, &[])).await;
    assert_eq!([Endpoint::Token, Endpoint::Machines, Endpoint::MissingKbs].map(requests), [1, 1, 1]);
    check(&scene, &config(&scene, &[EXPORT])).await;
    assert_eq!([Endpoint::Token, Endpoint::Machines, Endpoint::MissingKbs].map(requests), [2, 2, 1]);
    assert_eq!([Endpoint::Export, Endpoint::ExportFile].map(requests), [1, 1]);
    let mut files: Vec<_> =
        std::fs::read_dir(scene.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca.pem", "mde_exporter.yml", "secret.txt"]);
}

#[tokio::test]
async fn an_exporter_that_runs_on_the_same_state_is_not_disturbed() {
    let scene = scene().await;
    let config = config(&scene, &[]);
    scene.write("mde_exporter.yml", &config);
    let mut running = Running::start(command(&scene.folder, &["run", LOOPBACK])).await;
    running.line_with("poll finished").await;
    let said = check(&scene, &config).await;
    assert!(said.starts_with("exit code 0\n") && said.contains("`data` can be written"), "{said}");
    let stopped = running.stop("TERM").await;
    assert_eq!(stopped.code, Some(0));
    assert!(!stopped.stderr.contains("level=error"), "{}", stopped.stderr);
}
