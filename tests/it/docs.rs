//! The README, the pages in `docs` and the code agree. `xtask` generates and checks `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use mde_exporter::cli::Cli;
use mde_exporter::config;

use crate::support::certificates::CertificateAuthority;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of a page; `path` is relative to the repository.
fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the paths of all files of the repository with this extension.
fn files(extension: &str) -> Vec<PathBuf> {
    let is_source = |name: &str| !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&name);
    let mut files = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && is_source(path.file_name().unwrap().to_str().unwrap()) {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 35, "{files:?}");
    files
}

/// Returns the text between a heading and the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = &text[start + heading.len() + 2..];
    text.find("\n#").map_or(text, |end| &text[..end])
}

/// Returns the cells of the table with this first column, without its header.
fn table(text: &str, first_column: &str) -> Vec<Vec<String>> {
    let header = format!("| {first_column} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&header));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "no table `{first_column}`");
    rows
}

/// Returns the parts of `text` between back-ticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns the fenced code blocks of a language, without the indentation of a list.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() == format!("```{language}") {
            let indentation = line.len() - line.trim_start().len();
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks
                .push(inside.flat_map(|line| [line.get(indentation..).unwrap_or_default(), "\n"]).collect());
        }
    }
    blocks
}

/// Returns the lines outside of fenced code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the targets of the links in `text`.
fn links(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

/// Returns the anchors of the headings in `text`, as GitHub builds them.
fn anchors(text: &str) -> BTreeSet<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let anchor = |title: &str| title.trim().to_lowercase().chars().filter(is_kept).collect::<String>();
    let titles = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    titles.map(|title| anchor(title).replace(' ', "-")).collect()
}

/// Returns a table of the section about commands.
fn commands(first_column: &str) -> Vec<Vec<String>> {
    table(section(&page("docs/operations.md"), "## Commands"), first_column)
}

#[test]
fn flag_table_holds_every_flag_with_its_default() {
    let documented: BTreeMap<String, String> = commands("flag")
        .iter()
        .map(|row| (quoted(&row[0])[0].to_owned(), quoted(&row[1]).concat()))
        .collect();
    let defined: BTreeMap<String, String> = Cli::command()
        .get_arguments()
        .map(|flag| {
            let values: Vec<_> =
                flag.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
            // A default that depends on the command is in the help text only.
            let help = flag.get_help().unwrap().to_string();
            let in_help = help.split_once("[default: ").map_or("", |(_, rest)| rest.trim_end_matches(']'));
            let default = match (flag.get_action().takes_values(), values.is_empty()) {
                (false, _) => "off".to_owned(),
                (true, true) => in_help.to_owned(),
                (true, false) => values.join(" "),
            };
            (format!("--{}", flag.get_long().unwrap()), default)
        })
        .collect();
    assert_eq!(documented, defined);
}

#[test]
fn flag_table_holds_the_values_of_each_flag() {
    for row in commands("flag") {
        let command = Cli::command();
        let mut flags = command.get_arguments();
        let flag = flags.find(|flag| row[0].contains(&format!("`--{}`", flag.get_long().unwrap()))).unwrap();
        let values = flag.get_possible_values();
        let defined: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        // A switch has the values true and false, which nobody writes.
        if flag.get_action().takes_values() && !defined.is_empty() {
            assert_eq!(quoted(&row[2]), defined, "{}", row[0]);
        }
    }
}

#[test]
fn command_table_holds_every_command() {
    let rows = commands("command");
    // The last name in a cell is the command; the first row has `run` as its second.
    let documented: Vec<&str> = rows
        .iter()
        .map(|row| quoted(&row[0]).pop().and_then(|call| call.strip_prefix("mde_exporter ")).unwrap())
        .map(|call| call.split(' ').next().unwrap())
        .collect();
    let command = Cli::command();
    assert_eq!(documented, command.get_subcommands().map(Command::get_name).collect::<Vec<_>>());
}

#[test]
fn every_documented_configuration_is_valid() {
    let mut valid = BTreeSet::new();
    for file in files("md") {
        let text = fs::read_to_string(&file).unwrap();
        for block in blocks(&text, "yaml").into_iter().filter(|block| block.starts_with("tenants:")) {
            match config::parse(&file, block.as_bytes()) {
                Ok(loaded) => assert_eq!(loaded.warnings, []),
                Err(error) => panic!("{}: {error}", file.display()),
            }
            valid.insert(file.strip_prefix(root()).unwrap().to_owned());
        }
    }
    assert!(valid.contains(Path::new("README.md")) && valid.contains(Path::new("docs/configuration.md")));
}

/// Returns the keys in a line of `config.example.yml`, also those of an option in a comment.
fn keys(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.split(['{', ',', '#', '-']).map(str::trim);
    let is_key = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    starts.filter_map(|text| text.split_once(':').map(|(key, _)| key)).filter(is_key)
}

