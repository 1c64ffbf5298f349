//! Checks the dependencies between the crates: which crates each crate may use, and which libraries it must not depend
//! on. Inside the controller and discovery, it checks the dependencies between the modules.
//!
//! The test runs `cargo tree` for one crate at a time. `cargo metadata` resolves features for the whole workspace, and
//! would show `kube-client` as a dependency of the core because the binary enables it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The allowed dependencies of a crate in the workspace.
struct CrateRules {
    name: &'static str,
    /// Crates of the workspace that it may use.
    may_use: &'static [&'static str],
    /// Crates that must not be direct or transitive dependencies.
    never: &'static [&'static str],
}

const IO: &[&str] = &["tokio", "hyper", "kube-client", "tonic", "reqwest"];

/// The dependencies in the architecture, from the leaves up to `emcee`.
const TABLE: &[CrateRules] = &[
    CrateRules { name: "emcee-yaml", may_use: &[], never: IO },
    CrateRules { name: "emcee-api", may_use: &[], never: IO },
    CrateRules { name: "emcee-core", may_use: &["emcee-api"], never: IO },
    CrateRules {
        name: "emcee-discovery",
        may_use: &["emcee-api", "emcee-core"],
        never: &["kube-client", "tonic"],
    },
    CrateRules { name: "emcee-controller", may_use: &["emcee-api", "emcee-core"], never: &["tonic"] },
    CrateRules {
        name: "emcee",
        may_use: &["emcee-api", "emcee-core", "emcee-controller", "emcee-discovery", "emcee-yaml"],
        never: &["emcee-testkit", "emcee-testbed"],
    },
    CrateRules {
        name: "emcee-testkit",
        may_use: &["emcee-api"],
        never: &["emcee-core", "emcee-controller", "emcee-discovery"],
    },
    CrateRules { name: "emcee-testbed", may_use: &["emcee-api", "emcee-testkit"], never: &["emcee-core"] },
    CrateRules { name: "xtask", may_use: &[], never: &["emcee-api"] },
];

/// Additional crates that the tests of every crate may use.
const FOR_TESTS: &[&str] = &["emcee-testkit"];

#[test]
fn every_crate_has_rules() {
    for package in workspace_packages() {
        assert!(
            rules_of(&package.name).is_some(),
            "the crate `{}` is not in TABLE of crates/emcee/tests/crate_walls.rs: add a row with the \
             crates of the workspace that it may use and the libraries that it must not depend on, and a row to \
             the table in CONTRIBUTING.md",
            package.name
        );
    }
}

