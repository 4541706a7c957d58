//! The layer rule: modules import only from lower layers.
//!
//! Sources are parsed, so grouped imports, `super::super`, re-exports, paths in expressions and paths inside macros are
//! all found.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;

/// Modules from top to bottom. A module imports only modules of lower rows.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["lab", "export", "check"],
    &["app"],
    // Composed of each component's own settings; only higher layers read the whole.
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
    // The adapter for one client library, behind its feature, has to use that library.
    let pure = |file: &&PathBuf| !file.ends_with("tests.rs") && !file.ends_with("src/reqwest.rs");
    for file in sources(Path::new("crates/resilience/src")).iter().filter(pure) {
        for path in paths(&production_code(&fs::read_to_string(file).unwrap()), Vec::new()) {
            wrong.extend(impurity(&path).map(|word| format!("{}: {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A graceful shutdown waits only for tasks in a `TaskTracker` or a `JoinSet`.
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

/// Tests and experiments pause Tokio's clock. Code that reads another clock would not be paused.
#[test]
fn what_runs_in_virtual_time_reads_tokio_s_clock() {
    for folder in ["client", "services", "store", "faults", "web", "traffic", "scenario"] {
        for file in sources(&Path::new("src").join(folder)) {
            let code = production_code(&fs::read_to_string(&file).unwrap());
            for path in paths(&code, module_of(&file)) {
                let Named::Other(path) = path else { continue };
                let path = path.join("::");
                // The core takes instants of std; this is a conversion of types.
                let handed_over = file.ends_with("client/mod.rs") && path == "std::time::Instant";
                let read = path.starts_with("std::time::Instant") && !handed_over;
                assert!(!read, "{}: {path}; use tokio::time::Instant", file.display());
            }
        }
    }
}

/// The model checker replaces the atomics and locks of `sync.rs`; it cannot see those that come directly from std.
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

/// Telemetry takes label values as enums: a string could be misspelt, and its series would not exist. Strings are
/// allowed only for names from the settings, for a request's method and route, which the router knows, and for
/// arguments that are not labels.
#[test]
fn telemetry_takes_labels_as_enums() {
    const TEXTS: &[&str] = &[
        "service",
        "breaker",
        "bulkhead",
        "queue",
        "target",
        "method",
        "route",
        "routes",
        "out",
        "dependency",
        "step",
        "steps",
        "running",
        "version",
        "accept",
        "service_name",
        "shown",
        "wanted",
    ];
    for file in sources(Path::new("crates/telemetry/src")) {
        for function in functions(&fs::read_to_string(&file).unwrap()).iter().filter(|function| function.public) {
            let label = function.texts.iter().find(|argument| !TEXTS.contains(&argument.as_str()));
            assert_eq!(label, None, "{}: {}", file.display(), function.name);
        }
    }
}

/// Arguments in one crate's sources that look like labels passed as strings.
fn label_texts(source: &str) -> Vec<String> {
    const LABELS: &[&str] = &["state", "from", "to", "reason", "outcome", "kind", "slo", "status", "action"];
    let found = functions(&production_code(source)).into_iter().filter_map(|function| {
        let label = function.texts.iter().find(|argument| LABELS.contains(&argument.as_str()))?;
        Some(format!("{}({label})", function.name))
    });
    found.collect()
}

/// Label values are strings only inside the telemetry crate, except for names of the topology and of routes (service,
/// breaker, target, route), which are text everywhere. The list holds arguments of the same names that are not labels:
/// columns of a database, entries in an order's history, values in a file or of another program.
#[test]
fn no_function_takes_a_label_as_text() {
    const NO_LABELS: &[&str] = &[
        "crates/serverless/src/bin/checkout-api.rs: respond(kind)",
        "crates/serverless/src/steps.rs: outcome(status)",
        "src/client/span.rs: fail(kind)",
        "src/drill/plan/catalog/by_hand.rs: cannot(reason)",
        "src/pages/assets.rs: new(kind)",
        "src/scenario/library.rs: plan(kind)",
        "src/services/checkout/saga.rs: step(outcome)",
        "src/services/checkout/shared.rs: record(state)",
        "src/store/inventory.rs: add(state)",
        "src/store/ledger.rs: take_key(state)",
        "src/store/outbox.rs: note(outcome)",
    ];
    let mut found = Vec::new();
    for file in
        ["src", "crates/resilience/src", "crates/serverless/src"].iter().flat_map(|root| sources(Path::new(root)))
    {
        if !file.ends_with("tests.rs") {
            let labels = label_texts(&fs::read_to_string(&file).unwrap());
            found.extend(labels.into_iter().map(|label| format!("{}: {label}", file.display())));
        }
    }
    found.sort();
    assert_eq!(found, NO_LABELS);
}

/// Metric families and their children are created in the telemetry crate only, and read through it.
#[test]
fn only_telemetry_uses_the_metrics_library() {
    const READERS: &[&str] = &[
        // A module of the same name.
        "src/lab/mod.rs: prometheus::ask_prometheus",
    ];
    let mut found = BTreeSet::new();
    for root in ["src", "crates/resilience/src", "crates/serverless/src", "xtask/src"] {
        for file in sources(Path::new(root)).into_iter().filter(|file| !file.ends_with("tests.rs")) {
            let code = production_code(&fs::read_to_string(&file).unwrap());
            assert!(!code.contains("with_label_values"), "{}", file.display());
            let module = if root == "src" { module_of(&file) } else { Vec::new() };
            for path in paths(&code, module) {
                let Named::Other(path) = path else { continue };
                if path.first().is_some_and(|first| first == "prometheus") {
                    found.insert(format!("{}: {}", file.display(), path.join("::")));
                }
            }
        }
    }
    assert_eq!(found, READERS.iter().map(|reader| (*reader).to_owned()).collect());
}

/// Forms of a label passed as a string, each of which a simpler check would miss.
#[test]
fn no_label_hides_from_the_rule() {
    for hidden in [
        "fn f(outcome: &str) {}",
        "fn f(outcome: &'static str) {}",
        "fn f(mut reason: String) {}",
        "fn f(kind: impl Into<String>) {}",
        "fn f(kind: Option<&str>) {}",
        "fn f([from, to]: [&str; 2]) {}",
        "impl A { pub(crate) async fn f(&self, state: std::borrow::Cow<'_, str>) {} }",
        "trait A { fn f(&self, status: &String); }",
        "mod inner { impl A for B { fn f(&self, action: &str) {} } }",
        "fn outer() { fn f(outcome: &str) {} }",
    ] {
        assert_eq!(label_texts(hidden).len(), 1, "{hidden}");
    }
    assert_eq!(
        label_texts("fn f(outcome: Outcome, name: &str) {} #[cfg(test)] mod tests { fn f(kind: &str) {} }"),
        [""; 0]
    );
}

/// A function's name, whether it is public, and the names of its string arguments.
struct Function {
    name: String,
    public: bool,
    texts: Vec<String>,
}

/// Every function of a source at any depth. Functions of traits count as public.
fn functions(source: &str) -> Vec<Function> {
    #[derive(Default)]
    struct Functions(Vec<Function>);
    impl Functions {
        fn take(&mut self, public: bool, signature: &syn::Signature) {
            let texts = signature.inputs.iter().filter_map(text_argument).flatten().collect();
            self.0.push(Function { name: signature.ident.to_string(), public, texts });
        }
    }
    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            self.take(matches!(function.vis, syn::Visibility::Public(_)), &function.sig);
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.take(matches!(function.vis, syn::Visibility::Public(_)), &function.sig);
            syn::visit::visit_impl_item_fn(self, function);
        }
        fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
            self.take(true, &function.sig);
            syn::visit::visit_trait_item_fn(self, function);
        }
    }
    let mut found = Functions::default();
    found.visit_file(&syn::parse_file(source).unwrap());
    found.0
}

/// The names that an argument binds, if its type contains a string.
fn text_argument(argument: &syn::FnArg) -> Option<Vec<String>> {
    fn words(tokens: TokenStream, found: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => words(group.stream(), found),
                TokenTree::Ident(ident) => found.push(ident.to_string()),
                _ => {}
            }
        }
    }
    let syn::FnArg::Typed(argument) = argument else { return None };
    let (mut names, mut types) = (Vec::new(), Vec::new());
    words(argument.pat.to_token_stream(), &mut names);
    words(argument.ty.to_token_stream(), &mut types);
    // A function or collection of strings is no string.
    let text = types.iter().any(|word| word == "str" || word == "String")
        && !types
            .iter()
            .any(|word| ["Fn", "FnMut", "FnOnce", "HashMap", "BTreeMap", "Result"].contains(&word.as_str()));
    text.then_some(names)
}

