//! The course of a check: its steps, its calls, and its effects on others.

use jiff::SignedDuration;
use mde_simulator::Endpoint;

use crate::support::binary::{LOOPBACK, RunningExporter, command, entry};
use crate::support::check::{
    CERTIFICATE, CaseOutput, EXPORT, FEDERATED, MANAGED, NOTHING, SECRET, case, check, check_with, config,
    golden, test_tenant, test_tenant_of, with_certificate,
};

#[tokio::test]
async fn successful_steps_are_listed() {
    let mut cases = vec![
        case("machine by machine", &[], NOTHING),
        case("the export", &[EXPORT], NOTHING),
        case(
            "every selector",
            &[("{ all: true }", "{ all: true, tags: [production], filter: \"osPlatform eq 'Windows11'\" }")],
            NOTHING,
        ),
        case("a certificate", &[CERTIFICATE], |test_tenant| {
            test_tenant.sim.control().register_certificate(&with_certificate(test_tenant)).unwrap();
        }),
        case("a federated token", &[FEDERATED], |test_tenant| {
            test_tenant.write("federated", "eyJ.from.elsewhere");
            test_tenant.sim.control().register_federated_token("eyJ.from.elsewhere");
        }),
        case("roles that allow more than needed", &[], |test_tenant| {
            test_tenant.sim.control().set_roles(&[
                "Machine.ReadWrite.All",
                "Software.Read.All",
                "Alert.Read.All",
            ]);
        }),
    ];
    let managed = async {
        let test_tenant = test_tenant().await;
        let (endpoint, header) = (test_tenant.sim.identity_endpoint(), test_tenant.sim.identity_header());
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)];
        check_with(&test_tenant, &config(&test_tenant, &[MANAGED]), &[], &variables).await
    };
    cases.push(("a managed identity".to_owned(), Box::pin(managed)));
    golden("steps", cases).await;
}

#[tokio::test]
async fn selectors_quota_and_cloud_are_checked() {
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
        let test_tenant = test_tenant_of(0, SignedDuration::ZERO).await;
        check(&test_tenant, &config(&test_tenant, &[])).await
    };
    cases.push(("tenant without machines".to_owned(), Box::pin(empty)));
    golden("scope", cases).await;
}

#[tokio::test]
async fn failing_tenant_does_not_stop_the_other_checks() {
    let two = async {
        let test_tenant = test_tenant().await;
        test_tenant.write("wrong.txt", "not-the-secret");
        let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: wrong.txt", "");
        let contoso = entry(&test_tenant, "contoso", SECRET, "");
        check(&test_tenant, &format!("tenants:\n{fabrikam}{contoso}")).await
    };
    let storage = async {
        let test_tenant = test_tenant().await;
        check_with(&test_tenant, &config(&test_tenant, &[]), &["--storage.path=secret.txt/data"], &[]).await
    };
    let cases: Vec<(String, CaseOutput)> =
        vec![("two tenants".to_owned(), Box::pin(two)), ("storage".to_owned(), Box::pin(storage))];
    golden("tenants_and_storage", cases).await;
}

#[tokio::test]
async fn check_calls_each_operation_once_and_leaves_no_files() {
    let test_tenant = test_tenant().await;
    let requests = |endpoint| test_tenant.sim.control().requests(endpoint);
    check(&test_tenant, &config(&test_tenant, &[])).await;
    assert_eq!([Endpoint::Token, Endpoint::Machines, Endpoint::MissingKbs].map(requests), [1, 1, 1]);
    check(&test_tenant, &config(&test_tenant, &[EXPORT])).await;
    assert_eq!([Endpoint::Token, Endpoint::Machines, Endpoint::MissingKbs].map(requests), [2, 2, 1]);
    assert_eq!([Endpoint::Export, Endpoint::ExportFile].map(requests), [1, 1]);
    let mut files: Vec<_> =
        std::fs::read_dir(test_tenant.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca.pem", "mde_exporter.yml", "secret.txt"]);
}

#[tokio::test]
async fn check_does_not_disturb_a_running_exporter() {
    let test_tenant = test_tenant().await;
    let config = config(&test_tenant, &[]);
    test_tenant.write("mde_exporter.yml", &config);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    running.line_with("poll finished").await;
    let output = check(&test_tenant, &config).await;
    assert!(output.starts_with("exit code 0\n") && output.contains("`data` can be written"), "{output}");
    let stopped = running.stop("TERM").await;
    assert_eq!(stopped.code, Some(0));
    assert!(!stopped.stderr.contains("level=error"), "{}", stopped.stderr);
}
