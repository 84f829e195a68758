//! Runbooks: sections, queries, and the names that they mention.

use std::path::Path;

use crate::support::rules::{FILES, KnownSeries, alerts, assert_exist, names, read, runbooks};

const SECTIONS: [&str; 7] = [
    "Meaning",
    "Impact",
    "How to confirm",
    "Diagnosis",
    "Mitigation",
    "False alarms",
    "How to silence safely",
];

/// The queries of a runbook.
fn queries(runbook: &str) -> Vec<&str> {
    let blocks = runbook.split("\n```promql\n").skip(1);
    blocks.map(|rest| rest.split_once("\n```\n").expect("a block that ends").0).collect()
}

#[test]
fn alerts_and_runbooks_correspond() {
    assert_eq!(names("runbooks", "md"), alerts().into_keys().collect());
}

#[test]
fn runbooks_have_every_section_and_valid_queries() {
    let series = KnownSeries::with(&FILES);
    for (name, text) in runbooks() {
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{name}");
        for section in text.split("\n## ").skip(1) {
            let words = section.split_whitespace().count();
            assert!(words > 12, "{name}: too few words under {:?}", section.lines().next());
        }
        assert!(!text.contains("TODO"), "{name}");
        let queries = queries(&text);
        assert!(!queries.is_empty(), "{name} has no query");
        for query in queries {
            assert_exist(&name, query, &series);
        }
    }
}

/// The words of a text that look like metrics of the exporter.
fn words_like_metrics(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(move |c| !is_part(c)).map(|word| word.trim_end_matches(':'));
    // The name of the image has a version: `mde_exporter:0.1.0`.
    let is_program = |word: &str| word.split(':').next() == Some("mde_exporter");
    words.filter(move |word| word.contains("mde_") && !word.ends_with('_') && !is_program(word))
}

#[test]
fn runbooks_name_existing_metrics_and_alerts() {
    let series = KnownSeries::with(&FILES);
    let alerts = alerts();
    let pages = names("../docs", "md").into_iter().map(|name| format!("../docs/{name}.md"));
    let pages = pages
        .chain(["README.md".to_owned(), "../README.md".to_owned()])
        .map(|path| (path.clone(), read(&path)));
    for (name, text) in runbooks().into_iter().chain(pages) {
        for word in words_like_metrics(&text) {
            assert!(series.labels(word).is_some(), "{name}: no metric {word}");
        }
        for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.starts_with("Mde")) {
            assert!(alerts.contains_key(word), "{name}: no alert {word}");
        }
    }
}

#[test]
fn log_messages_in_runbooks_exist_in_the_code() {
    fn collect(folder: &Path, code: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, code);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut code = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    // A literal may continue on the next line after a backslash.
    let code = spaced(&code.replace("\\\n", " "));
    let mut messages = 0;
    for (name, text) in runbooks() {
        let text = spaced(&text);
        for message in text.split("message=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(code.contains(message), "{name}: the code does not log `{message}`");
            messages += 1;
        }
    }
    assert!(messages > 10, "only {messages} log messages");
}