/// The walks through the code in `ARCHITECTURE.md` consist of `file`: `function`. An arrow before a function, or before its
/// file, says that a function named before in the walk calls it.
#[test]
fn the_architecture_names_functions_and_their_callers() {
    const MOST_HOPS: usize = 20;
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap().replace('\n', " ");
    let walks: Vec<_> = text.split("## Follow ").skip(1).collect();
    assert_eq!(walks.len(), 5);
    for walk in walks {
        let (mut hops, mut file, mut across) = (0, None, false);
        // Bodies of all functions of the walk, and of the one before.
        let (mut all, mut last) = (String::new(), String::new());
        let pieces: Vec<_> = walk.split('`').collect();
        for (before, code) in pieces.chunks_exact(2).map(|pair| (pair[0].trim(), pair[1])) {
            if Path::new(code).extension().is_some_and(|extension| extension == "rs") {
                file = Some(fs::read_to_string(code).unwrap_or_else(|error| panic!("{code}: {error}")));
                across = before.ends_with('→');
                continue;
            }
            let within = before.ends_with('→');
            if before != ":" && !within {
                continue;
            }
            let bodies = bodies_of(file.as_ref().unwrap_or_else(|| panic!("{code} is in no file")), code);
            assert!(!bodies.is_empty(), "{code} is not where ARCHITECTURE.md says");
            let callers = if within { Some(&last) } else { across.then_some(&all) };
            if let Some(callers) = callers {
                assert!(calls(callers, code), "{code} is not called by the functions before it: {}", &walk[..20]);
            }
            all.push_str(&bodies);
            (last, across) = (bodies, false);
            hops += 1;
        }
        assert!((5..=MOST_HOPS).contains(&hops), "{hops} hops: {}", &walk[..20]);
    }
}

