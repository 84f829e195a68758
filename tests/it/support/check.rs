//! Cases of `check`: configuration, faults, and golden output.

use std::future::Future;
use std::pin::Pin;

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use mde_simulator::{Endpoint, Fault, Options, Realism, Simulator, Times};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::binary::{command, entry, finish};
use super::certificates::client_certificate;
use super::golden::assert_golden;
use super::tenant::TestTenant;

pub(crate) const SECRET: &str = "client_secret_file: secret.txt";

/// A simulator whose fleet is the same on every day.
pub(crate) async fn test_tenant() -> TestTenant {
    test_tenant_of(5, SignedDuration::ZERO).await
}

/// A simulator of this number of machines, whose clock is ahead by `ahead`.
pub(crate) async fn test_tenant_of(machines: usize, ahead: SignedDuration) -> TestTenant {
    let options = Options {
        machines,
        realism: Realism::Plain,
        quota_per_minute: None,
        quota_per_hour: None,
        start: date(2026, 3, 20),
        ..Options::new(move || Timestamp::now() + ahead)
    };
    let sim = Simulator::start(options).await.unwrap();
    // The output would change on the day on which the servicing of a version ends.
    for id in sim.control().machine_ids() {
        let mut record = sim.control().machine(&id).unwrap();
        record["osBuild"] = Value::Null;
        sim.control().add_machine(record);
    }
    let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
    test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
    test_tenant.write("secret.txt", test_tenant.sim.client_secret());
    test_tenant
}

/// The valid configuration, with every `old` in it replaced by its `new`.
pub(crate) fn config(test_tenant: &TestTenant, changes: &[(&str, &str)]) -> String {
    let mut text = format!("tenants:\n{}", entry(test_tenant, "contoso", SECRET, ""));
    for (old, new) in changes {
        assert!(text.contains(old), "{old} is not in\n{text}");
        text = text.replace(old, new);
    }
    text
}

pub(crate) const EXPORT: (&str, &str) = ("    machines:", "    source: export\n    machines:");

/// A timeout that is short for faults that hang, and long enough for other replies.
pub(crate) const SHORT: (&str, &str) = ("ca_file: ca.pem", "ca_file: ca.pem, timeout: 5s");

/// Runs `check` with a configuration and returns the exit code, stdout and stderr as text.
pub(crate) async fn check(test_tenant: &TestTenant, config: &str) -> String {
    check_with(test_tenant, config, &[], &[]).await
}

pub(crate) async fn check_with(
    test_tenant: &TestTenant,
    config: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> String {
    test_tenant.write("mde_exporter.yml", config);
    let mut check = command(&test_tenant.folder, &[&["check"], arguments].concat());
    check.envs(variables.iter().copied());
    let output = finish(check).await;
    let api = test_tenant.sim.api_url();
    let text = format!("exit code {}\n{}{}", output.code.unwrap(), output.stdout, output.stderr);
    assert!(
        !text.contains(test_tenant.sim.client_secret()) && !text.contains(test_tenant.sim.link_secret()),
        "{text}"
    );
    let text = text.replace(api.trim_start_matches("https://"), "127.0.0.1:4443");
    // The error of a resolver for a name that cannot exist depends on the network.
    let text = text.replace("Temporary failure in name resolution", "Name or service not known");
    text.split_inclusive('\n').map(without_machine_id).map(without_correlation_id).collect()
}

/// Replaces correlation ids: they depend on the order in which tenants send their requests.
fn without_correlation_id(line: String) -> String {
    let Some((start, rest)) = line.split_once("correlation id ") else { return line };
    let end = rest.find(|sign: char| !sign.is_ascii_hexdigit() && sign != '-').unwrap_or(rest.len());
    let id = if end == 36 { "ID" } else { &rest[..end] };
    format!("{start}correlation id {id}{}", &rest[end..])
}

/// Replaces machine ids: the machine that was seen last changes from hour to hour.
fn without_machine_id(line: &str) -> String {
    let machine = |word: &str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(id) = line.split(' ').find(|word| machine(word)) else { return line.to_owned() };
    let line = line.replace(id, "ID");
    match line.split_once(" misses ") {
        Some((start, _)) => format!("{start} misses some updates\n"),
        None => line,
    }
}

/// The number of concurrent cases: enough for cases that wait, and few enough to avoid timeouts.
const CONCURRENT_CASES: usize = 8;

pub(crate) type CaseOutput = Pin<Box<dyn Future<Output = String> + Send>>;

/// Runs all cases and compares their output with the golden text.
pub(crate) async fn golden(name: &str, cases: Vec<(String, CaseOutput)>) {
    let mut running = JoinSet::new();
    let mut finished = Vec::new();
    for (place, (title, output)) in cases.into_iter().enumerate() {
        if running.len() == CONCURRENT_CASES {
            finished.extend(running.join_next().await.map(Result::unwrap));
        }
        running.spawn(async move { (place, format!("=== {title}\n{}\n", output.await)) });
    }
    finished.extend(running.join_all().await);
    finished.sort();
    let text: String = finished.into_iter().map(|(_, text)| text).collect();
    assert_golden(&format!("check_{name}"), text);
}

/// A case that changes the configuration and prepares the test tenant.
pub(crate) fn case(
    title: &str,
    changes: &[(&'static str, &'static str)],
    prepare: fn(&TestTenant),
) -> (String, CaseOutput) {
    let changes = changes.to_vec();
    let output = async move {
        let test_tenant = test_tenant().await;
        prepare(&test_tenant);
        check(&test_tenant, &config(&test_tenant, &changes)).await
    };
    (title.to_owned(), Box::pin(output))
}

/// A case for each fault at an endpoint.
pub(crate) fn faults(
    endpoint: Endpoint,
    changes: &[(&'static str, &'static str)],
    faults: Vec<Fault>,
) -> impl Iterator<Item = (String, CaseOutput)> {
    let changes = changes.to_vec();
    faults.into_iter().map(move |fault| {
        let changes = changes.clone();
        let title = match &fault {
            Fault::Body(bytes) => format!("{endpoint:?}: {}", String::from_utf8_lossy(bytes)),
            fault => format!("{endpoint:?}: {fault:?}"),
        };
        let output = async move {
            let test_tenant = test_tenant().await;
            test_tenant.sim.control().inject(endpoint, fault, Times::Always);
            check(&test_tenant, &config(&test_tenant, &changes)).await
        };
        (title, Box::pin(output) as CaseOutput)
    })
}

/// Writes a new client certificate and its key, and returns the certificate.
pub(crate) fn with_certificate(test_tenant: &TestTenant) -> String {
    let (certificate, key) = client_certificate();
    test_tenant.write("client.pem", &format!("{certificate}{key}"));
    certificate
}

pub(crate) const CERTIFICATE: (&str, &str) = (SECRET, "client_certificate_file: client.pem");
pub(crate) const FEDERATED: (&str, &str) = (SECRET, "workload_identity: { token_file: federated }");
pub(crate) const MANAGED: (&str, &str) = (SECRET, "managed_identity: {}");
pub(crate) const NOTHING: fn(&TestTenant) = |_| {};