#[test]
fn configuration_page_describes_every_key() {
    let described = page("docs/configuration.md");
    let example = page("config.example.yml");
    let keys: BTreeSet<&str> = example.lines().flat_map(keys).collect();
    assert!(keys.len() > 35 && keys.contains("workload_identity"), "{keys:?}");
    let is_described = |key: &str| {
        let has = |mark: &str| described.contains(mark);
        has(&format!("`{key}`")) || has(&format!("## {key}\n")) || has(&format!("{{ {key}:"))
    };
    let missing: Vec<_> = keys.into_iter().filter(|key| !is_described(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn documented_web_configuration_is_valid() {
    let text = page("docs/web-configuration.md");
    let blocks = blocks(&text, "yaml").into_iter().filter(|block| block.starts_with("tls_server_config:"));
    let block: String = blocks.collect();
    let commented = [("  # client_", "  client_"), ("  # client certificates too:\n", "")];
    let all = commented.iter().fold(block.clone(), |block, (from, to)| block.replace(from, to));
    assert_ne!(all, block);
    let folder = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::new();
    let issued = authority.issue(&["server.example"]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        path
    };
    write("server.pem", &issued.chain);
    write("server.key", &issued.key);
    write("clients.pem", &authority.pem());
    for text in [block, all] {
        match config::web::load(&write("web.yml", &text)).outcome {
            Ok(loaded) => assert_eq!(loaded.warnings, []),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn every_relative_link_leads_to_a_file_and_heading() {
    let mut checked = 0;
    for file in files("md") {
        let text = fs::read_to_string(&file).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", file.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(target).unwrap());
                assert!(anchors.contains(anchor), "{}: {link}: {anchors:?}", file.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

/// Returns the pages that describe the source code, by their paths.
fn pages_about_the_code() -> impl Iterator<Item = (PathBuf, String)> {
    let is_page = |file: &PathBuf| file.ends_with("CONTRIBUTING.md") || file.starts_with(root().join("docs"));
    files("md").into_iter().filter(is_page).map(|file| (file.clone(), fs::read_to_string(file).unwrap()))
}

#[test]
fn every_source_file_named_in_the_docs_exists() {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '/', '.'].contains(&c);
    let folders =
        ["src/", "tests/", "crates/", "xtask/", "benches/", "packaging/", "systemd/", "templates/", ".ci/"];
    let mut checked = 0;
    for (file, text) in pages_about_the_code() {
        let words = text.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
        for path in words.filter(|word| folders.iter().any(|folder| word.starts_with(folder))) {
            assert!(root().join(path).exists(), "{}: {path}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// Returns the source code of the workspace as one text.
fn code() -> String {
    files("rs").into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn every_test_named_in_the_recipes_exists() {
    let code = code();
    let guide = page("CONTRIBUTING.md");
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let names = quoted(&guide).into_iter().filter(is_name);
    let names: Vec<_> = names.filter(|name| name.matches('_').count() >= 3).collect();
    let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn every_type_named_in_the_design_exists() {
    /// Types of the standard library and of tokio.
    const FOREIGN: [&str; 2] = ["Arc", "JoinSet"];
    let code = code();
    let design = page("docs/design.md");
    let is_type = |text: &&str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    let names = quoted(&design).into_iter().filter_map(|text| text.split("::").next()).filter(is_type);
    let names: BTreeSet<_> = names.filter(|name| !FOREIGN.contains(name)).collect();
    let is_defined = |name: &str| {
        ["struct", "enum", "type", "trait"]
            .iter()
            .any(|kind| [" ", "<", "(", ";"].iter().any(|end| code.contains(&format!("{kind} {name}{end}"))))
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_defined(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn every_page_is_linked_from_an_index() {
    let readme = page("README.md");
    let index = page("docs/README.md");
    let entries = fs::read_dir(root().join("docs")).unwrap().map(Result::unwrap);
    // The folder holds the images of pages.
    for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
        let name = entry.file_name().into_string().unwrap();
        let is_listed = links(&readme).contains(&&*format!("docs/{name}")) || links(&index).contains(&&*name);
        assert!(is_listed || name == "README.md", "{name}");
    }
}

#[test]
fn readme_has_fewer_than_120_lines() {
    let lines = page("README.md").lines().count();
    assert!(lines < 120, "{lines}");
}

#[test]
fn readme_starts_with_the_demo_and_the_tests() {
    let readme = page("README.md");
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    ")).take(2).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo test --locked"]);
}

#[test]
fn glossary_defines_its_terms_in_alphabetical_order() {
    let glossary = page("docs/glossary.md");
    let (terms, _retired_words) = glossary.split_once("\n\n## ").unwrap();
    let (_, entries) = terms.split_once("\n\n**").unwrap();
    let terms: Vec<String> = entries
        .split("\n\n**")
        .map(|entry| {
            let (term, text) = entry.split_once("**: ").unwrap_or_else(|| panic!("no definition: {entry}"));
            assert!(text.trim_end().ends_with(['.', ')']), "{entry}");
            term.to_lowercase()
        })
        .collect();
    assert!(terms.len() >= 25, "{}", terms.len());
    let unordered: Vec<_> = terms.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
    assert!(unordered.is_empty(), "{unordered:?}");
}

#[test]
fn changelog_opens_with_what_is_unreleased() {
    let changelog = page("CHANGELOG.md");
    let headings: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings.first(), Some(&"Unreleased"));
}
