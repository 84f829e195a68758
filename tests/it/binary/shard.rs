//! Shards: several exporters with one configuration, each of which polls tenants of its own.

use std::collections::BTreeSet;

use mde_simulator::Endpoint;
use reqwest::StatusCode;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, run, test_tenant};
use crate::support::exposition;
use crate::support::exposition::Exposition;
use crate::support::tenant::TestTenant;

/// The tenant id of fabrikam, which the simulator does not know. It is in shard 1/2.
const FABRIKAM_ID: &str = "77777777-2222-3333-4444-555555555555";

/// Contoso, the tenant of the simulator. It is in shard 2/2.
fn contoso(test_tenant: &TestTenant) -> String {
    entry(test_tenant, "contoso", "client_secret_file: secret.txt", "")
}

fn fabrikam(test_tenant: &TestTenant) -> String {
    let entry = entry(test_tenant, "fabrikam", "client_secret_file: secret.txt", "");
    entry.replace(test_tenant.sim.tenant_id(), FABRIKAM_ID)
}

/// Writes a configuration of these entries, followed by `rest`.
fn configure(test_tenant: &TestTenant, entries: &[String], rest: &str) {
    let text = format!("tenants:\n{}poll: {{ interval: 1h }}\n{rest}", entries.concat());
    test_tenant.write("mde_exporter.yml", &text);
}

async fn start(test_tenant: &TestTenant, shard: &str) -> RunningExporter {
    let storage = format!("--storage.path=data-{}", shard.replace('/', "-of-"));
    let shard = format!("--shard={shard}");
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle", &shard, &storage];
    RunningExporter::start(command(&test_tenant.folder, &arguments)).await
}

/// The values of the label `tenant` in all samples.
fn tenants(scrape: &Exposition) -> BTreeSet<&str> {
    let samples = scrape.families.iter().flat_map(|family| &family.samples);
    samples.map(|sample| sample.label("tenant")).filter(|tenant| !tenant.is_empty()).collect()
}

fn shard_info(scrape: &Exposition, shard: &str, shards: &str) -> Option<f64> {
    scrape.value("mde_exporter_shard_info", &[("shard", shard), ("shards", shards)])
}

#[tokio::test]
async fn shard_polls_and_shows_only_its_tenants() {
    let test_tenant = test_tenant(8).await;
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], "");
    let control = test_tenant.sim.control();

    let mut first = start(&test_tenant, "1/2").await;
    first.line_with("poll failed").await;
    let scrape = first.scrape().await;
    assert_eq!(tenants(&scrape), ["fabrikam"].into());
    assert_eq!(shard_info(&scrape, "1", "2"), Some(1.0));
    assert_eq!(control.requests(Endpoint::Machines), 0);
    let (status, ready) = first.get("/-/ready").await;
    assert_eq!((status, ready.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "tenants without data: 1\n"));

    // The other shard is ready, whatever happens to fabrikam.
    let mut second = start(&test_tenant, "2/2").await;
    second.line_with("poll finished").await;
    let scrape = second.scrape_of(8.0).await;
    assert_eq!(tenants(&scrape), ["contoso"].into());
    assert_eq!(shard_info(&scrape, "2", "2"), Some(1.0));
    assert_eq!(scrape.count("mde_exporter_shard_info"), 1.0);
    assert_eq!(second.get("/-/ready").await.0, StatusCode::OK);
    for path in ["/", "/status", "/machines", "/updates", "/machines.csv"] {
        let (status, body) = second.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(!body.contains("fabrikam"), "{path}: {body}");
    }
    for path in ["/machines", "/machines.csv", "/updates", "/"] {
        let (status, body) = second.get(&format!("{path}?tenant=fabrikam")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(body.contains("contoso"), "{path}: {body}");
    }
}

#[tokio::test]
async fn only_shard_has_every_tenant() {
    let test_tenant = test_tenant(3).await;
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], "");
    for arguments in [&["once", "--shard", "1/1"][..], &["once"]] {
        let output = run(&test_tenant.folder, arguments).await;
        assert_eq!(output.code, Some(1), "fabrikam fails");
        let printed = exposition::parse(&output.stdout).unwrap();
        assert_eq!(tenants(&printed), ["contoso", "fabrikam"].into());
        assert_eq!(shard_info(&printed, "1", "1"), Some(1.0));
    }
    let output = run(&test_tenant.folder, &["once", "--shard=2/2", "--storage.path=other"]).await;
    assert_eq!(output.code, Some(0), "fabrikam is in the other shard: {}", output.stderr);
    assert_eq!(tenants(&exposition::parse(&output.stdout).unwrap()), ["contoso"].into());
}

