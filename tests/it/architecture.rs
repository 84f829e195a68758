//! Module dependencies: the stages that each module may import, and the absence of import cycles.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::source::{Module, Package};

/// The modules that each module of the exporter may import, in addition to itself. `lib` declares all of them, and
/// `app` builds the commands from them.
const ALLOWED: [(&str, &[&str]); 25] = [
    ("main", &["app", "cli", "error", "logging", "self_metrics"]),
    (
        "daemon",
        &[
            "cli",
            "clock",
            "config",
            "defender",
            "error",
            "file_watch",
            "facts",
            "fleet",
            "http",
            "metrics",
            "model",
            "poll",
            "publish",
            "self_metrics",
            "store",
            "web",
        ],
    ),
    (
        "web",
        &[
            "clock",
            "config",
            "exposition",
            "facts",
            "file_watch",
            "fleet",
            "metrics",
            "model",
            "publish",
            "report",
            "self_metrics",
            "text",
        ],
    ),
    (
        "check",
        &["clock", "config", "defender", "error", "facts", "fleet", "http", "model", "poll", "self_metrics"],
    ),
    ("poll", &["clock", "config", "defender", "error", "facts", "fleet", "model", "publish", "self_metrics"]),
    ("publish", &["clock", "exposition", "facts", "fleet", "metrics", "model", "self_metrics", "store"]),
    ("report", &["facts", "fleet", "model", "text"]),
    ("store", &["clock", "error", "fleet", "group_access", "model", "self_metrics"]),
    ("defender", &["clock", "config", "file_kind", "fleet", "http", "model", "self_metrics", "text"]),
    ("metrics", &["clock", "config", "exposition", "facts", "fleet", "model"]),
    ("self_metrics", &["clock", "exposition", "model"]),
    (
        "facts",
        &["clock", "config", "error", "file_watch", "group_access", "http", "model", "self_metrics", "text"],
    ),
    ("http", &["config", "file_kind", "text"]),
    ("fleet", &["clock", "facts", "model", "text"]),
    ("config", &["clock", "file_kind", "model", "text"]),
    ("logging", &["clock", "model"]),
    ("cli", &["logging", "model"]),
    ("exposition", &["model"]),
    ("error", &[]),
    ("file_kind", &[]),
    ("file_watch", &[]),
    ("group_access", &[]),
    ("clock", &[]),
    ("model", &[]),
    ("text", &[]),
];

#[test]
fn modules_import_only_the_stages_that_are_allowed() {
    let packages = Package::all();
    let exporter = packages.iter().find(|package| package.name == "mde_exporter").unwrap();
    let mut problems = BTreeSet::new();
    for module in &exporter.modules {
        let Some(stage) = module.path.first().filter(|stage| *stage != "app") else { continue };
        let problem = |imported| format!("{} imports {imported}", module.path.join("::"));
        problems.extend(forbidden_imports(stage, module).into_iter().map(problem));
    }
    assert!(problems.is_empty(), "not in the table of allowed imports: {problems:#?}");
}

#[test]
fn every_module_is_in_the_table() {
    let packages = Package::all();
    let stages: BTreeSet<_> =
        packages[0].modules.iter().filter_map(|module| module.path.first()).map(String::as_str).collect();
    let table: BTreeSet<_> = ALLOWED.iter().map(|(stage, _)| *stage).chain(["app"]).collect();
    assert_eq!(stages, table);
}

#[test]
fn import_graph_has_no_cycles() {
    let cycles: Vec<_> = Package::all().iter().flat_map(cycles).collect();
    assert!(cycles.is_empty(), "modules that import each other: {cycles:#?}");
}

/// The compiler already refuses an import of the exporter by the simulator; the manifest must not allow it.
#[test]
fn simulator_does_not_depend_on_the_exporter() {
    let manifest = include_str!("../../crates/simulator/Cargo.toml");
    assert!(
        !manifest.contains("mde-exporter"),
        "the simulator is written from the API's documentation alone"
    );
}

#[test]
fn forbidden_imports_are_found_in_every_form() {
    let nothing: [&str; 0] = [];
    let found = |stage: &str, text: &str| {
        forbidden_imports(stage, &Module::parse("mde_exporter", vec![stage.to_owned()], text))
    };
    assert_eq!(found("config", "use crate::fleet::Machine;"), ["fleet"]);
    assert_eq!(found("config", "fn f(x: &crate::fleet::Machine) {}"), ["fleet"]);
    assert_eq!(found("config", "use super::fleet;"), ["fleet"]);
    assert_eq!(found("config", "fn f() { print!(\"{}\", crate::web::NAME) }"), ["web"]);
    assert_eq!(found("poll", "use crate::{clock::Clock, fleet::{self, Machine},\n    web};"), ["web"]);
    assert_eq!(found("main", "use mde_exporter::{app, web::x};"), ["web"]);
    assert_eq!(found("config", "/// See crate::fleet.\nuse crate::config::x;"), nothing);
    assert_eq!(found("config", "#[cfg(test)]\nmod tests {\n    use crate::fleet;\n}"), nothing);
    assert_eq!(found("config", "#[cfg(test)]\nuse crate::fleet;\nuse crate::web;"), ["web"]);
}

