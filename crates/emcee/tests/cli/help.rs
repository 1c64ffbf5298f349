//! `--help`, and the commands that read no input.

use std::fs;
use std::process::Command;

use crate::world::{World, run_in_repository, snapshot};

const COMMANDS: [&str; 20] = [
    "validate",
    "explain",
    "render",
    "diff",
    "run",
    "demo",
    "status",
    "catalogue",
    "bind",
    "expose",
    "openapi",
    "export",
    "import",
    "uninstall",
    "crds",
    "schemas",
    "manifests",
    "certs",
    "completions",
    "man",
];

#[test]
fn help_texts_match_the_snapshots() {
    snapshot!("help", run_in_repository(["--help"]));
    for command in COMMANDS {
        snapshot!(format!("help-{command}"), run_in_repository([command, "--help"]));
    }
}

#[test]
fn every_command_is_listed_here_and_its_help_has_an_example() {
    let help = run_in_repository(["--help"]).expect_success();
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let (list, _) = list.split_once("\n\n").expect("an end of the list");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, [&COMMANDS[..], &["help"]].concat());
    for command in COMMANDS {
        let help = run_in_repository([command, "--help"]).expect_success();
        assert!(help.contains(&format!("  emcee {command}")), "no example in {help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_with_a_hint() {
    for (name, args) in [
        ("no-command", ""),
        ("unknown-command", "rendr -f mesh.yaml"),
        ("no-file", "render"),
        ("unknown-option", "render --secret -f mesh.yaml"),
        ("unknown-format", "render -f mesh.yaml -o yml"),
        ("bad-interval", "run --dir a --out b --interval 0"),
        ("folder-and-cluster", "run --dir a --out b --context m1"),
        ("diff-against-what", "diff"),
        ("diff-against-both", "diff -f mesh.yaml --against out --cluster"),
        ("uninstall-what", "uninstall"),
        ("uninstall-whom", "uninstall --relationship blue"),
        ("bind-what", "bind"),
        ("bind-whom", "bind blue/m2/reviews"),
        ("bind-one-or-all", "bind blue/m2/default/reviews --catalogue all.json"),
        ("expose-what", "expose default/reviews --to blue"),
        ("expose-to-whom", "expose default/reviews:9080"),
        ("catalogue-from", "catalogue --from 203.0.113.12:15443"),
        ("catalogue-both", "catalogue -f mesh.yaml --cluster"),
        ("catalogue-admin", "catalogue --admin https://127.0.0.1:15000"),
        ("import-where", "import bundle.yaml --relationship blue --peer m2 -f mesh.yaml"),
        ("bad-namespace", "render -f mesh.yaml --gateway-namespaces Istio_System"),
    ] {
        let ran = World::new().run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args}");
        snapshot!(format!("usage-{name}"), ran);
    }
}

/// The error is about the kubeconfig, not about the flags.
#[test]
fn flags_that_select_the_cluster_can_be_combined() {
    for args in [
        "status -n shop",
        "diff -f mesh.yaml --cluster",
        "uninstall --all --dry-run",
        "run --namespace emcee --probe-address 127.0.0.1:1 --admin-address 127.0.0.1:2",
    ] {
        let ran =
            World::with_mesh(crate::world::FLAT).run(&format!("{args} --kubeconfig nowhere --context m1"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args}");
        assert_eq!(ran.stderr, "emcee: the kubeconfig nowhere does not exist\n", "{args}");
    }
}

#[test]
fn a_missing_cluster_is_reported_once_in_one_line() {
    let world = World::with_mesh("");
    let mut command = world.command("status");
    for variable in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(variable);
    }
    let output = command.env("HOME", world.path("home")).output().expect("the program runs");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(message.starts_with("emcee: no cluster: ") && message.contains("--kubeconfig"), "{message}");
    assert_eq!((message.lines().count(), message.contains("os error")), (1, false), "{message}");
}

#[test]
fn crds_are_three_documents() {
    let ran = run_in_repository(["crds"]);
    assert_eq!(ran.stderr, "");
    let crds = ran.expect_success();
    let names: Vec<_> = crds.lines().filter_map(|line| line.strip_prefix("  name: ")).collect();
    let names_expected =
        ["meshfedconfigs", "serviceexpositions", "servicebindings"].map(|n| format!("{n}.mm.ibm.istio.io"));
    assert_eq!(names, names_expected);
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run_in_repository(["completions", shell]).expect_success();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    snapshot!("completions-unknown", run_in_repository(["completions", "tcsh"]));
}

#[test]
fn bash_accepts_its_completions() {
    let script = run_in_repository(["completions", "bash"]).expect_success();
    let Ok(bash) = Command::new("bash").args(["-n", "-c", &script]).output() else {
        return; // bash is not installed.
    };
    assert!(bash.status.success(), "{}", String::from_utf8_lossy(&bash.stderr));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    assert!(run_in_repository(["man"]).expect_success().contains(".TH emcee 1"));
    let world = World::new().with_file("man1/emcee.1", "an older one");
    assert_eq!(world.run("man -o man1").expect_success(), "");
    let entries = fs::read_dir(world.path("man1")).expect("a new folder");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let mut expected: Vec<_> = COMMANDS.iter().map(|command| format!("emcee-{command}.1")).collect();
    expected.push("emcee.1".to_owned());
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn man_creates_its_folder() {
    assert_eq!(World::new().run("man -o share/man1").expect_success(), "");
}

#[test]
fn render_reads_the_secrets_that_certs_creates() {
    let world = World::with_mesh(crate::world::BLUE);
    let args = "certs --relationship blue --mesh m1=m1.blue.example -o made";
    let output = world.run(args).expect_success();
    assert!(output.contains("ca.key") && output.contains("m1.blue.example"), "{output}");
    let ran = world.run("render -f mesh.yaml made/m1.yaml");
    assert_eq!(ran.stderr, "");
    assert!(ran.expect_success().contains("kind: Deployment"));
    let again = world.run(args).expect_success();
    assert!(!again.contains("new"), "nothing is created again: {again}");
}
