//! The command `facts update`, and what other commands do with facts.

use mde_exporter::facts::disk;
use tempfile::TempDir;

use crate::support::binary::{configure_contoso, run, test_tenant};
use crate::support::facts_host::{FactsHost, KEV, TestDocument, cve, kev, servicing, status};
use crate::support::tenant::write_file;

const TENANT: &str = "\
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
";

fn june() -> TestDocument {
    TestDocument::new("2026-Jun", "2026-06-10T07:00:00", [5_000_003])
}

fn may() -> TestDocument {
    TestDocument::new("2026-May", "2026-05-20T07:00:00", [5_000_001, 5_000_002])
}

/// A folder with a configuration whose sources are on `host`.
fn configured(host: &FactsHost, more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("mde_exporter.yml"), format!("{TENANT}{}", host.section(more)));
    folder
}

const FROM_CONFIG: [&str; 3] = ["facts", "update", "--config.file=mde_exporter.yml"];

#[tokio::test]
async fn update_writes_the_file_and_prints_a_summary() {
    let host = FactsHost::start(&[june(), may()]).await;
    let folder = configured(&host, "");
    let output = run(&folder, &FROM_CONFIG).await;
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (
            Some(0),
            "data/facts.json.gz: 3 KBs; msrc: 2 documents, kev: 1 entries, epss: 1 scores, servicing: 2 releases; \
             6 parts updated\n"
        ),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains('\r'), "progress is for terminals");
    let file = disk::load(&folder.path().join("data/facts.json.gz")).unwrap();
    assert_eq!(file.facts().len(), 3);
}

#[tokio::test]
async fn update_takes_months_and_output() {
    let host = FactsHost::start(&[june(), may()]).await;
    let folder = configured(&host, "file: here.gz, ");
    let one = run(&folder, &[&FROM_CONFIG[..], &["--months=1"]].concat()).await;
    assert!(one.stdout.starts_with("here.gz: 1 KBs; "), "{one:?}");
    let all = run(&folder, &[&FROM_CONFIG[..], &["--months", "all", "--output", "there.gz"]].concat()).await;
    assert!(all.stdout.starts_with("there.gz: 3 KBs; "), "{all:?}");
    for months in ["0", "-1", "every", ""] {
        let wrong = run(&folder, &["facts", "update", &format!("--months={months}")]).await;
        assert_eq!(wrong.code, Some(64), "{months}");
    }
}

#[tokio::test]
async fn failed_source_keeps_its_old_part_and_exits_with_1() {
    let host = FactsHost::start(&[june()]).await;
    let folder = configured(&host, "");
    run(&folder, &FROM_CONFIG).await;
    host.documents(&[june(), may()]);
    host.answer(KEV, [status(403)]);
    let output = run(&folder, &FROM_CONFIG).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("status 403") && output.stderr.contains("kev"), "{}", output.stderr);
    assert!(output.stdout.contains(": 3 KBs; msrc: 2 documents, kev: 1 entries"), "{}", output.stdout);
}

#[tokio::test]
async fn update_without_the_flag_reads_no_configuration() {
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("mde_exporter.yml"), "rubbish: [");
    let files = TempDir::new().unwrap();
    write_file(&files.path().join("2026-Jun.json"), june().json().to_string());
    let output = run(&folder, &["facts", "update", "--from", files.path().to_str().unwrap()]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let with_flag = run(&folder, &FROM_CONFIG).await;
    assert_eq!(with_flag.code, Some(64), "{with_flag:?}");
}

#[tokio::test]
async fn files_that_were_downloaded_before_make_the_file() {
    let (folder, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let write = |name: &str, text: String| write_file(&files.path().join(name), text);
    write("2026-Jun.json", june().json().to_string());
    write("known_exploited_vulnerabilities.json", kev([5_000_003]).to_string());
    write("epss_scores-2026-06-11.csv", format!("cve,epss,percentile\n{},0.5,0.9\n", cve(5_000_003)));
    write("windows.json", servicing("windows").to_string());
    write("README.txt", "nothing".to_owned());
    let from = ["facts", "update", "--from", files.path().to_str().unwrap()];
    let output = run(&folder, &from).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.starts_with("data/facts.json.gz: 1 KBs; msrc: 1 documents, kev: 1 entries"),
        "{output:?}"
    );

    // What is not in the folder is kept, and what cannot be read is a failure of its source.
    for name in ["2026-Jun.json", "windows.json"] {
        std::fs::remove_file(files.path().join(name)).unwrap();
    }
    let compressed = crate::support::export_server::gzip(may().json().to_string().as_bytes());
    write_file(&files.path().join("2026-May.json.gz"), compressed);
    write("known_exploited_vulnerabilities.json", "{\"vulnerabilities\": [".to_owned());
    let output = run(&folder, &from).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains(": 3 KBs; msrc: 2 documents, kev: 1 entries"), "{output:?}");
    assert!(output.stderr.contains("known_exploited_vulnerabilities.json"), "{output:?}");
    let missing = run(&folder, &["facts", "update", "--from", "no/such/folder"]).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

#[tokio::test]
async fn once_reads_the_file_and_sends_no_request_for_facts() {
    let host = FactsHost::start(&[june()]).await;
    let test_tenant = test_tenant(2).await;
    configure_contoso(&test_tenant);
    let config = test_tenant.folder.path().join("mde_exporter.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    write_file(&config, format!("{text}{}", host.section("")));
    let output = run(&test_tenant.folder, &["once"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("mde_exporter_facts_updates 0\n"));
    run(&test_tenant.folder, &FROM_CONFIG).await;
    let requests = host.paths().len();
    let output = run(&test_tenant.folder, &["once"]).await;
    assert!(output.stdout.contains("mde_exporter_facts_updates 1\n"), "{}", output.stderr);
    assert_eq!(host.paths().len(), requests);
}

#[tokio::test]
async fn check_config_warns_about_a_facts_file_that_something_else_brings() {
    let folder = TempDir::new().unwrap();
    write_file(&folder.path().join("secret.txt"), "s3cret");
    write_file(&folder.path().join("mde_exporter.yml"), format!("{TENANT}facts: {{ update: off }}\n"));
    let output = run(&folder, &["check-config"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("warning: mde_exporter.yml: facts.file (line 7"), "{}", output.stdout);
}

#[tokio::test]
async fn check_tries_each_source_that_is_on() {
    let host = FactsHost::start(&[june()]).await;
    host.answer(KEV, [status(403)]);
    let test_tenant = test_tenant(2).await;
    configure_contoso(&test_tenant);
    let config = test_tenant.folder.path().join("mde_exporter.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = |more: &str| write_file(&config, format!("{text}{}", host.section(more)));
    with("");
    let output = run(&test_tenant.folder, &["check"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().skip_while(|line| *line != "facts").collect();
    let starts = [
        "  file            ok:      `data/facts.json.gz` does not exist yet; the exporter makes it",
        "  msrc            ok:      ",
        "  kev             failed:  the host answers with status 403 [check facts.sources.kev;",
        "  epss            ok:      ",
        "  servicing       ok:      ",
    ];
    for (line, start) in lines[1..].iter().zip(starts) {
        assert!(line.starts_with(start), "{}", output.stdout);
    }
    with("update: off, ");
    let requests = host.paths().len();
    let output = run(&test_tenant.folder, &["check"]).await;
    assert!(output.stdout.contains("failed:  there is no facts file `data/facts.json.gz` ["), "{output:?}");
    assert_eq!(host.paths().len(), requests);
}