#[tokio::test]
async fn shard_without_tenants_is_ready_and_warns_once() {
    let test_tenant = test_tenant(4).await;
    configure(&test_tenant, &[fabrikam(&test_tenant)], "");
    let mut running = start(&test_tenant, "2/2").await;
    assert_eq!(running.get("/-/ready").await.0, StatusCode::OK);
    let scrape = running.scrape().await;
    assert_eq!(tenants(&scrape), BTreeSet::new());
    assert_eq!(shard_info(&scrape, "2", "2"), Some(1.0));
    for path in ["/", "/status", "/machines", "/updates", "/machines.json", "/updates.csv"] {
        let (status, body) = running.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
    }
    assert_eq!(running.get("/machines?tenant=fabrikam").await.0, StatusCode::BAD_REQUEST);

    // Tenants come and go with a reload, but only those of the shard.
    configure(&test_tenant, &[fabrikam(&test_tenant), contoso(&test_tenant)], "");
    let reloaded = running.post("/-/reload").await;
    assert_eq!(reloaded, (StatusCode::OK, "changed: tenants[contoso] added\n".to_owned()));
    running.line_with("poll finished").await;
    assert_eq!(tenants(&running.scrape_of(4.0).await), ["contoso"].into());
    configure(&test_tenant, &[contoso(&test_tenant)], "");
    let reloaded = running.post("/-/reload").await;
    assert_eq!(reloaded, (StatusCode::OK, "nothing changed\n".to_owned()), "fabrikam is polled elsewhere");
    configure(&test_tenant, &[fabrikam(&test_tenant)], "");
    assert_eq!(running.post("/-/reload").await.1, "changed: tenants[contoso] removed\n");
    assert_eq!(tenants(&running.scrape().await), BTreeSet::new());

    let output = running.stop("TERM").await;
    let warnings = output.stderr.matches("no tenant of the configuration is in the shard").count();
    assert_eq!(warnings, 2, "one at the start, one at the last reload: {}", output.stderr);
    assert!(output.stderr.contains("shard=2/2"), "{}", output.stderr);
}

#[tokio::test]
async fn sections_may_name_tenants_of_other_shards() {
    let test_tenant = test_tenant(4).await;
    let rest = "\
policies: [{ name: ml1, preset: essential-eight-ml1 }]
exceptions:
  - { name: lab, reason: a change, until: 2099-12-31, tenants: [fabrikam], kbs: ['5094041'] }
servicing:
  editions:
    - { edition: ltsc, tenants: [fabrikam], machines: { names: ['kiosk-*'] } }
    - { edition: enterprise, machines: { names: ['desk-*'] } }
";
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], rest);
    let output = run(&test_tenant.folder, &["once", "--shard=2/2"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let printed = exposition::parse(&output.stdout).unwrap();
    assert_eq!(
        printed.value("mde_exception_end_timestamp_seconds", &[("exception", "lab")]),
        Some(4_102_444_800.0)
    );
    assert_eq!(tenants(&printed), ["contoso"].into());
    for unwanted in ["lab", "servicing.editions", "unknown tenant"] {
        assert!(!output.stderr.contains(unwanted), "{unwanted}: {}", output.stderr);
    }
}

#[tokio::test]
async fn check_and_report_are_about_the_tenants_of_the_shard() {
    let test_tenant = test_tenant(4).await;
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], "");
    let checked = run(&test_tenant.folder, &["check", "--shard=2/2"]).await;
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(
        checked.stdout.contains("1 of 2 tenants are in shard 2/2; the others are not checked"),
        "{}",
        checked.stdout
    );
    assert!(!checked.stdout.contains("fabrikam"), "{}", checked.stdout);
    let all = run(&test_tenant.folder, &["check"]).await;
    assert_eq!(all.code, Some(1), "fabrikam fails");
    assert!(!all.stdout.contains("shard"), "{}", all.stdout);

    assert_eq!(run(&test_tenant.folder, &["once", "--shard=2/2"]).await.code, Some(0));
    let report = run(&test_tenant.folder, &["report", "--shard=2/2"]).await;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert!(report.stdout.contains("contoso,"), "{}", report.stdout);
    assert!(!report.stderr.contains("fabrikam"), "{}", report.stderr);
    let other = run(&test_tenant.folder, &["report", "--shard=2/2", "--tenant=fabrikam"]).await;
    assert_eq!(other.code, Some(64));
    insta::assert_snapshot!(other.stderr.trim_end(), @"error: shard 2/2 of the configuration has no tenant `fabrikam`; it has `contoso`");
}

