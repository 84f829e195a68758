//! What the README says is what the code does.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Command, CommandFactory};
use mde_exporter::cli::Cli;
use mde_exporter::config;
use mde_exporter::metrics::exposition::FamilyDescriptor;
use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};

use crate::certificates::Authority;

const README: &str = include_str!("../../README.md");

/// The text from this heading to the next one.
fn section(heading: &str) -> &'static str {
    let start = README.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = &README[start + heading.len() + 2..];
    text.find("\n#").map_or(text, |end| &text[..end])
}

/// The cells of the table that has this first column, without its head.
fn table(text: &str, first_column: &str) -> Vec<Vec<String>> {
    let head = format!("| {first_column} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "no table `{first_column}`");
    rows
}

/// What is between back-ticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The code blocks of a language, without the indentation that a list gives them.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
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

/// Names of the families with their labels, those in `implied` left out.
fn families<'a>(
    headers: impl Iterator<Item = &'a FamilyDescriptor>,
    implied: &[&str],
) -> Vec<(String, Vec<String>)> {
    let labels = |header: &FamilyDescriptor| {
        header.labels.iter().filter(|label| !implied.contains(label)).map(|&label| label.to_owned()).collect()
    };
    headers.map(|header| (header.name.to_owned(), labels(header))).collect()
}

/// A metric table as names with labels; these are in the second column, or in the last one after
/// `also` when there is no second.
fn documented(heading: &str) -> Vec<(String, Vec<String>)> {
    let labels = |row: &Vec<String>| {
        let cell =
            if row.len() == 3 { &row[1] } else { row[1].split_once("also ").map_or("", |(_, also)| also) };
        quoted(cell).into_iter().map(str::to_owned).collect()
    };
    let name = |row: &Vec<String>| quoted(&row[0])[0].to_owned();
    table(section(heading), "metric").iter().map(|row| (name(row), labels(row))).collect()
}

#[test]
fn metric_tables_hold_every_family_with_its_labels_in_order() {
    let fleet = FLEET.iter().map(|family| &family.header);
    assert_eq!(documented("### Fleet"), families(fleet, &["tenant"]));
    let machine = MACHINE.iter().map(|family| &family.header);
    assert_eq!(documented("### Machine"), families(machine, &["tenant", "machine_id", "machine"]));
    let update = UPDATE.iter().map(|family| &family.header);
    assert_eq!(documented("### Update"), families(update, &["tenant"]));
}

#[test]
fn flag_table_holds_every_flag_with_its_default() {
    let documented: BTreeMap<String, String> = table(section("## Commands"), "flag")
        .iter()
        .map(|row| (quoted(&row[0])[0].to_owned(), quoted(&row[1]).concat()))
        .collect();
    let known: BTreeMap<String, String> = Cli::command()
        .get_arguments()
        .map(|flag| {
            let values: Vec<_> =
                flag.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
            // A default that depends on the command stands in the help alone.
            let help = flag.get_help().unwrap().to_string();
            let said = help.split_once("[default: ").map_or("", |(_, rest)| rest.trim_end_matches(']'));
            let default = match (flag.get_action().takes_values(), values.is_empty()) {
                (false, _) => "off".to_owned(),
                (true, true) => said.to_owned(),
                (true, false) => values.join(" "),
            };
            (format!("--{}", flag.get_long().unwrap()), default)
        })
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn values_of_a_flag_are_those_of_the_table() {
    for row in table(section("## Commands"), "flag") {
        let command = Cli::command();
        let mut flags = command.get_arguments();
        let flag = flags.find(|flag| row[0].contains(&format!("`--{}`", flag.get_long().unwrap()))).unwrap();
        let values = flag.get_possible_values();
        let known: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        // A switch has the values true and false, and nobody writes them.
        if flag.get_action().takes_values() && !known.is_empty() {
            assert_eq!(quoted(&row[2]), known, "{}", row[0]);
        }
    }
}

#[test]
fn command_table_holds_every_command() {
    let rows = table(section("## Commands"), "command");
    // The newest name in a cell is the command; the first row has `run` as its second.
    let documented: Vec<&str> = rows
        .iter()
        .map(|row| quoted(&row[0]).pop().and_then(|call| call.strip_prefix("mde_exporter ")).unwrap())
        .map(|call| call.split(' ').next().unwrap())
        .collect();
    let command = Cli::command();
    assert_eq!(documented, command.get_subcommands().map(Command::get_name).collect::<Vec<_>>());
}

#[test]
fn configuration_of_the_readme_is_good() {
    let configurations: Vec<String> =
        blocks("yaml").into_iter().filter(|block| block.starts_with("tenants:")).collect();
    assert_eq!(configurations.len(), 1);
    match config::parse(Path::new("README.md"), configurations[0].as_bytes()) {
        Ok(loaded) => assert_eq!(loaded.warnings, []),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn web_configuration_of_the_readme_is_good() {
    let blocks = blocks("yaml").into_iter().filter(|block| block.starts_with("tls_server_config:"));
    let block: String = blocks.collect();
    let commented = [("  # client_", "  client_"), ("  # client certificates too:\n", "")];
    let all = commented.iter().fold(block.clone(), |block, (from, to)| block.replace(from, to));
    assert_ne!(all, block);
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let issued = authority.issue(&["server.example"]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
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
fn every_relative_link_leads_to_a_file() {
    let links: Vec<&str> =
        README.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    assert!(links.contains(&"config.example.yml"), "{links:?}");
    for link in links.into_iter().filter(|link| !link.is_empty() && !link.contains("://")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}

#[test]
fn the_first_two_commands_are_the_demo_and_the_tests() {
    let commands: Vec<&str> = README.lines().filter_map(|line| line.strip_prefix("    ")).take(2).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo test --locked"]);
}

#[test]
fn changelog_opens_with_what_is_unreleased() {
    let changelog = include_str!("../../CHANGELOG.md");
    let headings: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings.first(), Some(&"Unreleased"));
}
