//! Checks the dependencies between the crates: which crates each crate may use, and which libraries it must not depend
//! on.
//!
//! The test runs `cargo tree` for one crate at a time. `cargo metadata` resolves features for the whole workspace, and
//! would show `kube-client` as a dependency of the core because the binary enables it.

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

/// The dependencies in the architecture, from `emcee-api` up to `emcee`.
const TABLE: &[CrateRules] = &[
    CrateRules { name: "emcee-api", may_use: &[], never: IO },
    CrateRules { name: "emcee-core", may_use: &["emcee-api"], never: IO },
    CrateRules { name: "emcee-discovery", may_use: &["emcee-api", "emcee-core"], never: &["kube-client"] },
    CrateRules { name: "emcee-controller", may_use: &["emcee-api", "emcee-core"], never: &["tonic"] },
    CrateRules {
        name: "emcee",
        may_use: &["emcee-api", "emcee-core", "emcee-controller", "emcee-discovery"],
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
