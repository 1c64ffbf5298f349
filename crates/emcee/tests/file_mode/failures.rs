//! Invalid, unreadable or contradictory inputs keep their last good version, and are reported once.

use std::fs;

use emcee_testkit::prelude::valid_pair;

use crate::process::{FLAT, RunningEmcee, TestFolders, binding, facade_path};

fn running_program() -> (TestFolders, RunningEmcee) {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService default/emcee-reviews-");
    (folders, program)
}

#[track_caller]
fn assert_nothing_removed(program: &mut RunningEmcee) {
    assert_eq!(program.count_lines("removed "), 0, "{:#?}", program.output);
}

#[test]
fn an_invalid_resource_keeps_its_objects() {
    let (folders, mut program) = running_program();
    let before = folders.read_file(&facade_path("reviews"));
    folders.write_file("in/reviews.yaml", binding("reviews").replace("9080", "70000"));
    let refusal = program.wait_for("in/reviews.yaml:6: ");
    assert_eq!(
        refusal,
        "in/reviews.yaml:6: ServiceBinding default/reviews: spec.port: 70000 is not a port (1 to 65535)"
    );
    program.wait_for("kept: ServiceBinding default/reviews: its last good version stays in place");
    let status = folders
        .wait_for("out/status/default/ServiceBinding-reviews.yaml", "last good version stays in place");
    let accepted =
        status.split("- ").find(|condition| condition.contains("type: Accepted")).expect("Accepted");
    assert!(accepted.contains("status: \"False\"") && accepted.contains("70000 is not a port"), "{status}");
    program.wait_until_processed(&folders, "ratings");
    assert_nothing_removed(&mut program);
    assert_eq!(folders.read_file(&facade_path("reviews")), before);
    assert_eq!(
        (program.count_lines("70000"), program.count_lines("kept: ")),
        (1, 1),
        "{:#?}",
        program.output
    );
    folders.write_file("in/reviews.yaml", binding("reviews").replace("9080", "7000"));
    program.wait_for("changed VirtualService default/emcee-reviews-");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
}

/// The objects of an invalid relationship and of its bindings stay too.
#[test]
fn an_invalid_relationship_keeps_everything() {
    let (folders, mut program) = running_program();
    folders.write_file("in/flat.yaml", FLAT.replace("FLAT", "FLATTISH"));
    program.wait_for("Unknown Mode \"FLATTISH\"");
    program.wait_for("kept: MeshFedConfig flat/flat");
    program.wait_until_processed(&folders, "ratings");
    assert_nothing_removed(&mut program);
}

#[test]
fn a_resource_that_never_was_valid_is_refused_and_affects_no_other() {
    let (folders, mut program) = running_program();
    folders.write_file("in/bad.yaml", binding("bad").replace("9080", "0"));
    program.wait_for("in/bad.yaml:6: ServiceBinding default/bad: spec.port: 0 is not a port");
    folders.wait_for("out/status/default/ServiceBinding-bad.yaml", "0 is not a port");
    program.wait_until_processed(&folders, "ratings");
    assert_eq!(program.count_lines("kept: "), 0, "{:#?}", program.output);
    assert!(!folders.exists(&facade_path("bad")));
}

