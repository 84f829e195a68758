//! The section `servicing` of the real binary: a reload applies it without a call to the API, and rules that do not do
//! what they say are reported.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mde_simulator::machine_record;
use reqwest::StatusCode;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry, run, test_tenant};
use crate::support::exposition::Exposition;
use crate::support::tenant::TestTenant;

/// Writes the configuration of one tenant with these rules.
fn configure(test_tenant: &TestTenant, rules: &str) {
    let tenant = entry(test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let rest = format!("poll: {{ interval: 1h }}\nservicing:\n{rules}");
    test_tenant.write("mde_exporter.yml", &format!("tenants:\n{tenant}{rest}"));
}

/// A tenant with a Windows 10 past end of servicing, a Windows 11 that is serviced until 2027, and a server.
async fn three_machines() -> TestTenant {
    let test_tenant = test_tenant(0).await;
    for (id, platform, version, build) in [
        ("a1", "Windows10", "22H2", 19_045),
        ("b2", "Windows11", "25H2", 26_200),
        ("c3", "WindowsServer2022", "21H2", 20_348),
    ] {
        let mut record = machine_record(id, id, Timestamp::now());
        (record["osPlatform"], record["version"]) = (platform.into(), version.into());
        record["osBuild"] = build.into();
        test_tenant.sim.control().add_machine(record);
    }
    test_tenant
}

async fn reload(running: &RunningExporter, expected: &str) -> Exposition {
    let (status, body) = running.post("/-/reload").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, expected));
    running.scrape().await
}

/// Machines with Windows 10 by servicing.
fn windows_10(scrape: &Exposition) -> BTreeMap<&'static str, f64> {
    let machines = |servicing| {
        let labels = [("os_platform", "Windows10"), ("os_version", "22H2"), ("servicing", servicing)];
        scrape.value("mde_servicing_machines", &labels)
    };
    let states = ["in_service", "uncertain", "ended", "unknown"];
    let by_state = states.into_iter().filter_map(|state| Some((state, machines(state)?)));
    by_state.filter(|(_, machines)| *machines > 0.0).collect()
}

#[tokio::test]
async fn reload_applies_servicing_without_a_call() {
    let test_tenant = three_machines().await;
    configure(&test_tenant, "");
    let arguments = ["run", LOOPBACK, "--web.enable-lifecycle"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    let before = running.scrape_of(3.0).await;
    let calls = test_tenant.sim.control().calls().len();
    assert_eq!(windows_10(&before), [("uncertain", 1.0)].into());
    assert_eq!(before.sum("mde_compliant_machines"), 3.0);

    configure(&test_tenant, "  extended: [{ has: false, machines: { platforms: [Windows10] } }]\n");
    let without = reload(&running, "changed: servicing.extended\n").await;
    assert_eq!(windows_10(&without), [("ended", 1.0)].into());
    assert_eq!(without.sum("mde_compliant_machines"), 2.0);

    configure(&test_tenant, "  extended: [{ machines: { platforms: [Windows10] } }]\n");
    let with = reload(&running, "changed: servicing.extended\n").await;
    assert_eq!(windows_10(&with), [("in_service", 1.0)].into());
    assert_eq!(with.sum("mde_compliant_machines"), 3.0);

    configure(
        &test_tenant,
        "  # The same rule in another line.\n  extended: [{ machines: { platforms: [windows10] } }]\n",
    );
    reload(&running, "changed: servicing.extended\n").await;
    configure(&test_tenant, "  extended: [{ machines: { platforms: [windows10] } }]\n");
    reload(&running, "nothing changed\n").await;

    let unused = "  extended: [{ machines: { tags: [esu] } }]\n";
    configure(&test_tenant, unused);
    reload(&running, "changed: servicing.extended\n").await;
    let (_, page) = running.get("/").await;
    assert!(page.contains("servicing.extended[0] (line 13) applies to no machine"), "{page}");
    configure(&test_tenant, &format!("  # It is in another line now.\n{unused}"));
    reload(&running, "nothing changed\n").await;
    let (_, page) = running.get("/").await;
    assert!(page.contains("servicing.extended[0] (line 14) applies to no machine"), "{page}");
    assert_eq!(test_tenant.sim.control().calls().len(), calls);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn rule_that_does_not_do_what_it_says_is_reported() {
    let test_tenant = three_machines().await;
    let rules = "  editions:
    - { edition: ltsc, machines: { names: [a1] } }
    - { edition: enterprise, machines: { names: [c*] } }
  extended:
    - { machines: { tags: [esu] } }
    - { machines: { platforms: ['Windows1*'] } }
";
    configure(&test_tenant, rules);
    let warnings = [
        (
            "servicing.editions[0] (line 14)",
            "does not apply to 1 machine: their version (Windows10 22H2) does not exist in the edition ltsc",
        ),
        ("servicing.editions[1] (line 15)", "applies to servers alone (1 machine)"),
        ("servicing.extended[0] (line 17)", "applies to no machine in scope"),
        (
            "servicing.extended[1] (line 18)",
            "does not apply to 1 machine: there are no Extended Security Updates for their version (Windows11 25H2)",
        ),
    ];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    for (place, text) in warnings {
        let line = running.line_with(text).await;
        assert!(line.contains("level=warn") && line.contains(&format!("rule=\"{place}\"")), "{line}");
    }
    running.scrape_of(3.0).await;
    let (_, page) = running.get("/").await;
    for (place, text) in warnings {
        assert!(page.contains(&format!("{place} {text}")), "{text}: {page}");
    }
    let check = run(&test_tenant.folder, &["check"]).await;
    for (place, text) in warnings {
        let warning = format!("servicing       warning: {place} {text}");
        assert!(check.stdout.contains(&warning), "{warning}: {}", check.stdout);
    }
}

#[tokio::test]
async fn check_config_reports_rules_about_servicing_offline() {
    let test_tenant = test_tenant(0).await;
    let rules = "  editions: [{ edition: pro, machines: { platforms: [WindowsServer2019] } }]\n  \
                 extended: [{ tenants: [tailspin], machines: { platforms: [Windows11] } }]\n";
    configure(&test_tenant, rules);
    let output = run(&test_tenant.folder, &["check-config"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for warning in [
        "servicing.editions[0].machines.platforms[0] (line 13, column ",
        "servicing.extended[0].tenants[0] (line 14, column ",
        "servicing.extended[0].machines.platforms[0] (line 14, column ",
    ] {
        assert!(
            output.stdout.contains(&format!("warning: mde_exporter.yml: {warning}")),
            "{}",
            output.stdout
        );
    }
    configure(&test_tenant, "  editions: [{ edition: home }]\n");
    let output = run(&test_tenant.folder, &["check-config"]).await;
    assert_eq!(output.code, Some(64));
    assert!(output.stderr.contains("servicing.editions[0].edition (line 13, column "), "{}", output.stderr);
}
