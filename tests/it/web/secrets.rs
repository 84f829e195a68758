//! Searches for secrets of the web server: valid and invalid passwords, hashes, and the certificate's key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mde_exporter::config::web;
use reqwest::{Certificate, Client, StatusCode};

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, finish, test_tenant};
use crate::support::canaries::Canaries;
use crate::support::certificates::{CertificateAuthority, IssuedCertificate};

const PASSWORD: &str = "canary-of-a-password";
const GUESS: &str = "canary-of-a-guess";
const WEB: &str = "--web.config.file=web.yml";

fn canaries(issued: &IssuedCertificate, hash: &str) -> Canaries {
    let login = |password: &str| STANDARD.encode(format!("alice:{password}"));
    let secrets = [
        ("password", PASSWORD.to_owned()),
        ("login", login(PASSWORD)),
        ("guess", GUESS.to_owned()),
        ("login of a guess", login(GUESS)),
        ("hash", hash.to_owned()),
        // The part after the salt.
        ("end of the hash", hash[hash.len() - 31..].to_owned()),
    ];
    let key =
        issued.key.lines().filter(|line| !line.starts_with("-----")).map(|line| ("key", line.to_owned()));
    Canaries(secrets.into_iter().chain(key).collect())
}

/// Web configurations with misplaced or slightly damaged secrets.
fn bad(issued: &IssuedCertificate, hash: &str) -> [String; 5] {
    let key = issued.key.replace('\n', "\n    ");
    [
        format!("basic_auth_users:\n  alice: {hash}x\n  {hash}: y\n"),
        format!("basic_auth_users: {PASSWORD}\n"),
        format!("basic_auth_users: {{ alice: {PASSWORD} }}\n"),
        format!(
            "tls_server_config:\n  cert_file: server.pem\n  key: |\n    {}\n",
            key.replacen("PRIVATE", "PUBLIC", 1)
        ),
        format!("tls_server_config:\n  cert: |\n    {key}\n  key_file: |\n    {key}\n"),
    ]
}

#[tokio::test]
async fn web_server_logs_and_serves_no_secret() {
    let (test_tenant, authority) = (test_tenant(1).await, CertificateAuthority::new());
    configure_contoso(&test_tenant);
    let (issued, hash) = (authority.issue(&["127.0.0.1"]), bcrypt::hash(PASSWORD, 4).unwrap());
    test_tenant.write("server.pem", &issued.chain);
    test_tenant.write("server.key", &issued.key);
    let good = format!(
        "tls_server_config: {{ cert_file: server.pem, key_file: server.key }}\nbasic_auth_users: {{ alice: {hash} }}\n"
    );
    test_tenant.write("web.yml", &good);
    let (canaries, mut texts) = (canaries(&issued, &hash), Vec::new());

    for format in ["logfmt", "json"] {
        let format = format!("--log.format={format}");
        let arguments = [LOOPBACK, WEB, "--log.level=debug", &format, "--web.enable-lifecycle"];
        let mut running = RunningExporter::start_quiet(command(&test_tenant.folder, &arguments));
        let line = running.line_with("serving metrics").await;
        let address = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let trusted = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
        for (path, password, status) in [
            ("/", PASSWORD, StatusCode::OK),
            ("/metrics", PASSWORD, StatusCode::OK),
            ("/metrics", GUESS, StatusCode::UNAUTHORIZED),
            ("/nothing", PASSWORD, StatusCode::NOT_FOUND),
        ] {
            let url = format!("https://127.0.0.1:{port}{path}");
            let reply = client.get(url).basic_auth("alice", Some(password)).send().await.unwrap();
            assert_eq!(reply.status(), status, "{path}");
            let headers = format!("{:?}", reply.headers());
            texts.push((path.to_owned(), headers + &reply.text().await.unwrap()));
        }
        test_tenant.write("web.yml", &bad(&issued, &hash)[0]);
        running.line_with("web configuration rejected").await;
        texts.push((format, running.stop("TERM").await.stderr));
        test_tenant.write("web.yml", &good);
    }
    for arguments in [["check-config", WEB], ["check", WEB], ["once", WEB]] {
        let output = finish(command(&test_tenant.folder, &arguments)).await;
        assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
        texts.push((arguments.join(" "), format!("{}{}", output.stdout, output.stderr)));
    }
    let file = test_tenant.folder.path().join("web.yml");
    texts.push(("debug output".to_owned(), format!("{:?}", web::load(&file))));
    for (number, text) in bad(&issued, &hash).iter().enumerate() {
        test_tenant.write("web.yml", text);
        texts.push((format!("debug output of {number}"), format!("{:?}", web::load(&file))));
        for name in ["check-config", "check", "run"] {
            let output = finish(command(&test_tenant.folder, &[name, WEB])).await;
            assert_eq!(output.code, Some(64), "{name} of {number}: {}", output.stderr);
            texts.push((format!("{name} of {number}"), format!("{}{}", output.stdout, output.stderr)));
        }
    }
    for (place, text) in &texts {
        canaries.assert_absent(place, text.as_bytes());
    }
}
