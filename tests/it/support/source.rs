//! The source code of the workspace, parsed: its modules, the types they define and the paths they use.
//!
//! Code of unit tests (`#[cfg(test)]`, and files called `tests`) is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The packages whose source is checked, with the folder of their crate root.
pub(crate) const PACKAGES: [(&str, &str); 3] =
    [("mde_exporter", "src"), ("mde_simulator", "crates/simulator/src"), ("xtask", "xtask/src")];

/// A source file.
#[derive(Debug)]
pub(crate) struct Module {
    /// Path from the crate root, as `["poll", "discover"]`; empty for `lib.rs`, `["main"]` for `main.rs`.
    pub(crate) path: Vec<String>,
    /// Paths in the code that begin at the crate root, each resolved to segments without `crate`.
    pub(crate) uses: BTreeSet<Vec<String>>,
    /// Names of the types and traits that the file defines.
    pub(crate) types: Vec<String>,
    /// Names that the file re-exports with `pub use`, each with the path that it stands for.
    pub(crate) reexports: BTreeMap<String, Vec<String>>,
}

/// The source files of a package.
#[derive(Debug)]
pub(crate) struct Package {
    /// Name of the library, as in `mde_exporter::poll`.
    pub(crate) name: &'static str,
    /// All modules but those of unit tests.
    pub(crate) modules: Vec<Module>,
}

impl Package {
    /// Every package of [`PACKAGES`], parsed.
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        PACKAGES.iter().map(|&(name, folder)| Self::read(name, &root.join(folder))).collect()
    }

    fn read(name: &'static str, folder: &Path) -> Self {
        let module = |file: PathBuf| {
            let text = std::fs::read_to_string(&file).unwrap();
            Module::parse(name, module_path(file.strip_prefix(folder).unwrap()), &text)
        };
        let modules: Vec<_> = source_files(folder).into_iter().map(module).collect();
        assert!(!modules.is_empty(), "no source of {name} in {}", folder.display());
        Self { name, modules }
    }
}

impl Module {
    /// The module at `path` of the library `package`.
    pub(crate) fn parse(package: &str, path: Vec<String>, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.join("::")));
        let mut reader = Reader {
            package,
            module: Self { path, uses: BTreeSet::new(), types: Vec::new(), reexports: BTreeMap::new() },
        };
        reader.visit_file(&file);
        reader.module
    }
}

/// `poll/discover.rs` and `poll/discover/mod.rs` are `["poll", "discover"]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

struct Reader<'a> {
    package: &'a str,
    module: Module,
}

impl Reader<'_> {
    /// Notes `segments` when they begin at the crate root, at this module or at one above it.
    fn note(&mut self, segments: &[String]) {
        if let Some(path) = self.resolve(segments) {
            self.module.uses.insert(path);
        }
    }

    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, mut rest) = segments.split_first()?;
        let mut path = self.module.path.clone();
        match first.as_str() {
            "crate" => path.clear(),
            name if name == self.package => path.clear(),
            "self" => {}
            "super" => {
                path.pop()?;
                while let [next, behind @ ..] = rest
                    && next == "super"
                {
                    path.pop()?;
                    rest = behind;
                }
            }
            _ => return None,
        }
        path.extend(rest.iter().cloned());
        Some(path)
    }

    fn note_tree(&mut self, before: &[String], tree: &UseTree, public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree, public),
            UseTree::Name(name) if name.ident == "self" => self.note(before),
            UseTree::Name(name) => self.note_use(&with(&name.ident), &name.ident, public),
            UseTree::Rename(rename) => self.note_use(&with(&rename.ident), &rename.rename, public),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(before, tree, public));
            }
        }
    }

    fn note_use(&mut self, segments: &[String], name: &syn::Ident, public: bool) {
        self.note(segments);
        if public {
            // `pub use child::Name` names a child module without `self`.
            let path = self.resolve(segments).unwrap_or_else(|| [&self.module.path[..], segments].concat());
            self.module.reexports.insert(name.to_string(), path);
        }
    }

    /// Paths in the arguments of macros, which are not parsed.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    self.note(&path);
                    path = vec![ident.to_string()];
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            self.note(&path);
            path.clear();
            colons = 0;
        }
        self.note(&path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_test) {
            return;
        }
        match item {
            Item::Struct(item) => self.module.types.push(item.ident.to_string()),
            Item::Enum(item) => self.module.types.push(item.ident.to_string()),
            Item::Union(item) => self.module.types.push(item.ident.to_string()),
            Item::Trait(item) => self.module.types.push(item.ident.to_string()),
            Item::Type(item) => self.module.types.push(item.ident.to_string()),
            Item::Use(item) => {
                self.note_tree(&[], &item.tree, !matches!(item.vis, syn::Visibility::Inherited));
            }
            Item::Mod(item) if item.content.is_some() => {
                self.module.path.push(item.ident.to_string());
                visit::visit_item_mod(self, item);
                self.module.path.pop();
                return;
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.note_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

fn is_test(attribute: &Attribute) -> bool {
    let is_cfg_test = |attribute: &Attribute| {
        attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    };
    attribute.path().is_ident("cfg") && is_cfg_test(attribute)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