#[test]
fn crates_use_only_allowed_crates() {
    let workspace = workspace_packages();
    let mut broken = Vec::new();
    for package in &workspace {
        let Some(walls) = rules_of(&package.name) else { continue };
        for (used, for_tests) in &package.dependencies {
            let inside = workspace.iter().any(|other| other.name == *used);
            let allowed =
                walls.may_use.contains(&used.as_str()) || *for_tests && FOR_TESTS.contains(&used.as_str());
            if inside && !allowed {
                broken.push(format!("{} must not use {used} (it may use {:?})", package.name, walls.may_use));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_crate_depends_on_forbidden_libraries() {
    let broken: Vec<_> = workspace_packages()
        .iter()
        .filter_map(|package| rules_of(&package.name))
        .flat_map(|walls| forbidden_paths(walls, &dependency_tree(walls.name)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_forbidden_crate_is_reported_with_its_path() {
    let walls = CrateRules { name: "a", may_use: &[], never: &["tokio", "tonic"] };
    let tree = "0a v0.1.0 (/somewhere/a)\n1b v1.0.0\n2c v1.0.0\n1d v2.0.0\n2tokio v1.50.0\n3mio v1.0.0\n1b v1.0.0 (*)\n";
    assert_eq!(forbidden_paths(&walls, tree), ["a must not depend on tokio: a → d → tokio"]);
}

/// The modules of the controller, from the lowest up. A module may name only modules before it, so that a reader finds
/// what a module depends on above it in this list. `watch` and `reconcile` share types, and neither uses the other.
const CONTROLLER_MODULES: &[&str] = &[
    "api_error",
    "deadline",
    "kinds",
    "mesh_config",
    "options",
    "metrics",
    "fair_queue",
    "lease",
    "discovery_link",
    "health",
    "status_digest",
    "object",
    "convert",
    "model",
    "reconcile",
    "status",
    "events",
    "engine",
    "watch",
    "snapshot",
    "uninstall",
    "run",
];

/// The modules of discovery, from the lowest up.
const DISCOVERY_MODULES: &[&str] = &[
    "deadline",
    "backoff",
    "peer_ref",
    "counters",
    "wire",
    "formats",
    "delta",
    "transport",
    "client",
    "server",
    "mcp",
];

/// The crates whose modules have an order.
const ORDERED_MODULES: [(&str, &[&str]); 2] =
    [("controller", CONTROLLER_MODULES), ("discovery", DISCOVERY_MODULES)];

#[test]
fn modules_use_only_modules_below_them() {
    let mut broken = Vec::new();
    for (package, modules) in ORDERED_MODULES {
        for (place, module) in modules.iter().enumerate() {
            for file in module_files(&source_folder(package), module) {
                let text = std::fs::read_to_string(&file).expect("a Rust file");
                let named = named_modules(&text);
                let above = named.iter().filter(|named| modules[place + 1..].contains(&named.as_str()));
                broken.extend(above.map(|named| {
                    format!("{}: `{module}` must not use `crate::{named}`, which is above it", file.display())
                }));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_of_an_ordered_crate_has_a_place() {
    for (package, modules) in ORDERED_MODULES {
        let files = std::fs::read_dir(source_folder(package)).expect("a folder");
        let found: BTreeSet<String> = files
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .filter(|module| !["lib", "tests"].contains(&module.as_str()))
            .collect();
        let listed: BTreeSet<String> = modules.iter().map(|module| (*module).to_owned()).collect();
        assert_eq!(
            found, listed,
            "{package}: a list in crates/emcee/tests/crate_walls.rs has each module once"
        );
    }
}

fn source_folder(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{package}/src"))
}

#[test]
fn modules_are_found_in_paths_and_in_groups() {
    let text = "use crate::object::ObjectId;\nuse crate::{kinds::{A, b}, watch::c, Controller};\nfn f() { crate::run::g() }";
    let found: Vec<_> = named_modules(text).into_iter().collect();
    assert_eq!(found, ["kinds", "object", "run", "watch"]);
}

/// Returns the file of a module and all files of its folder.
fn module_files(source: &Path, module: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![source.join(module)], vec![source.join(format!("{module}.rs"))]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Returns the modules of its crate that a file names: `crate::module::…` and `crate::{module::…, module}`.
fn named_modules(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let mut depth = 0_usize;
        let mut word = String::new();
        let mut is_path_start = true;
        for character in rest.chars() {
            match character {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => word.push(character),
                _ => {
                    // Only the first word of a path names a module of the crate.
                    let is_module = word.starts_with(|first: char| first.is_ascii_lowercase());
                    if is_path_start && is_module && depth <= 1 {
                        found.insert(word.clone());
                    }
                    is_path_start &= word.is_empty();
                    word.clear();
                    match character {
                        '{' => depth += 1,
                        '}' => depth = depth.saturating_sub(1),
                        ',' => is_path_start = depth == 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    found
}

struct WorkspacePackage {
    name: String,
    /// Each dependency, and whether it is a dev dependency.
    dependencies: Vec<(String, bool)>,
}

fn rules_of(name: &str) -> Option<&'static CrateRules> {
    TABLE.iter().find(|walls| walls.name == name)
}

/// Returns the packages of the workspace with the dependencies in their manifests.
fn workspace_packages() -> Vec<WorkspacePackage> {
    let json = run_cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&json).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(read_package).collect()
}

fn read_package(json: &Value) -> WorkspacePackage {
    let name = |json: &Value| json["name"].as_str().expect("a name").to_owned();
    let dependencies = json["dependencies"].as_array().expect("a list of dependencies");
    let uses = dependencies.iter().map(|used| (name(used), used["kind"] == "dev"));
    WorkspacePackage { name: name(json), dependencies: uses.collect() }
}

/// Returns everything that is linked into the crate, with the depth before each name. Repeated subtrees are omitted, so
/// each crate has at least one path.
fn dependency_tree(package: &str) -> String {
    run_cargo(&[
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "depth",
    ])
}

fn forbidden_paths(walls: &CrateRules, tree: &str) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in tree.lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).expect("a name after the depth");
        let (depth, rest) = line.split_at(digits);
        way.truncate(depth.parse().expect("a depth before the name"));
        let name = rest.split(' ').next().expect("at least one part");
        way.push(name);
        if walls.never.contains(&name) && !rest.ends_with("(*)") {
            found.push(format!("{} must not depend on {name}: {}", walls.name, way.join(" → ")));
        }
    }
    found
}

fn run_cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {} failed:\n{errors}", args.join(" "));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}
