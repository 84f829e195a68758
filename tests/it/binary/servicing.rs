//! The real binary with machines past end of servicing.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use mde_exporter::facts::servicing::{ServicedProduct, Servicing, ServicingEnd, ServicingRelease};
use mde_exporter::facts::{FactsFile, disk};
use mde_simulator::{Endpoint, Fault, Times, machine_record};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, run, test_tenant};
use crate::support::exposition::{Exposition, parse};
use crate::support::report::csv_rows;
use crate::support::tenant::TestTenant;

/// Builds that no real version has.
const ENDED: u32 = 40_001;
const IN_SERVICE: u32 = 40_002;

fn today() -> Date {
    Offset::UTC.to_datetime(Timestamp::now()).date()
}

/// A simulator with a machine of each build, none of which misses an update.
async fn test_tenant_with_builds() -> TestTenant {
    let test_tenant = test_tenant(0).await;
    for build in [ENDED, IN_SERVICE] {
        let id = format!("a{build}");
        let mut record = machine_record(&id, &format!("{id}.example"), Timestamp::now());
        record["osPlatform"] = json!("Windows11");
        record["osBuild"] = json!(build);
        test_tenant.sim.control().add_machine(record);
        test_tenant.sim.control().set_missing(&id, Vec::new());
    }
    test_tenant
}

fn configure(test_tenant: &TestTenant, rest: &str) {
    let tenant = entry(test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let text = format!("tenants:\n{tenant}poll: {{ interval: 1h }}\nfacts: {{ update: off }}\n{rest}");
    test_tenant.write("mde_exporter.yml", &text);
}

/// Writes a facts file with the last days of the two builds.
fn write_facts(test_tenant: &TestTenant, days: [(u32, Date); 2]) {
    let release = |(build, last_day): (u32, Date)| ServicingRelease {
        name: format!("11-{build}").into(),
        build: Some(build),
        end: Some(ServicingEnd::On(last_day)),
        ..ServicingRelease::default()
    };
    let now = Timestamp::now();
    let mut file = FactsFile { made_at: now, ..FactsFile::default() };
    let servicing = Servicing { modified: Some(now), releases: days.map(release).into() };
    file.put_servicing(ServicedProduct::Windows, servicing, now).unwrap();
    disk::save(&test_tenant.folder.path().join("data/facts.json.gz"), &file).unwrap();
}

/// The numbers of machines that are compliant, overdue, accepted, and past end of servicing.
fn counts(scrape: &Exposition) -> [f64; 4] {
    let states = scrape.sum_by("mde_policy_machines", "state");
    let servicing = scrape.sum_by("mde_servicing_machines", "servicing");
    let [overdue, accepted] = ["overdue", "accepted"].map(|state| states[state]);
    [scrape.sum("mde_compliant_machines"), overdue, accepted, servicing["ended"]]
}

#[tokio::test]
async fn restored_machine_that_ended_yesterday_is_overdue() {
    let test_tenant = test_tenant_with_builds().await;
    let control = test_tenant.sim.control();
    let [yesterday, today, tomorrow] = [today().yesterday().unwrap(), today(), today().tomorrow().unwrap()];
    // The state is from before the end.
    write_facts(&test_tenant, [(ENDED, tomorrow), (IN_SERVICE, tomorrow)]);
    configure(&test_tenant, "");
    let polled = run(&test_tenant.folder, &["once"]).await;
    assert_eq!(counts(&parse(&polled.stdout).unwrap()), [2.0, 0.0, 0.0, 0.0], "{}", polled.stderr);

    write_facts(&test_tenant, [(ENDED, yesterday), (IN_SERVICE, tomorrow)]);
    for endpoint in [Endpoint::Token, Endpoint::Machines, Endpoint::MissingKbs] {
        control.inject(endpoint, Fault::Status(503), Times::Always);
    }
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle"];
    let running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    let restored = running.scrape().await;
    assert_eq!(counts(&restored), [1.0, 1.0, 0.0, 1.0]);
    let ends = restored.sum_by("mde_servicing_end_timestamp_seconds", "edition");
    let midnight = Offset::UTC.to_timestamp(today.at(0, 0, 0, 0)).unwrap().as_second() as f64;
    // Both builds have one version in Defender, so the earlier end counts.
    assert!(ends.len() == 2 && ends.values().all(|end| *end == midnight), "{ends:?}");

    let exception = format!(
        "exceptions:\n  - {{ name: lab, reason: a change, until: {tomorrow}, machines: {{ names: ['a{ENDED}*'] }} }}\n"
    );
    configure(&test_tenant, &exception);
    let (status, body) = running.post("/-/reload").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let accepted = running.scrape().await;
    assert_eq!(counts(&accepted), [1.0, 0.0, 1.0, 1.0]);
    let covered = accepted.value("mde_exception_servicing_machines", &[("exception", "lab")]);
    assert_eq!(covered, Some(1.0));
    running.stop("TERM").await;

    let report = run(&test_tenant.folder, &["report"]).await;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let mut rows = csv_rows(&report.stdout);
    rows.retain(|row| row["title"] == "servicing of Windows11 22H2 ended");
    assert_eq!(rows.len(), 1, "{}", report.stdout);
    let expected = format!("{today}T00:00:00Z");
    for (column, expected) in [
        ("machine_id", format!("a{ENDED}")),
        ("late_since", expected.clone()),
        ("deadline", expected),
        ("kb", String::new()),
        ("first_seen", String::new()),
        ("rule", String::new()),
        ("exception", "lab".to_owned()),
    ] {
        assert_eq!(rows[0][column], expected, "{column}: {}", report.stdout);
    }
}
