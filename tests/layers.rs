//! The layer rule: imports point down only.
//!
//! Sources are parsed, so that grouped imports, `super::super`, re-exports, paths in expressions and
//! paths inside macros are all seen.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

/// Modules from the top down. A module imports modules of lower rows only.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["lab", "export", "check"],
    &["app"],
    // Composed from each component's own settings; only what is above reads the whole.
    &["settings"],
    &["drill", "pages"],
    &["scenario", "traffic"],
    &["admin"],
    &["services"],
    &["client", "store", "ingress"],
    &["faults", "web"],
    &["clock"],
];

/// What the core may not use: I/O, tasks, metrics, logging, the wall clock.
const FORBIDDEN_IN_CORE: &[&str] = &[
    "prometheus",
    "tracing",
    "log",
    "reqwest",
    "axum",
    "hyper",
    "opentelemetry",
    "tokio::spawn",
    "tokio::net",
    "tokio::fs",
    "tokio::task",
    "std::net",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread::spawn",
    "std::time::SystemTime",
    "SystemTime",
    "println",
    "eprintln",
    "print",
    "eprint",
];

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for file in sources(Path::new("src")) {
        let module = module_of(&file);
        let Some(own) = module.first().cloned() else { continue };
        for path in paths(&fs::read_to_string(&file).unwrap(), module) {
            if let Some(why) = violation(&own, &path) {
                wrong.push(format!("{}: {why}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_layer() {
    let root = syn::parse_file(&fs::read_to_string("src/lib.rs").unwrap()).unwrap();
    for item in root.items {
        let syn::Item::Mod(module) = item else { panic!("lib.rs holds modules and nothing else") };
        let name = module.ident.to_string();
        assert!(rank(&name).is_some(), "src/{name} is in no layer");
    }
}

#[test]
fn no_source_is_moved_by_an_attribute() {
    for file in sources(Path::new("src")) {
        assert!(!fs::read_to_string(&file).unwrap().contains("#[path"), "{}", file.display());
    }
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    // The adapter of a client, behind its feature, is about that client.
    let pure = |file: &&PathBuf| !file.ends_with("tests.rs") && !file.ends_with("src/reqwest.rs");
    for file in sources(Path::new("crates/resilience/src")).iter().filter(pure) {
        for path in paths(&production_code(&fs::read_to_string(file).unwrap()), Vec::new()) {
            wrong.extend(impurity(&path).map(|word| format!("{}: {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A shutdown waits for tasks that `TaskTracker` or `JoinSet` knows of, and for no other.
#[test]
fn the_program_spawns_no_untracked_task() {
    let mut wrong = Vec::new();
    for file in sources(Path::new("src")).iter().filter(|file| !file.ends_with("tests.rs")) {
        for path in paths(&production_code(&fs::read_to_string(file).unwrap()), module_of(file)) {
            let Named::Other(path) = path else { continue };
            if matches!(path.join("::").as_str(), "tokio::spawn" | "tokio::task::spawn") {
                wrong.push(format!("{}: spawn it on the application's TaskTracker", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tests and experiments pause Tokio's clock. What reads another one does not stop with it.
#[test]
fn what_runs_in_virtual_time_reads_tokio_s_clock() {
    for folder in ["client", "services", "store", "faults", "web", "traffic", "scenario"] {
        for file in sources(&Path::new("src").join(folder)) {
            let code = production_code(&fs::read_to_string(&file).unwrap());
            for path in paths(&code, module_of(&file)) {
                let Named::Other(path) = path else { continue };
                let path = path.join("::");
                // The core takes instants of std: handing one over is a matter of types.
                let handed_over = file.ends_with("client/mod.rs") && path == "std::time::Instant";
                let read = path.starts_with("std::time::Instant") && !handed_over;
                assert!(!read, "{}: {path}; use tokio::time::Instant", file.display());
            }
        }
    }
}

/// The model checker replaces atomics and locks through `sync.rs`; what comes from std it does not see.
#[test]
fn the_core_s_locks_come_from_its_own_module() {
    for file in sources(Path::new("crates/resilience/src/breaker")).iter().filter(|file| !file.ends_with("tests.rs")) {
        for path in paths(&production_code(&fs::read_to_string(file).unwrap()), Vec::new()) {
            let Named::Other(path) = path else { continue };
            let path = path.join("::");
            let own = !path.starts_with("std::sync::")
                || ["Arc", "OnceLock"].iter().any(|fine| path == format!("std::sync::{fine}"));
            assert!(own, "{}: {path}; use crate::sync", file.display());
        }
    }
}

/// Facts reach telemetry typed: a label that is a text is looked up, and misspelt ones are lost. A route
/// is the router's own text.
#[test]
fn telemetry_takes_labels_as_enums() {
    const TEXTS: &[&str] = &["served"];
    let mut texts = BTreeSet::new();
    for file in sources(Path::new("crates/telemetry/src")) {
        let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
        for item in &parsed.items {
            let syn::Item::Impl(block) = item else { continue };
            for item in &block.items {
                let syn::ImplItem::Fn(method) = item else { continue };
                let public = matches!(method.vis, syn::Visibility::Public(_)) && method.sig.receiver().is_some();
                if public && method.sig.inputs.iter().any(is_text) {
                    texts.insert(method.sig.ident.to_string());
                }
            }
        }
    }
    let handles = ["rate_limiter", "faults", "traffic"].map(str::to_owned);
    texts.retain(|name| !handles.contains(name));
    assert_eq!(texts, TEXTS.iter().map(|name| (*name).to_owned()).collect());
}

/// Whether an argument is a `&str`.
fn is_text(argument: &syn::FnArg) -> bool {
    let syn::FnArg::Typed(argument) = argument else { return false };
    let syn::Type::Reference(reference) = &*argument.ty else { return false };
    matches!(&*reference.elem, syn::Type::Path(path) if path.path.is_ident("str"))
}

/// Telemetry is a leaf: its log is bounded and lossy, made for people.
#[test]
fn business_logic_reads_nothing_back_from_telemetry() {
    for folder in ["src/services", "src/store", "src/web", "src/faults", "src/scenario", "src/traffic"] {
        for file in sources(Path::new(folder)).into_iter().filter(|file| !file.ends_with("tests.rs")) {
            let code = production_code(&fs::read_to_string(&file).unwrap());
            for path in paths(&code, module_of(&file)) {
                let Named::Other(path) = path else { continue };
                let log = path.iter().any(|part| part == "TransitionLog" || part == "TransitionRecord");
                assert!(!log, "{}: {}", file.display(), path.join("::"));
            }
        }
    }
}

#[test]
fn services_and_core_name_no_metric() {
    let names: BTreeSet<_> = breakerbox_telemetry::names::ALL.iter().map(|family| family.name).collect();
    for folder in ["src/services", "crates/resilience/src", "src/client", "src/store", "src/web", "src/faults"] {
        for file in sources(Path::new(folder)) {
            let named = texts(&fs::read_to_string(&file).unwrap()).into_iter().find(|text| names.contains(&**text));
            assert_eq!(named, None, "{}", file.display());
        }
    }
}

/// Each line is an import that a check of single lines misses.
#[test]
fn no_import_hides_from_the_rule() {
    for hidden in [
        "use crate::admin::Peers;",
        "use crate::{faults, admin::Peers};",
        "use crate::{\n    client::Client,\n    admin::{Admin, Peers},\n};",
        "use super::super::admin::Peers;",
        "use super::super::{admin, client};",
        "use super::super::super::services::admin;\nuse super::super::admin as other;",
        "pub use crate::{admin as other};",
        "fn f() -> super::super::admin::Peers { todo!() }",
        "fn f() { let _ = crate::admin::Peers::new(); }",
        "fn f() { assert_eq!(1, crate::admin::count()); }",
        "fn f() { assert_eq!(1, super::super::admin::count()); }",
        "mod inner { use super::super::super::admin::Peers; }",
        "use breakerbox::admin::Peers;",
        "use crate::*;",
        "use crate as root;",
        "use super::super::*;",
        "extern crate self as root;",
        "use crate::NotAModule;",
    ] {
        let module = vec!["services".to_owned(), "checkout".to_owned()];
        let found: Vec<_> = paths(hidden, module).iter().filter_map(|path| violation("services", path)).collect();
        assert!(!found.is_empty(), "{hidden}");
    }
}

#[test]
fn imports_that_point_down_pass() {
    for fine in [
        "use crate::client::Client;",
        "use crate::{faults, client::{self, Client}};",
        "use super::wire::Film;",
        "use super::super::faults;",
        "pub(in crate::admin) fn f() {}",
        "mod tests { use super::*; }",
        "use std::collections::BTreeMap;",
    ] {
        let module = vec!["services".to_owned(), "checkout".to_owned()];
        let found: Vec<_> = paths(fine, module).iter().filter_map(|path| violation("services", path)).collect();
        assert!(found.is_empty(), "{fine}: {found:?}");
    }
}

#[test]
fn no_impurity_hides_in_the_core() {
    for hidden in [
        "use std::{fs, sync::Arc};",
        "use tokio::{sync::Notify, task};",
        "fn f() { tokio::spawn(async {}); }",
        "fn f() { println!(\"x\"); }",
        "use std::time::{Duration, SystemTime};",
        "use tokio as t;",
    ] {
        assert!(paths(hidden, Vec::new()).iter().any(|path| impurity(path).is_some()), "{hidden}");
    }
}

/// A path of a source, with where it starts.
#[derive(Clone, Debug, PartialEq)]
enum Named {
    /// From the root of this crate; empty for the root itself.
    Ours(Vec<String>),
    /// Anything else, as it is written.
    Other(Vec<String>),
    /// A crate under another name.
    Renamed(String),
}

fn violation(own: &str, path: &Named) -> Option<String> {
    let path = match path {
        Named::Ours(path) => path,
        Named::Renamed(name) if name == "self" => return Some("this crate gets a second name".to_owned()),
        Named::Renamed(_) | Named::Other(_) => return None,
    };
    let other = path.first().map_or("*", String::as_str);
    (!may_import(own, other)).then(|| format!("`{own}` imports `{other}`"))
}

fn impurity(path: &Named) -> Option<String> {
    match path {
        Named::Renamed(name) => Some(format!("{name} gets another name")),
        Named::Ours(_) => None,
        Named::Other(path) => {
            let path = path.join("::");
            // What an error means can be said without making one.
            if path == "std::io::Error" || path.starts_with("std::io::ErrorKind") {
                return None;
            }
            let found = FORBIDDEN_IN_CORE
                .iter()
                .find(|word| path.strip_prefix(**word).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
            found.map(|word| (*word).to_owned())
        }
    }
}

fn may_import(own: &str, other: &str) -> bool {
    own == other || matches!((rank(own), rank(other)), (Some(own), Some(other)) if own < other)
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module path of a file; empty for `lib.rs` and `main.rs`, which see everything.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").unwrap().with_extension("");
    let mut path: Vec<_> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// Every path that a source names. `module` is where the source is.
fn paths(source: &str, module: Vec<String>) -> Vec<Named> {
    let file = syn::parse_file(source).unwrap();
    let mut collector = Collector { module, found: Vec::new() };
    collector.visit_file(&file);
    collector.found
}

struct Collector {
    module: Vec<String>,
    found: Vec<Named>,
}

impl Collector {
    /// Takes a path in, resolved as far as it says where it starts.
    fn take(&mut self, path: &[String]) {
        let mut from = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate" | "breakerbox") => (from, rest) = (Vec::new(), &path[1..]),
            Some("self" | "super") => {
                while let Some(first @ ("self" | "super")) = rest.first().map(String::as_str) {
                    if first == "super" {
                        from.pop();
                    }
                    rest = &rest[1..];
                }
            }
            _ => return self.found.push(Named::Other(path.to_vec())),
        }
        from.extend(rest.iter().filter(|part| *part != "*").cloned());
        self.found.push(Named::Ours(from));
    }

    fn take_tree(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.take_tree(&path.tree, before);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, before.clone());
                }
            }
            syn::UseTree::Name(name) => {
                if name.ident != "self" || before.is_empty() {
                    before.push(name.ident.to_string());
                }
                self.take(&before);
            }
            syn::UseTree::Rename(rename) => {
                let root = before.is_empty() && rename.ident != "crate";
                if rename.ident != "self" || before.is_empty() {
                    before.push(rename.ident.to_string());
                }
                if root {
                    self.found.push(Named::Renamed(rename.ident.to_string()));
                }
                self.take(&before);
            }
            syn::UseTree::Glob(_) => {
                before.push("*".to_owned());
                self.take(&before);
            }
        }
    }

    /// Paths in what a macro is given: `a :: b :: c`, wherever it stands.
    fn take_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.take_tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident.to_string()];
                    while colon(at + 1) && colon(at + 2) {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                        path.push(next.to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.take(&path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl Visit<'_> for Collector {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.take_tree(&item.tree, Vec::new());
    }

    fn visit_item_extern_crate(&mut self, item: &syn::ItemExternCrate) {
        if item.rename.is_some() {
            self.found.push(Named::Renamed(item.ident.to_string()));
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    /// Says who may see something, and imports nothing.
    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A lone name was imported or is local.
        if parts.len() > 1 {
            self.take(&parts);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &syn::Macro) {
        let parts: Vec<_> = mac.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&parts);
        self.take_tokens(mac.tokens.clone());
    }
}

/// A source without its `#[cfg(test)]` modules, which may start tasks.
fn production_code(source: &str) -> String {
    let mut file = syn::parse_file(source).unwrap();
    file.items.retain(|item| !matches!(item, syn::Item::Mod(module) if module.ident == "tests"));
    quote::quote!(#file).to_string()
}

/// Every string literal of a source, wherever it stands.
fn texts(source: &str) -> Vec<String> {
    fn walk(tokens: TokenStream, found: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => walk(group.stream(), found),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into()) {
                        found.push(text.value());
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(source.parse().unwrap(), &mut found);
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