/// The first-seen times, as lines.
fn first_seen(printed: &str) -> Vec<&str> {
    let name = "mde_machine_missing_update_first_seen_timestamp_seconds{";
    printed.lines().filter(|line| line.starts_with(name)).collect()
}

#[tokio::test]
async fn shard_continues_with_the_imported_data() {
    let test_tenant = test_tenant(6).await;
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], "");
    let before = run(&test_tenant.folder, &["once", "--storage.path=old"]).await;
    assert!(
        before.stderr.contains("the state is empty; first seen begins today for every tenant"),
        "{}",
        before.stderr
    );
    assert!(!first_seen(&before.stdout).is_empty());

    let arguments = ["once", "--shard=2/2", "--storage.path=new", "--storage.import=old/state.db"];
    let after = run(&test_tenant.folder, &arguments).await;
    assert_eq!(after.code, Some(0), "{}", after.stderr);
    assert_eq!(first_seen(&after.stdout), first_seen(&before.stdout));
    let printed = exposition::parse(&after.stdout).unwrap();
    assert_eq!(printed.value("mde_exporter_state_restored", &[]), Some(1.0));
    let imported: Vec<_> = after.stderr.lines().filter(|line| line.contains("tenant imported")).collect();
    let [line] = imported[..] else { panic!("{}", after.stderr) };
    assert!(line.contains("tenant=contoso file=old/state.db machines=6 newest="), "{line}");
    assert!(!after.stderr.contains("first seen begins today"), "{}", after.stderr);

    // The file is not needed any more.
    std::fs::remove_dir_all(test_tenant.folder.path().join("old")).unwrap();
    let again = run(&test_tenant.folder, &arguments).await;
    assert_eq!((again.code, again.stderr.contains("imported")), (Some(0), false), "{}", again.stderr);
}

#[tokio::test]
async fn missing_import_prevents_the_start_of_a_new_tenant() {
    let test_tenant = test_tenant(3).await;
    configure(&test_tenant, &[contoso(&test_tenant)], "");
    for command in ["run", "once"] {
        let arguments = [command, LOOPBACK, "--storage.import=gone.db"];
        let output = run(&test_tenant.folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        insta::allow_duplicates! {
            insta::assert_snapshot!(output.stderr.lines().last().unwrap(), @"error: cannot import the tenants that the state in `data` lacks (contoso): there is no state file `gone.db`; an exporter writes it after its first poll; without --storage.import, first seen begins today for them");
        }
    }
    assert_eq!(test_tenant.sim.control().calls().len(), 0);
}

#[tokio::test]
async fn tenant_that_is_new_to_a_state_causes_one_warning() {
    let test_tenant = test_tenant(3).await;
    configure(&test_tenant, &[contoso(&test_tenant)], "");
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    configure(&test_tenant, &[contoso(&test_tenant), fabrikam(&test_tenant)], "");
    assert_eq!(running.post("/-/reload").await.1, "changed: tenants[fabrikam] added\n");
    let log = running.stop("TERM").await.stderr;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("new to the state")).collect();
    let [warning] = warnings[..] else { panic!("{log}") };
    assert!(warning.contains("level=warn") && warning.contains("tenants=fabrikam count=1"), "{warning}");
    assert!(log.contains("level=info message=\"the state is empty"), "{log}");

    // Of several exporters, each tenant may have been polled by another one.
    let output = run(&test_tenant.folder, &["once", "--shard=2/2", "--storage.path=empty"]).await;
    assert!(output.stderr.contains("tenants=contoso count=1"), "{}", output.stderr);
}