#[test]
fn cycles_are_found_through_folders_and_reexports() {
    let module = |path: &[&str], text: &str| {
        Module::parse("p", path.iter().map(|&part| part.to_owned()).collect(), text)
    };
    let package = |modules| Package { name: "p", modules };
    let found = package(vec![module(&["a"], "use crate::b::X;"), module(&["b"], "use crate::a::Y;")]);
    assert_eq!(cycles(&found), ["a, b"]);
    let reexported = package(vec![
        module(&["s"], "mod a;\nmod b;\npub use a::X;"),
        module(&["s", "a"], "use super::b::Y;"),
        module(&["s", "b"], "use super::X;"),
    ]);
    assert_eq!(cycles(&reexported), ["s::a, s::b"]);
    let acyclic = package(vec![
        module(&["s"], "mod a;\nmod b;\npub struct Z;"),
        module(&["s", "a"], "use super::b::Y;"),
        module(&["s", "b"], "use super::Z;"),
    ]);
    assert!(cycles(&acyclic).is_empty());
}

/// The stages that `module`, a file of `stage`, imports and may not.
fn forbidden_imports(stage: &str, module: &Module) -> Vec<String> {
    let allowed = ALLOWED.iter().find(|(name, _)| *name == stage).map_or(&[][..], |(_, allowed)| allowed);
    let imported: BTreeSet<&String> = module.uses.iter().filter_map(|path| path.first()).collect();
    let is_forbidden = |name: &&&String| **name != stage && !allowed.contains(&name.as_str());
    imported.iter().filter(is_forbidden).map(|name| (*name).clone()).collect()
}

/// The groups of modules in one folder that import each other. A folder counts as one module of its parent,
/// and its `mod.rs` is no module of it: definitions there are shared by all, re-exports belong to the module
/// that they come from.
fn cycles(package: &Package) -> Vec<String> {
    let by_path: BTreeMap<&[String], &Module> =
        package.modules.iter().map(|module| (module.path.as_slice(), module)).collect();
    let mut imports: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for module in &package.modules {
        for used in module.uses.iter().map(|path| definition(path, &by_path)) {
            let Some((&target, _)) = by_path.get_key_value(enclosing(&used, &by_path)) else { continue };
            let shared = target.iter().zip(&module.path).take_while(|(a, b)| a == b).count();
            // One of the two is the `mod.rs` of a folder above the other.
            if shared < target.len() && shared < module.path.len() {
                imports.entry(&module.path[..=shared]).or_default().insert(&target[..=shared]);
            }
        }
    }
    let reaches = |from: &[String], to: &[String]| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for &import in imports.get(next).into_iter().flatten() {
                if seen.insert(import) {
                    open.push(import);
                }
            }
        }
        seen.contains(to)
    };
    let mut groups = BTreeSet::new();
    for &module in imports.keys().filter(|module| reaches(module, module)) {
        let is_in_cycle = |other: &&&[String]| reaches(module, other) && reaches(other, module);
        let group: Vec<_> = imports.keys().filter(is_in_cycle).map(|path| path.join("::")).collect();
        groups.insert(group.join(", "));
    }
    groups.into_iter().collect()
}

/// The path at which what `path` names is defined: re-exports are followed.
fn definition(path: &[String], modules: &BTreeMap<&[String], &Module>) -> Vec<String> {
    let mut path = path.to_vec();
    // A chain of re-exports is short; the bound ends one that leads back to itself.
    for _ in 0..8 {
        let module = enclosing(&path, modules);
        let reexported = modules.get(module).zip(path.get(module.len()));
        let Some(target) = reexported.and_then(|(module, name)| module.reexports.get(name)) else { break };
        path = [target.as_slice(), &path[module.len() + 1..]].concat();
    }
    path
}

/// The module that `path` leads to or into.
fn enclosing<'a>(path: &'a [String], modules: &BTreeMap<&[String], &Module>) -> &'a [String] {
    let longest = (0..=path.len()).rev().find(|&length| modules.contains_key(&path[..length]));
    &path[..longest.unwrap_or(0)]
}
