//! Who may use whom. A stage that reaches past its neighbours fails here, not in review.

use std::path::{Path, PathBuf};

/// The modules that each module may name beside itself.
const ALLOWED: [(&str, &[&str]); 18] = [
    ("main", &["app", "cli", "error", "self_metrics", "logging"]),
    (
        "daemon",
        &[
            "cli",
            "clock",
            "config",
            "defender",
            "error",
            "file_watch",
            "fleet",
            "metrics",
            "model",
            "poll",
            "publish",
            "self_metrics",
            "store",
            "web",
        ],
    ),
    ("web", &["clock", "config", "file_watch", "fleet", "metrics", "model", "publish", "self_metrics"]),
    ("poll", &["clock", "config", "defender", "error", "fleet", "model", "publish", "self_metrics"]),
    ("check", &["clock", "config", "defender", "error", "fleet", "model", "poll", "self_metrics"]),
    ("publish", &["clock", "fleet", "metrics", "model", "self_metrics", "store"]),
    ("store", &["clock", "error", "fleet", "model", "self_metrics"]),
    ("metrics", &["clock", "config", "fleet", "model"]),
    ("defender", &["clock", "config", "fleet", "model", "self_metrics"]),
    ("fleet", &["clock", "model"]),
    ("config", &["clock", "model"]),
    ("self_metrics", &["clock", "model"]),
    ("logging", &["clock", "model"]),
    ("cli", &["logging", "model"]),
    ("error", &[]),
    ("file_watch", &[]),
    ("clock", &[]),
    ("model", &[]),
];

/// Those that know every part: the map, and the one place that builds the whole.
const UNBOUND: [&str; 2] = ["lib", "app"];

#[test]
fn modules_use_only_what_is_allowed() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if !UNBOUND.contains(&module) {
            let used = forbidden(module, &std::fs::read_to_string(&file).unwrap());
            problems.extend(used.iter().map(|used| format!("src/{}: {used}", inside.display())));
        }
    }
    assert!(problems.is_empty(), "not in the table of allowed modules:\n{}", problems.join("\n"));
}

#[test]
fn a_forbidden_use_is_seen_in_every_form() {
    let nothing: [&str; 0] = [];
    assert_eq!(forbidden("clock", "use crate::fleet::Fleet;"), ["fleet"]);
    assert_eq!(forbidden("clock", "fn f(x: &crate::fleet::Fleet) {}"), ["fleet"]);
    assert_eq!(forbidden("poll", "use crate::{clock::Clock, fleet::{self, Os},\n    web};"), ["web"]);
    assert_eq!(forbidden("clock", "use super::super::fleet;"), ["super::super"]);
    assert_eq!(forbidden("main", "use mde_exporter::{app, web::x};"), ["web"]);
    assert_eq!(forbidden("unknown", "use crate::unknown::x;"), ["unknown is not in the table"]);
    assert_eq!(forbidden("clock", "/// See crate::fleet.\nuse crate::clock::x;"), nothing);
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::fleet;\n}\n#[cfg(test)]\nmod more;\n";
    assert_eq!(forbidden("clock", tests), nothing);
    assert_eq!(forbidden("clock", &format!("{tests}use crate::web;")), ["web"]);
}

/// The compiler keeps the simulator apart from the exporter, as long as its crate does not depend on it.
#[test]
fn the_simulator_does_not_depend_on_the_exporter() {
    let manifest = include_str!("../../crates/simulator/Cargo.toml");
    assert!(manifest.contains("name = \"mde-simulator\""));
    assert!(!manifest.contains("mde-exporter"), "crates/simulator/Cargo.toml names the exporter");
}

/// What `text`, a file of `module`, names and may not.
fn forbidden(module: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{module} is not in the table")];
    };
    let code = without_tests(text);
    let mentions = ["crate::", "mde_exporter::"].into_iter().flat_map(|root| code.split(root).skip(1));
    let mut names: Vec<_> = mentions.flat_map(named).filter(|name| name != module).collect();
    names.retain(|name| !allowed.contains(&name.as_str()));
    names.extend(code.contains("super::super::").then(|| "super::super".to_owned()));
    names
}

/// The lines without comments, and without items of tests.
fn without_tests(text: &str) -> String {
    let mut in_test = false;
    let kept = text.lines().filter(|line| {
        in_test |= line.starts_with("#[cfg(test)]");
        let kept = !in_test && !line.trim_start().starts_with("//");
        let ends_item = *line == "}" || (line.ends_with(';') && !line.starts_with(' '));
        in_test &= !ends_item;
        kept
    });
    kept.collect()
}

/// The modules that the text after `crate::` names: one, or those of a group in braces.
fn named(path: &str) -> Vec<String> {
    let identifier = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let (mut names, mut depth) = (Vec::new(), 0);
    for piece in group.split_inclusive(['{', '}', ',']) {
        if depth == 0 {
            names.push(identifier(piece.trim_start()));
        }
        depth += i32::from(piece.ends_with('{')) - i32::from(piece.ends_with('}'));
        if depth < 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