#[test]
fn a_file_that_is_no_longer_yaml_keeps_its_objects() {
    let (folders, mut program) = running_program();
    folders.write_file("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    folders.write_file("in/several.yaml", "kind: ServiceBinding\n\tspec: {\n");
    program.wait_for("in/several.yaml:");
    program.wait_until_processed(&folders, "marker");
    assert_nothing_removed(&mut program);
    assert!(folders.exists(&facade_path("ratings")) && folders.exists(&facade_path("details")));
    folders.write_file("in/several.yaml", binding("details"));
    program.wait_for("removed DestinationRule default/emcee-ratings-");
    assert!(folders.exists(&facade_path("details")));
}

/// A part of the file is invalid. Resources in that part may still exist.
#[test]
fn a_file_with_an_invalid_document_keeps_the_others() {
    let (folders, mut program) = running_program();
    folders.write_file("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    folders.write_file(
        "in/several.yaml",
        [binding("ratings").replace("9080", "9081"), "a: b: c\n".into()].join("---\n"),
    );
    program.wait_for("changed VirtualService default/emcee-ratings-");
    program.wait_until_processed(&folders, "marker");
    assert_nothing_removed(&mut program);
    assert!(folders.exists(&facade_path("details")));
}

#[test]
fn an_emptied_file_removes_its_objects() {
    let (folders, mut program) = running_program();
    folders.write_file("in/reviews.yaml", "");
    // The rule of the facade goes first, that of the binding last.
    program.wait_for("removed DestinationRule default/emcee-reviews-");
    program.wait_for("removed DestinationRule default/emcee-reviews-");
    assert!(folders.objects().is_empty());
}

#[test]
fn a_missing_folder_keeps_everything() {
    let (folders, mut program) = running_program();
    let before = folders.objects();
    fs::rename(folders.path("in"), folders.path("moved")).expect("a rename");
    let message = program.wait_for("cannot be read");
    assert!(message.ends_with("all that was read before stays in place"), "{message}");
    fs::rename(folders.path("moved"), folders.path("in")).expect("a rename");
    program.wait_until_processed(&folders, "ratings");
    assert_nothing_removed(&mut program);
    let after = folders.objects();
    assert!(before.iter().all(|(path, text)| after.get(path) == Some(text)));
}

/// Emcee cannot know which of the two applies.
#[test]
fn a_duplicate_resource_keeps_the_last_good_version() {
    let (folders, mut program) = running_program();
    folders.write_file("in/again.yaml", binding("reviews").replace("9080", "9081"));
    program.wait_for("ServiceBinding default/reviews: metadata.name: is given twice");
    program.wait_until_processed(&folders, "ratings");
    assert_nothing_removed(&mut program);
    assert!(folders.read_file(&facade_path("reviews")).contains("port: 9080"));
    folders.remove_file("in/reviews.yaml");
    program.wait_for("changed VirtualService default/emcee-reviews-");
    assert!(folders.read_file(&facade_path("reviews")).contains("port: 9081"));
}

/// A rotation replaces the Secret, and the copy of Emcee follows.
#[test]
fn a_replaced_secret_is_followed() {
    let folders = TestFolders::new();
    folders.write_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.start();
    program.wait_for("created Secret blue/");
    program.wait_for("created Service blue/");
    folders.write_blue(&valid_pair("m1.blue.example"));
    program.wait_for("changed Secret blue/");
    assert_nothing_removed(&mut program);
}

#[test]
fn an_invalid_new_secret_keeps_everything() {
    let folders = TestFolders::with_reviews();
    folders.write_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.start();
    program.wait_for("created Service blue/");
    folders.write_blue(&valid_pair("m1.blue.example").with_wrong_key());
    program.wait_until_processed(&folders, "marker");
    assert_nothing_removed(&mut program);
    assert!(program.count_lines("data.tls.key") > 0, "{:#?}", program.output);
}

#[test]
fn unusable_folders_are_exit_code_2() {
    let folders = TestFolders::with_reviews();
    folders.write_file("taken", "by a file");
    for (args, words) in [
        ("run --dir nowhere --out out", "emcee: nowhere is not a folder (--dir)\n"),
        ("run --dir in/flat.yaml --out out", "emcee: in/flat.yaml is not a folder (--dir)\n"),
        ("run --dir in --out in/out", "in/out lies in in, and would be read as input (choose another --out)"),
        ("run --dir in --out in", "in lies in in, and would be read as input"),
        ("run --dir in --out in/flat.yaml", "in/flat.yaml lies in in, and would be read as input"),
        ("run --dir in --out taken", "taken cannot be created: "),
    ] {
        let output = folders.run(args);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args}: {message}");
        assert!(message.contains(words), "{args}: {message}");
    }
    assert_eq!(folders.read_file("in/flat.yaml"), FLAT);
}

#[test]
fn a_refused_output_folder_is_not_created() {
    let folders = TestFolders::with_reviews();
    folders.run("run --dir in --out in/out");
    assert!(!folders.exists("in/out"));
}

#[test]
fn once_reports_refusals_with_its_exit_code() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/reviews.yaml", binding("reviews").replace("9080", "0"));
    assert_eq!(folders.run("run --dir in --out out --once").status.code(), Some(1));
}

/// A refused name is not used in a path.
#[test]
fn no_name_escapes_the_output_folder() {
    let folders = TestFolders::with_reviews();
    let bad = binding("bad").replace("namespace: default", "namespace: '../../escaped'");
    folders.write_file("in/bad.yaml", bad);
    folders.write_file(
        "in/worse.yaml",
        binding("worse").replace("name: worse, namespace", "name: a/../../b, namespace"),
    );
    assert_eq!(folders.run("run --dir in --out out --once").status.code(), Some(1));
    assert!(!folders.exists("escaped") && !folders.exists("b") && !folders.exists("out/escaped"));
    assert!(folders.exists(&facade_path("reviews")));
}

/// Only the removal of files of an earlier run waits until all inputs are valid.
#[test]
fn a_removal_takes_effect_despite_other_invalid_files() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/bad.yaml", "{");
    let mut program = folders.start();
    program.wait_for("created VirtualService default/emcee-reviews-");
    folders.remove_file("in/reviews.yaml");
    program.wait_for("removed Service default/reviews");
}

#[test]
fn an_invalid_relationship_with_an_invalid_secret_keeps_everything() {
    let folders = TestFolders::with_reviews();
    folders.write_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.start();
    program.wait_for("created Service blue/");
    folders.write_file("in/blue.yaml", "{");
    program.wait_for("in/blue.yaml");
    folders.write_blue(&valid_pair("m1.blue.example").with_wrong_key());
    folders.write_file("in/blue.yaml", "{");
    program.wait_until_processed(&folders, "marker");
    assert_nothing_removed(&mut program);
}

/// Refusals because of other objects are reported too.
#[test]
fn a_conflict_is_reported_with_exit_code_1() {
    let folders = TestFolders::with_reviews();
    folders.write_file(
        "in/rival.yaml",
        binding("rival").replace("  name: rival", "  name: rival\n  alias: reviews"),
    );
    let output = folders.run("run --dir in --out out --once");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("not generated: ServiceBinding default/rival: spec.port: the older"),
        "{message}"
    );
}
