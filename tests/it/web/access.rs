//! The web configuration file of the real binary: commands, passwords, limits, and changes of the file.

use std::path::Path;
use std::process::Stdio;

use reqwest::{Client, StatusCode, header};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::support::binary::{
    CommandOutput, LOOPBACK, RunningExporter, command, configure_contoso, finish, run, test_tenant,
};
use crate::support::certificates::CertificateAuthority;
use crate::support::tenant::TestTenant;

const WEB: &str = "--web.config.file=web.yml";

/// The hash of `correct horse`, from libxcrypt.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

async fn start_with(web: &str) -> (TestTenant, RunningExporter) {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    test_tenant.write("web.yml", web);
    let running = RunningExporter::start(command(&test_tenant.folder, &[LOOPBACK, WEB])).await;
    (test_tenant, running)
}

async fn status_for(running: &RunningExporter, path: &str, user: &str, password: &str) -> StatusCode {
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", running.addresses[0]);
    client.get(url).basic_auth(user, Some(password)).send().await.unwrap().status()
}

/// Runs `hash-password` with this input.
async fn hash_password(input: &[u8]) -> CommandOutput {
    let folder = TempDir::new().unwrap();
    let mut command = command(&folder, &["hash-password"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The command may stop reading before the end.
    stdin.write_all(input).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test]
async fn only_the_hashed_password_is_accepted() {
    let output = hash_password("pässword with spaces \n".as_bytes()).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(output.stdout.starts_with("$2y$10$") && output.stdout.len() == 61, "{}", output.stdout);
    let (_test_tenant, running) = start_with(&format!("basic_auth_users:\n  alice: {}", output.stdout)).await;
    for (path, user, password, status) in [
        ("/metrics", "alice", "pässword with spaces ", StatusCode::OK),
        ("/", "alice", "pässword with spaces ", StatusCode::OK),
        ("/metrics", "alice", "pässword with spaces", StatusCode::UNAUTHORIZED),
        ("/metrics", "alice", "", StatusCode::UNAUTHORIZED),
        ("/metrics", "bob", "pässword with spaces ", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(status_for(&running, path, user, password).await, status, "{path} {user} {password}");
    }
    assert_eq!(running.get("/metrics").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
    assert_ne!(running.get("/-/ready").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn hashes_of_the_same_password_differ() {
    let (one, other) = (hash_password(b"secret").await, hash_password(b"secret").await);
    assert_ne!(one.stdout, other.stdout);
}

#[tokio::test]
async fn invalid_password_exits_with_64_and_the_reason() {
    for (input, why) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"a\nb\n", "it has more than one line"),
        (b"a\0b", "it contains a NUL byte, at which most programs would end it"),
        (&[b'x'; 73], "it is longer than 72 bytes, and bcrypt would ignore the rest"),
        (&[b'x'; 10_000], "it is longer than 72 bytes, and bcrypt would ignore the rest"),
    ] {
        let output = hash_password(input).await;
        let expected = format!("error: this password cannot be hashed: {why}\n");
        assert_eq!((output.code, output.stdout.as_str(), output.stderr), (Some(64), "", expected));
    }
}

#[tokio::test]
async fn rate_limit_is_enforced() {
    let (_test_tenant, running) = start_with("rate_limit: { interval: 1h, burst: 3 }\n").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(running.get("/metrics").await.0.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
}

#[tokio::test]
async fn headers_of_the_file_are_sent() {
    let web = "http_server_config: { headers: { X-Frame-Options: deny, X-XSS-Protection: '' } }\n";
    let (_test_tenant, running) = start_with(web).await;
    let url = format!("http://{}/nothing", running.addresses[0]);
    let reply = Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::NOT_FOUND);
    assert_eq!(reply.headers()[header::X_FRAME_OPTIONS], "deny");
    assert!(!reply.headers().contains_key(header::X_XSS_PROTECTION));
}

#[tokio::test]
async fn valid_file_is_applied_and_an_invalid_one_is_not() {
    let (test_tenant, mut running) = start_with("").await;
    assert_eq!(running.get("/metrics").await.0, StatusCode::OK);
    test_tenant.write("web.yml", &format!("basic_auth_users: {{ alice: {HASH} }}\n"));
    running.line_with("web configuration reloaded").await;
    assert_eq!(running.get("/metrics").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(status_for(&running, "/metrics", "alice", "correct horse").await, StatusCode::OK);

    test_tenant.write("web.yml", &format!("basic_auth_users: {{ alice: {HASH}, bob: hunter2 }}\nrate: 1\n"));
    let line = running.line_with("web configuration rejected; keeping the previous one").await;
    assert!(line.contains("basic_auth_users.bob (line 1, column"), "{line}");
    assert!(line.contains("rate (line 2, column 1): the key is unknown"), "{line}");
    assert_eq!(running.get("/metrics").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(status_for(&running, "/metrics", "alice", "correct horse").await, StatusCode::OK);

    // Replaced by a rename, as an editor or a deployment does.
    test_tenant.write("new.yml", "");
    std::fs::rename(test_tenant.folder.path().join("new.yml"), test_tenant.folder.path().join("web.yml"))
        .unwrap();
    running.line_with("web configuration reloaded").await;
    assert_eq!(running.get("/metrics").await.0, StatusCode::OK);
    let output = running.stop("TERM").await;
    assert_eq!(output.code, Some(0));
    assert_eq!(
        output.stderr.matches("web configuration rejected; keeping the previous one").count(),
        1,
        "{}",
        output.stderr
    );
    for secret in ["hunter2", HASH, "correct horse"] {
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
}

#[tokio::test]
async fn invalid_files_exit_with_64_and_list_all_problems() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    test_tenant.write("web.yml", "rate_limit: { interval: 10, burst: 0 }\n");
    let expected = "error: 2 problems in the configuration
web.yml: rate_limit.interval (line 1, column 25): is not a duration; a duration up to 24h, such as 1s, 250ms \
or 1m30s, is allowed; 0 sets no limit
web.yml: rate_limit.burst (line 1, column 36): is out of range; a whole number from 1 is allowed\n";
    for arguments in [&["run", WEB][..], &["check-config", WEB], &["demo", WEB]] {
        let output = run(&test_tenant.folder, arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert_eq!(output.stderr, expected, "{arguments:?}");
    }
    test_tenant.write("mde_exporter.yml", "tenants: 1\n");
    for arguments in [["run", WEB], ["check-config", WEB]] {
        let output = run(&test_tenant.folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(
            output.stderr.starts_with("error: 3 problems in the configuration\nmde_exporter.yml: tenants ")
        );
        assert!(output.stderr.contains("\nweb.yml: rate_limit.burst "), "{}", output.stderr);
    }
}

#[tokio::test]
async fn missing_web_file_exits_with_64_and_one_line() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    for arguments in [["run", WEB], ["check-config", WEB], ["demo", WEB]] {
        let output = run(&test_tenant.folder, &arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        let expected = "error: web.yml: cannot be read: No such file or directory (os error 2); a readable file of \
                        at most 4 MiB is allowed\n";
        assert_eq!(output.stderr, expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn check_config_reads_the_web_file_and_its_certificates() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    std::fs::create_dir(test_tenant.folder.path().join("tls")).unwrap();
    let issued = CertificateAuthority::new().issue(&["server.example"]);
    test_tenant.write("tls/server.pem", &issued.chain);
    test_tenant.write(
        "tls/web.yml",
        "tls_server_config: { cert_file: server.pem, key_file: server.key, client_auth_type: RequestClientCert }\n",
    );
    let arguments = ["check-config", "--web.config.file", "tls/web.yml"];
    let output = run(&test_tenant.folder, &arguments).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""));
    assert!(
        output.stderr.contains("tls/web.yml: tls_server_config.key_file (line 1, column "),
        "{}",
        output.stderr
    );
    test_tenant.write("tls/server.key", &issued.key);
    let output = run(&test_tenant.folder, &arguments).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(output.stdout, @r"
    warning: mde_exporter.yml: poll.interval (line 11, column 9): is less than an hour, but the source changes every few hours; 6h is the default
    warning: tls/web.yml: tls_server_config.client_auth_type (line 1, column 67): accepts any client certificate, including self-signed ones; RequireAndVerifyClientCert is advised
    mde_exporter.yml: the configuration is valid
    tls/web.yml: the web configuration is valid
    ");
}

#[tokio::test]
async fn demo_accepts_the_web_file() {
    let test_tenant = test_tenant(1).await;
    let issued = CertificateAuthority::new().issue(&["127.0.0.1"]);
    test_tenant.write("server.pem", &issued.chain);
    test_tenant.write("server.key", &issued.key);
    test_tenant.write("web.yml", "tls_server_config: { cert_file: server.pem, key_file: server.key }\n");
    let mut demo = command(&test_tenant.folder, &["demo", "--machines=3", LOOPBACK, WEB]);
    demo.env("TMPDIR", test_tenant.folder.path());
    let mut demo = RunningExporter::start(demo).await;
    let greeting = demo.stdout_until("Ctrl-C ends the demo.").await;
    assert!(greeting.contains(&format!("https://{}/metrics", demo.addresses[0])), "{greeting}");
    assert!(greeting.contains("scheme: https"), "{greeting}");
    assert_eq!(demo.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn once_needs_no_web_file() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let output =
        finish(command(&test_tenant.folder, &["once", "--web.config.file=nowhere.yml", "--log.level=error"]))
            .await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(Path::new(&test_tenant.folder.path().join("data/state.db")).exists());
}
