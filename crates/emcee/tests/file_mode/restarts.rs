//! After a kill at any moment, the next start converges, and changes nothing without need.

use crate::process::{FLAT, TestFolders, binding, facade_path};

#[test]
fn a_restart_rewrites_no_file() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/bad.yaml", binding("bad").replace("endpoints", "subset: v1 # endpoints"));
    let mut program = folders.start();
    program.wait_for("created VirtualService");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
    folders.wait_for("out/status/flat/MeshFedConfig-flat.yaml", "Accepted");
    program.kill();
    let before = folders.files();
    assert!(before.values().any(|(text, _)| text.contains("lastTransitionTime")));
    assert_eq!(folders.run_once(), "");
    assert_eq!(folders.files(), before, "contents, transition times and modification times");
}

/// Kills the program after each of its lines in turn.
#[test]
fn it_converges_after_a_kill_at_any_line() {
    let expected = TestFolders::with_reviews();
    expected.write_file("in/ratings.yaml", binding("ratings"));
    expected.run_once();
    let expected = expected.objects();
    let folders = TestFolders::with_reviews();
    folders.write_file("in/ratings.yaml", binding("ratings"));
    for line in 1..=expected.len() {
        std::fs::remove_dir_all(folders.path("out")).or_else(ignore_not_found).expect("a removed folder");
        let mut program = folders.start();
        (0..line).for_each(|_| drop(program.wait_for("created ")));
        program.kill();
        folders.run_once();
        assert_eq!(folders.objects(), expected, "killed after line {line}");
    }
}

fn ignore_not_found(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Resources that were removed while Emcee was not running are removed at the next start.
#[test]
fn a_restart_processes_missed_changes() {
    let folders = TestFolders::with_reviews();
    folders.start().wait_for("created VirtualService");
    folders.remove_file("in/reviews.yaml");
    folders.write_file("in/ratings.yaml", binding("ratings"));
    let output = folders.run_once();
    assert!(
        output.contains("removed Service default/reviews")
            && output.contains("created Service default/ratings"),
        "{output}"
    );
}

#[test]
fn a_restart_with_an_invalid_resource_keeps_its_objects() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    folders.write_file("in/reviews.yaml", binding("reviews").replace("9080", "70000"));
    folders.run("run --dir in --out out --once");
    assert!(folders.exists(&facade_path("reviews")));
}

#[test]
fn a_restart_with_an_invalid_file_removes_nothing() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    folders.write_file("in/flat.yaml", FLAT.replace("{mode: FLAT}", "{mode: FLAT"));
    folders.run("run --dir in --out out --once");
    assert!(folders.exists(&facade_path("reviews")));
}

/// An invalid resource keeps its own objects, but not those of others.
#[test]
fn a_restart_with_an_invalid_resource_removes_objects_of_deleted_ones() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/ratings.yaml", binding("ratings"));
    folders.run_once();
    folders.write_file("in/ratings.yaml", binding("ratings").replace("9080", "70000"));
    folders.remove_file("in/reviews.yaml");
    let output = folders.run("run --dir in --out out --once");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("removed DestinationRule default/emcee-reviews-"), "{stdout}");
    assert!(!stdout.contains("ratings"), "{stdout}");
    assert!(!folders.exists("out/status/default/ServiceBinding-reviews.yaml"));
    assert!(
        folders.exists(&facade_path("ratings"))
            && folders.exists("out/status/default/ServiceBinding-ratings.yaml")
    );
    assert!(folders.exists(&facade_path("reviews")), "an unreadable binding may share it");
}

/// The exposition that Emcee created from a Service is in no input folder.
#[test]
fn a_restart_with_an_invalid_service_keeps_its_exposition() {
    let folders = TestFolders::new();
    folders.write_file(
        "in/flat.yaml",
        FLAT.replace("mode: FLAT", "mode: PASSTHROUGH, use_ingress_gateway: true"),
    );
    let service = "apiVersion: v1\nkind: Service\n\
                   metadata: {name: front, namespace: default, labels: {emcee.io/expose: flat}}\n\
                   spec: {selector: {app: front}, ports: [{name: http, port: 80}]}\n";
    folders.write_file("in/front.yaml", service);
    folders.run_once();
    let before = folders.objects();
    folders.write_file("in/front.yaml", service.replace("80", "0"));
    let output = folders.run("run --dir in --out out --once");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
    assert_eq!(folders.objects(), before);
}
