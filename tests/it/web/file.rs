//! The web configuration file: valid and invalid settings, and the messages.

use std::fs;
use std::path::{Path, PathBuf};

use mde_exporter::config::web::{LoadedWebConfig, load};
use tempfile::TempDir;

use crate::support::certificates::CertificateAuthority;

const FIXTURES: &str = "tests/fixtures/web/";

fn fixtures(ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixture ends in {ending}");
    paths
}

/// A folder with every fixture and the certificates and keys that they name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| write(folder.path(), name, text);
    let authority = CertificateAuthority::new();
    let (server, other) = (authority.issue(&["server.example"]), authority.issue(&["other.example"]));
    write("ca.pem", &authority.pem());
    write("server.pem", &server.chain);
    write("server.key", &server.key);
    write("other.key", &other.key);
    write("encrypted.key", &server.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    write("cut.pem", &server.chain.replace("-----END", ""));
    write("broken.pem", "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n");
    for fixture in fixtures(".yml") {
        fs::copy(&fixture, folder.path().join(fixture.file_name().unwrap())).unwrap();
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
    path
}

/// Loads a copy of the fixture `file`; errors name the fixture.
fn outcome(folder: &TempDir, file: &Path) -> Result<LoadedWebConfig, String> {
    let inside = folder.path().join(file.file_name().unwrap());
    let prefix = format!("{}/", folder.path().display());
    load(&inside).outcome.map_err(|error| error.to_string().replace(&prefix, FIXTURES))
}

#[test]
fn good_fixtures_load_without_a_warning() {
    let folder = folder();
    for file in fixtures(".good.yml") {
        match outcome(&folder, &file) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", file.display()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn bad_fixtures_give_their_messages() {
    let folder = folder();
    for file in fixtures(".bad.yml") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        match outcome(&folder, &file) {
            Ok(_) => panic!("{} loads", file.display()),
            Err(error) => {
                assert_eq!(error, expected.trim_end(), "{}", file.display());
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
    }
}

#[test]
fn discouraged_settings_give_warnings() {
    let folder = folder();
    let tls = "tls_server_config: { cert_file: server.pem, key_file: server.key";
    let hash = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    let mut output = String::new();
    for web in [
        &format!("{tls}, client_auth_type: RequireAnyClientCert }}"),
        &format!("{tls}, client_auth_type: RequestClientCert, client_ca_file: ca.pem }}"),
        &format!("{tls}, cipher_suites: [TLS_AES_128_GCM_SHA256] }}"),
        &format!("basic_auth_users: {{ alice: $2y$15${hash}, bob: $2y$14${hash} }}"),
    ] {
        let file = write(folder.path(), "web.yml", web);
        let loaded = load(&file).outcome.unwrap();
        let prefix = format!("{}/", folder.path().display());
        output.extend(loaded.warnings.iter().map(|warning| format!("{warning}\n").replace(&prefix, "")));
    }
    insta::assert_snapshot!(output, @r"
    web.yml: tls_server_config.client_auth_type (line 1, column 67): accepts any client certificate, including self-signed ones; RequireAndVerifyClientCert is advised
    web.yml: tls_server_config.client_auth_type (line 1, column 67): accepts any client certificate, including self-signed ones; RequireAndVerifyClientCert is advised
    web.yml: tls_server_config.cipher_suites (line 1, column 67): names suites of TLS 1.3, which are always enabled; they cannot be chosen, as in every program with this file
    web.yml: basic_auth_users.alice (line 1, column 28): has a cost at which a login takes seconds; a cost of 10 is advised
    ");
}

#[test]
fn referenced_files_are_listed_even_when_invalid() {
    let folder = folder();
    let names = |fixture: &str| -> Vec<String> {
        let files = load(&folder.path().join(fixture)).files.into_iter();
        files.map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
    };
    assert_eq!(names("empty.good.yml"), ["empty.good.yml"]);
    assert_eq!(names("everything.good.yml"), ["everything.good.yml", "server.pem", "server.key", "ca.pem"]);
    assert_eq!(
        names("missing_files.bad.yml")[1..],
        ["nowhere/server.pem", "nowhere/server.key", "nowhere/ca.pem"]
    );
}

#[test]
fn secrets_are_not_in_debug_output() {
    let folder = folder();
    let loaded = load(&folder.path().join("everything.good.yml")).outcome.unwrap();
    let shown = format!("{loaded:?}");
    assert!(shown.contains("alice") && shown.contains("prometheus.example"), "{shown}");
    let key = fs::read_to_string(folder.path().join("server.key")).unwrap();
    for secret in ["$2y$", "$2b$", "jydOTSfIH", key.lines().nth(1).unwrap()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
