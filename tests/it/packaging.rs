//! The systemd units and the Debian package match the flags, folders and configuration of the exporter.
//! `.ci/systemd` and `.ci/package` run them.

use std::path::{Path, PathBuf};

use clap::Parser;
use mde_exporter::cli::Cli;
use mde_exporter::config::{self, Auth, SecretSource};

const SERVICE: &str = include_str!("../../systemd/mde_exporter.service");
const ENVIRONMENT: &str = include_str!("../../systemd/mde_exporter.env");
const CONFIGURATION: &str = include_str!("../../packaging/mde_exporter.yml");
const CARGO: &str = include_str!("../../Cargo.toml");

/// The value of a setting that occurs once in a unit.
fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{key}");
    values[0]
}

/// The service's command line as systemd builds it, with these words for `$ARGS`.
fn command_line(arguments: &str) -> Cli {
    let state = format!("/var/lib/{}", setting(SERVICE, "StateDirectory"));
    let line =
        setting(SERVICE, "ExecStart").replace("${STATE_DIRECTORY}", &state).replace("$ARGS", arguments);
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn service_uses_the_paths_of_the_package() {
    let cli = command_line("");
    assert!(cli.command.is_none());
    assert_eq!(cli.flags.config_file(), Path::new("/etc/mde_exporter/mde_exporter.yml"));
    assert_eq!(cli.flags.storage_path(), Path::new("/var/lib/mde_exporter"));
}

#[test]
fn every_flag_example_of_the_service_is_valid() {
    let examples: Vec<_> = ENVIRONMENT
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").strip_prefix("ARGS=\"")?.strip_suffix('"'))
        .collect();
    assert!(examples.len() > 2, "{examples:?}");
    for example in examples {
        command_line(example);
    }
    assert!(setting(SERVICE, "EnvironmentFile").ends_with("/etc/default/mde_exporter"));
}

#[test]
fn installed_configuration_takes_its_secret_from_systemd() {
    let file = Path::new("/etc/mde_exporter/mde_exporter.yml");
    let loaded = config::parse(file, CONFIGURATION.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, []);
    let (name, _) = setting(SERVICE, "LoadCredential").split_once(':').unwrap();
    let secret = format!("/run/credentials/mde_exporter.service/{name}_{}", loaded.config.tenants[0].name);
    let Auth::ClientSecret(SecretSource::File(path)) = &loaded.config.tenants[0].auth else {
        panic!("no client secret")
    };
    assert_eq!(path, Path::new(&secret));
}

/// The files that `assets` of the package takes from the source, without the files built by cargo.
fn assets() -> Vec<(PathBuf, &'static str)> {
    let list = CARGO.split_once("\nassets = [\n").and_then(|(_, rest)| rest.split_once("\n]")).unwrap().0;
    let asset = |line: &'static str| {
        let mut words = line.split('"').skip(1).step_by(2);
        let (source, target) = (words.next().unwrap(), words.next().unwrap());
        (Path::new(env!("CARGO_MANIFEST_DIR")).join(source), target)
    };
    list.lines().filter(|line| !line.contains("\"target/release/")).map(asset).collect()
}

#[test]
fn every_file_of_the_package_exists() {
    let assets = assets();
    assert!(assets.len() > 5);
    for (source, _) in assets {
        // For a pattern, its folder.
        let file = source.to_str().unwrap().split('*').next().unwrap();
        assert!(Path::new(file).exists(), "{file}");
    }
}

#[test]
fn package_has_the_version_of_the_exporter() {
    let changelog = include_str!("../../packaging/debian/changelog");
    let newest = changelog.lines().next().unwrap();
    let version = concat!("mde-exporter (", env!("CARGO_PKG_VERSION"), "-1) ");
    assert!(newest.starts_with(version), "{newest}");
}
