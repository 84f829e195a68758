//! Output and exit codes of commands that end by themselves.

use std::path::Path;

use tempfile::TempDir;

use crate::support::binary::{LOOPBACK, configure, configure_contoso, entry, run, test_tenant};
use crate::support::exposition;
use crate::support::golden::assert_golden;
use crate::support::tenant::write_file;

/// A folder with this configuration.
fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("mde_exporter.yml"), config);
    write_file(&folder.path().join("secret.txt"), "s3cret");
    folder
}

const GOOD: &str = "\
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
";

/// The fixture with a problem in each section, and its problems under another file name.
fn config_with_many_problems(file: &str) -> (String, String) {
    let fixture = Path::new("tests/fixtures/config/problem_in_each_section.bad.yml");
    let output = std::fs::read_to_string(fixture.with_extension("txt")).unwrap();
    (std::fs::read_to_string(fixture).unwrap(), output.replace(fixture.to_str().unwrap(), file))
}

#[tokio::test]
async fn help_is_golden_and_exits_with_0() {
    let output = run(&TempDir::new().unwrap(), &["--help"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_golden("help", output.stdout);
}

#[tokio::test]
async fn help_of_a_command_shows_the_flags_that_it_uses() {
    let folder = TempDir::new().unwrap();
    let all = [
        "--config.file",
        "--storage.path",
        "--web.config.file",
        "--web.listen-address",
        "--log.level",
        "--shard",
        "--storage.import",
    ];
    for (command, expected) in [
        (&["run"][..], &all[..]),
        (&["check-config"], &[all[0], all[1], all[2], all[4]]),
        (&["check"], &[all[0], all[1], all[2], all[4], all[5]]),
        (&["once"], &[all[0], all[1], all[4], all[5], all[6]]),
        (&["report"], &[all[0], all[1], all[4], all[5]]),
        (&["facts", "update"], &[all[0], all[1], all[4]]),
        (&["demo"], &all[1..5]),
        (&["hash-password"], &[all[4]]),
    ] {
        let output = run(&folder, &[command, &["--help"]].concat()).await;
        let shown: Vec<_> =
            all.iter().filter(|flag| output.stdout.contains(&format!("  {flag} "))).copied().collect();
        assert_eq!((output.code, &shown[..]), (Some(0), expected), "{command:?}");
    }
    let ignored = run(&folder, &["report", "--web.listen-address=:0"]).await;
    assert_eq!(ignored.code, Some(64), "the flag is accepted, the configuration is missing");
    assert!(ignored.stderr.contains("mde_exporter.yml: cannot be read"), "{}", ignored.stderr);
}

#[tokio::test]
async fn version_is_printed_and_exits_with_0() {
    let output = run(&TempDir::new().unwrap(), &["--version"]).await;
    let version = concat!("mde_exporter ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), version, ""));
}

#[tokio::test]
async fn invalid_command_line_exits_with_64_and_names_the_argument() {
    let folder = folder(GOOD);
    for (arguments, named) in [
        (["run", "--nope"], "--nope"),
        (["check", "mde_exporter.yml"], "mde_exporter.yml"),
        (["chek", "--log.level=info"], "chek"),
        (["run", "--log.level=loud"], "loud"),
        (["run", "--log.format=xml"], "xml"),
        (["run", "--web.telemetry-path=metrics"], "must start with `/`"),
        (["run", "--web.listen-address=localhost"], "localhost"),
        (["run", "--web.listen-address=127.0.0.1:99999"], "127.0.0.1:99999"),
        (["run", "--web.external-url=proxy.example/mde"], "must be a URL"),
        (["run", "--web.external-url=ftp://proxy.example/mde"], "must start with http:// or https://"),
        (["demo", "--web.external-url=https://proxy.example/?a=b"], "must not contain a query"),
        (["run", "--shard=0/2"], "N/M with whole numbers"),
        (["once", "--shard=3/2"], "'--shard <N/M>'"),
        (["check", "--shard=2"], "such as 2/3"),
        (["demo", "--machines=many"], "whole number from 1 to 100000"),
        (["demo", "--machines=0"], "whole number from 1 to 100000"),
        (["demo", "--machines=100001"], "whole number from 1 to 100000"),
    ] {
        let output = run(&folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.starts_with("error: ") && output.stderr.contains(named), "{}", output.stderr);
    }
}

#[tokio::test]
async fn missing_configuration_exits_with_64_and_advice() {
    let folder = TempDir::new().unwrap();
    for arguments in [&[][..], &["run"], &["once"], &["check-config"], &["check"]] {
        let output = run(&folder, arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(output.stderr, @r"
            error: mde_exporter.yml: cannot be read: No such file or directory (os error 2); a readable file of at most 4 MiB is allowed
            [--config.file names another file; `mde_exporter demo` needs none]
            ");
        }
    }
}

#[tokio::test]
async fn invalid_configuration_exits_with_64_and_lists_every_problem() {
    let (config, problems) = config_with_many_problems("mde_exporter.yml");
    let folder = folder(&config);
    let expected = format!("error: {} problems in the configuration\n{problems}", problems.lines().count());
    assert!(expected.contains("(line 16, column 1)"), "{expected}");
    for arguments in [&[][..], &["run"], &["once"], &["check-config"], &["check"]] {
        let output = run(&folder, arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert_eq!(output.stderr.trim_end(), expected.trim_end(), "{arguments:?}");
    }
}

#[tokio::test]
async fn single_problem_is_reported_on_one_line() {
    let folder = folder(&GOOD.replace("all: true", "all: 1"));
    let output = run(&folder, &["check-config"]).await;
    assert_eq!(output.code, Some(64));
    insta::assert_snapshot!(output.stderr, @"error: mde_exporter.yml: tenants[0].machines.all (line 6, column 22): is a number; true or false is allowed");
}

#[tokio::test]
async fn check_config_accepts_the_file_as_argument_or_flag() {
    let folder = folder("tenants: []");
    std::fs::create_dir(folder.path().join("conf")).unwrap();
    write_file(&folder.path().join("conf/good.yml"), GOOD);
    write_file(&folder.path().join("conf/secret.txt"), "s3cret");
    for arguments in [
        &["check-config", "conf/good.yml"][..],
        &["check-config", "--config.file", "conf/good.yml"],
        &["--config.file=conf/good.yml", "check-config"],
        &["check-config", "--config.file=mde_exporter.yml", "conf/good.yml"],
    ] {
        let output = run(&folder, arguments).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert_eq!(output.stdout, "conf/good.yml: the configuration is valid\n");
    }
    assert_eq!(run(&folder, &["check-config", "mde_exporter.yml"]).await.code, Some(64));
}

#[tokio::test]
async fn check_config_prints_the_warnings_of_a_valid_file() {
    let folder = folder(&format!("{GOOD}poll: {{ interval: 1m }}\n"));
    let output = run(&folder, &["check-config"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(output.stdout, @r"
    warning: mde_exporter.yml: poll.interval (line 7, column 9): is less than an hour, but the source changes every few hours; 6h is the default
    mde_exporter.yml: the configuration is valid
    ");
}

#[tokio::test]
async fn expanded_presets_are_a_section_of_the_file() {
    let presets =
        ["cyber-essentials", "pci-dss", "essential-eight-ml1", "essential-eight-ml3", "cisa-bod-26-04"];
    let given: Vec<_> =
        presets.iter().map(|preset| format!("  - {{ name: {preset}, preset: {preset} }}\n")).collect();
    let given = given.concat();
    let folder =
        folder(&format!("{GOOD}facts: {{}}\npolicies:\n  - {{ name: 14d, deadline: 14d }}\n{given}"));
    let output = run(&folder, &["check-config", "--expand"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let printed = output.stdout;
    assert!(!printed.contains("14d\"\n"), "only presets are printed: {printed}");
    for text in [
        "timelines without SSVC; exposure by tag; an approximation, no proof of compliance",
        "10 June 2026",
        "exploited: true, platforms: [\"WindowsServer*\"], tags: [\"internet-facing\"], deadline: 48h",
        "Working exploits exist",
    ] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    write_file(&folder.path().join("mde_exporter.yml"), format!("{GOOD}facts: {{}}\n{printed}"));
    let again = run(&folder, &["check-config", "--expand"]).await;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(again.stdout, @r"
    # mde_exporter.yml: the configuration is valid
    # no policy of the file has a preset
    ");
}

#[tokio::test]
async fn check_config_warns_about_policies_without_their_facts() {
    let folder = folder(&format!("{GOOD}policies: [{{ name: ce, preset: cyber-essentials }}]\n"));
    let output = run(&folder, &["check-config"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(output.stdout, @r"
    warning: mde_exporter.yml: policies[0] (line 7, column 12): needs facts of msrc, which facts: off leaves out: machines with missing updates are unknown under it; facts: {} turns every source on
    mde_exporter.yml: the configuration is valid
    ");
}

#[tokio::test]
async fn check_config_warns_about_inputs_that_cannot_be_read() {
    let tenant = |number: u32, auth: &str, http: &str| {
        format!(
            "  - name: t{number}\n    tenant_id: 11111111-2222-3333-4444-555555555555\n    \
             client_id: 66666666-7777-8888-9999-{number:012}\n    auth: {{ {auth} }}\n    http: {{ {http} }}\n    \
             machines: {{ all: true }}\n"
        )
    };
    let tenants = [
        tenant(0, "client_secret_file: gone.txt", ""),
        tenant(1, "client_secret_env: MDE_GONE", "ca_file: gone.pem"),
        tenant(2, "client_certificate_file: utf16.pem", "ca_file: empty.pem"),
        tenant(3, "workload_identity: { token_file: folder }", ""),
        tenant(4, "workload_identity: {}", ""),
        tenant(5, "client_secret_file: secret.txt", ""),
    ];
    let folder = folder(&format!("tenants:\n{}", tenants.concat()));
    write_file(&folder.path().join("utf16.pem"), b"\xff\xfe-\0-\0");
    write_file(&folder.path().join("empty.pem"), "\n");
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let output = run(&folder, &["check-config"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(output.stdout, @r"
    warning: mde_exporter.yml: tenants[0].auth.client_secret_file (line 5, column 33): cannot be read: No such file or directory; the user of the exporter has to be able to read it
    warning: mde_exporter.yml: tenants[1].auth.client_secret_env (line 11, column 32): names a variable that is not set here, or empty; the exporter needs it in its environment
    warning: mde_exporter.yml: tenants[1].http.ca_file (line 12, column 22): cannot be read: No such file or directory; the user of the exporter has to be able to read it
    warning: mde_exporter.yml: tenants[2].auth.client_certificate_file (line 17, column 38): is UTF-16 text; save it as UTF-8
    warning: mde_exporter.yml: tenants[2].http.ca_file (line 18, column 22): is empty; the exporter needs its content
    warning: mde_exporter.yml: tenants[3].auth.workload_identity.token_file (line 23, column 46): cannot be read: Is a directory; the user of the exporter has to be able to read it
    warning: mde_exporter.yml: tenants[4].auth.workload_identity (line 29, column 13): takes the file of AZURE_FEDERATED_TOKEN_FILE, which is not set here, or empty; the exporter needs it in its environment
    mde_exporter.yml: the configuration is valid
    ");
}

#[tokio::test]
async fn unreadable_ca_file_exits_with_64_and_is_named() {
    let folder = folder(&GOOD.replace("machines:", "http: { ca_file: nowhere.pem }\n    machines:"));
    for arguments in [&["run", LOOPBACK][..], &["once", "--log.level=warn"]] {
        let output = run(&folder, arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""));
        let error = output.stderr.lines().last().unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"error: tenant `contoso`: cannot read the CA file `nowhere.pem`: No such file or directory (os error 2)");
        }
    }
}

#[tokio::test]
async fn address_in_use_exits_with_1_and_is_named() {
    let folder = folder(GOOD);
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let flag = format!("--web.listen-address={address}");
    for arguments in [["run", flag.as_str()], ["demo", &flag]] {
        let output = run(&folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        let expected = format!("error: cannot listen on `{address}`: Address already in use (os error 98)");
        assert_eq!(output.stderr.lines().last(), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn once_prints_only_fleet_metrics_and_logs_to_stderr() {
    let test_tenant = test_tenant(20).await;
    configure_contoso(&test_tenant);
    let output = run(&test_tenant.folder, &["once"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let printed = exposition::parse(&output.stdout).unwrap();
    assert_eq!(printed.value("mde_up", &[("tenant", "contoso")]), Some(1.0));
    let machines: f64 = test_tenant.sim.control().machine_ids().iter().map(|_| 1.0).sum();
    assert_eq!(printed.sum("mde_assessed_machines"), machines);
    assert!(printed.sum("mde_missing_updates") > 0.0);
    assert_eq!(printed.value("mde_exporter_build_info", &[]), Some(1.0));
    let foreign = printed.families.iter().find(|family| !family.name.starts_with("mde_"));
    assert_eq!(foreign, None, "node_exporter has these families of its own");
    assert!(output.stderr.contains("message=\"poll finished\""), "{}", output.stderr);
}

#[tokio::test]
async fn once_prints_its_data_and_exits_with_1_when_a_tenant_fails() {
    let test_tenant = test_tenant(5).await;
    test_tenant.write("wrong.txt", "not-the-secret");
    let contoso = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: wrong.txt", "");
    configure(&test_tenant, &[fabrikam, contoso]);
    let output = run(&test_tenant.folder, &["once"]).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let printed = exposition::parse(&output.stdout).unwrap();
    assert_eq!(printed.value("mde_up", &[("tenant", "contoso")]), Some(1.0));
    assert_eq!(printed.value("mde_up", &[("tenant", "fabrikam")]), Some(0.0));
    assert_eq!(printed.count_by("mde_machine_info", "tenant").into_keys().collect::<Vec<_>>(), ["contoso"]);
    assert_eq!(output.stderr.lines().last(), Some("error: not every tenant could be polled: fabrikam"));
    assert!(output.stderr.contains("Invalid client secret"), "{}", output.stderr);
}

#[tokio::test]
async fn successful_once_is_silent_at_log_level_error() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let output = run(&test_tenant.folder, &["once", "--log.level=error"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}
