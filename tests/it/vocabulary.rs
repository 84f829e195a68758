//! One word for one thing: type names are unique, and retired words do not come back.
//!
//! The glossary defines the terms. Its table of retired words is what the second test reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::source::Package;

/// Type names that may stand for different things: at most so many in the whole workspace.
const HOMONYM_LIMIT: usize = 8;

const GLOSSARY: &str = include_str!("../../docs/glossary.md");

/// Retired words that stay, by the start of the path: help texts of metrics and the names in the state file
/// are interfaces.
const KEPT: [(&str, &str); 10] = [
    ("benches/performance/report.rs", "gap"),
    ("docs/metrics.md", "gap"),
    ("docs/metrics.md", "in force"),
    ("docs/operations.md", "gaps"),
    ("src/metrics/families", "gap"),
    ("src/self_metrics/families.rs", "in force"),
    ("src/store/", "gap"),
    ("src/store/", "gaps"),
    ("tests/it/store/", "gap"),
    ("tests/it/store/", "gaps"),
];

/// Files that list the words.
const LISTS: [&str; 3] = ["docs/glossary.md", ".ci/words.txt", "tests/it/vocabulary.rs"];

#[test]
fn type_names_are_unique() {
    let packages = Package::all();
    let mut homonyms = homonyms(&packages);
    homonyms.retain(|_, places| places.len() > 1);
    assert!(homonyms.len() <= HOMONYM_LIMIT, "type names with several meanings: {homonyms:#?}");
}

#[test]
fn retired_words_do_not_come_back() {
    let retired = retired_words(GLOSSARY);
    assert!(retired.len() > 20, "the table of retired words is not found in docs/glossary.md");
    let mut problems = Vec::new();
    for file in tracked_files() {
        // Names of files and of alerts count as text too.
        let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let line_words = words(line);
            let is_in_line = |phrase: &&Vec<String>| contains(&line_words, phrase);
            for phrase in retired.iter().filter(is_in_line) {
                let phrase = phrase.join(" ");
                let is_kept = |(path, kept): &(&str, &str)| file.starts_with(path) && *kept == phrase;
                if !LISTS.contains(&file.as_str()) && !KEPT.iter().any(is_kept) {
                    problems.push(format!("{file}:{}: `{phrase}`", number + 1));
                }
            }
        }
    }
    assert!(problems.is_empty(), "retired words, see docs/glossary.md:\n{}", problems.join("\n"));
}

#[test]
fn words_are_found_inside_names_and_phrases() {
    let found = |phrase: &str, line: &str| contains(&words(line), &words(phrase));
    assert!(found("gap", "let oldest_gap = 1;"));
    assert!(found("gap", "struct OpenGap;"));
    assert!(found("in force", "/// The limit in force."));
    assert!(!found("gap", "let gaping = 1;"));
    assert!(!found("in force", "in the force of"));
    assert_eq!(
        retired_words("## Retired words\n\n| word | use |\n|---|---|\n| anew | again |\n"),
        [["anew"]]
    );
}

/// The type names that stand for several things, each with the modules that define it.
fn homonyms(packages: &[Package]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut places: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        for module in &package.modules {
            for name in &module.types {
                let path = format!("{}::{}", package.name, module.path.join("::"));
                places.entry(name).or_default().insert(path);
            }
        }
    }
    places
}

/// The first column of the glossary's table of retired words, each entry as its words.
fn retired_words(glossary: &str) -> Vec<Vec<String>> {
    let (_, table) = glossary.split_once("## Retired words").unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let first_cells = rows.filter_map(|row| row.trim_matches('|').split('|').next());
    first_cells.flat_map(|cell| cell.split(',').map(words)).collect()
}

/// The words of a line, in lower case; names are taken apart at underscores and capital letters.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous_is_lower = false;
    for character in line.chars() {
        let starts_word = character.is_uppercase() && previous_is_lower;
        if (starts_word || !character.is_alphabetic()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphabetic() {
            word.extend(character.to_lowercase());
        }
        previous_is_lower = character.is_lowercase();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn contains(line: &[String], phrase: &[String]) -> bool {
    // Most words differ in their length already, which costs nothing to compare.
    phrase.first().is_some_and(|first| line.contains(first))
        && line.windows(phrase.len()).any(|window| window == phrase)
}

/// Text files of the project whose words are checked: sources, tests, documentation, scripts, pages and rules.
fn tracked_files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_generated = matches!(name.as_str(), "target" | ".git" | "data" | "corpus" | "artifacts");
            if path.is_dir() && !is_generated {
                folders.push(path);
            } else if path.is_file() && is_checked(&name) {
                files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Generated JSON, golden expositions, locked versions and the licence are not prose of this project.
fn is_checked(name: &str) -> bool {
    let has_no_prose = ["Cargo.lock", "LICENSE"].contains(&name);
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !has_no_prose && !["css", "json", "png", "py", "roff", "snap", "svg"].contains(&extension)
}