/// Whether one of these bodies calls a function of this name.
fn calls(bodies: &str, name: &str) -> bool {
    let part_of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    bodies.match_indices(name).any(|(at, _)| {
        let after = &bodies[at + name.len()..];
        !bodies[..at].ends_with(part_of_a_name) && (after.starts_with('(') || after.starts_with("::<"))
    })
}

/// The bodies of all functions with this name.
fn bodies_of(source: &str, name: &str) -> String {
    let mut bodies = String::new();
    for next in ["(", "<"] {
        for (at, _) in source.match_indices(&format!("fn {name}{next}")) {
            let (mut depth, mut length) = (0_usize, 0);
            for character in source[at..].chars() {
                length += character.len_utf8();
                match character {
                    '{' => depth += 1,
                    '}' if depth == 1 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
            }
            // Without the name itself, which is no call.
            bodies.push_str(&source[at + "fn ".len() + name.len()..at + length]);
        }
    }
    bodies
}

/// A crate of its own can be moved or published only if no other one reads its files.
#[test]
fn no_crate_includes_files_of_another() {
    for (root, up) in [("src", "../crates/"), ("xtask/src", "../crates/"), ("crates", "../../src/")] {
        for file in sources(Path::new(root)) {
            for text in texts(&fs::read_to_string(&file).unwrap()) {
                let theirs = text.contains(up) && Path::new(&text).extension().is_some_and(|end| end == "rs");
                assert!(!theirs, "{}: {text}", file.display());
            }
        }
    }
}

/// Telemetry is a leaf: its log of transitions is bounded and lossy, and meant for people.
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

/// Forms of an import that a check of single lines would miss.
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

/// A path in a source, by its root.
#[derive(Clone, Debug, PartialEq)]
enum Named {
    /// Relative to the root of this crate; empty for the root itself.
    Ours(Vec<String>),
    /// Any other path, as written.
    Other(Vec<String>),
    /// A crate that is renamed on import.
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
            // Naming an error kind performs no I/O.
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

/// The module path of a file; empty for `lib.rs` and `main.rs`, which may import everything.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").unwrap().with_extension("");
    let mut path: Vec<_> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// Every path in a source that belongs to `module`.
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
    /// Adds a path, resolved against the module if it is relative.
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

    /// Adds the paths in a macro's tokens: `a :: b :: c` at any depth.
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

    /// Restricts visibility and imports nothing.
    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single segment was imported or is local.
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

/// A source without its `#[cfg(test)]` modules, which may spawn tasks.
fn production_code(source: &str) -> String {
    let mut file = syn::parse_file(source).unwrap();
    file.items.retain(|item| !matches!(item, syn::Item::Mod(module) if module.ident == "tests"));
    quote::quote!(#file).to_string()
}

/// Every string literal of a source at any depth.
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
