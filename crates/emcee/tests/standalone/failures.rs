//! Invalid, unreadable or contradictory inputs keep their last good version, and are reported once.

use std::fs;

use emcee_testkit::prelude::valid_pair;

use crate::process::{FLAT, Folders, Following, binding, facade};

fn started() -> (Folders, Following) {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService default/emcee-reviews-");
    (folders, program)
}

#[track_caller]
fn nothing_is_removed(program: &mut Following) {
    assert_eq!(program.times("removed "), 0, "{:#?}", program.said);
}

#[test]
fn an_invalid_resource_keeps_its_objects() {
    let (folders, mut program) = started();
    let before = folders.read(&facade("reviews"));
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "70000"));
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
    program.settle(&folders, "ratings");
    nothing_is_removed(&mut program);
    assert_eq!(folders.read(&facade("reviews")), before);
    assert_eq!((program.times("70000"), program.times("kept: ")), (1, 1), "{:#?}", program.said);
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "7000"));
    program.wait_for("changed VirtualService default/emcee-reviews-");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
}

/// The objects of an invalid relationship and of its bindings stay too.
#[test]
fn an_invalid_relationship_keeps_everything() {
    let (folders, mut program) = started();
    folders.put("in/flat.yaml", FLAT.replace("FLAT", "FLATTISH"));
    program.wait_for("Unknown Mode \"FLATTISH\"");
    program.wait_for("kept: MeshFedConfig flat/flat");
    program.settle(&folders, "ratings");
    nothing_is_removed(&mut program);
}

#[test]
fn one_that_never_was_valid_is_refused_and_hinders_nobody() {
    let (folders, mut program) = started();
    folders.put("in/bad.yaml", binding("bad").replace("9080", "0"));
    program.wait_for("in/bad.yaml:6: ServiceBinding default/bad: spec.port: 0 is not a port");
    folders.wait_for("out/status/default/ServiceBinding-bad.yaml", "0 is not a port");
    program.settle(&folders, "ratings");
    assert_eq!(program.times("kept: "), 0, "{:#?}", program.said);
    assert!(!folders.has(&facade("bad")));
}

#[test]
fn a_file_that_is_no_longer_yaml_keeps_all_that_it_had() {
    let (folders, mut program) = started();
    folders.put("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    folders.put("in/several.yaml", "kind: ServiceBinding\n\tspec: {\n");
    program.wait_for("in/several.yaml:");
    program.settle(&folders, "marker");
    nothing_is_removed(&mut program);
    assert!(folders.has(&facade("ratings")) && folders.has(&facade("details")));
    folders.put("in/several.yaml", binding("details"));
    program.wait_for("removed DestinationRule default/emcee-ratings-");
    assert!(folders.has(&facade("details")));
}

/// A part of the file is invalid. Resources in that part may still exist.
#[test]
fn a_file_that_is_broken_in_one_document_keeps_the_others() {
    let (folders, mut program) = started();
    folders.put("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    folders.put(
        "in/several.yaml",
        [binding("ratings").replace("9080", "9081"), "a: b: c\n".into()].join("---\n"),
    );
    program.wait_for("changed VirtualService default/emcee-ratings-");
    program.settle(&folders, "marker");
    nothing_is_removed(&mut program);
    assert!(folders.has(&facade("details")));
}

#[test]
fn a_file_that_is_emptied_takes_its_objects_with_it() {
    let (folders, mut program) = started();
    folders.put("in/reviews.yaml", "");
    program.wait_for("removed DestinationRule default/emcee-reviews-");
    assert!(folders.objects().is_empty());
}

#[test]
fn a_folder_that_is_gone_keeps_everything() {
    let (folders, mut program) = started();
    let before = folders.objects();
    fs::rename(folders.path("in"), folders.path("moved")).expect("a rename");
    let message = program.wait_for("cannot be read");
    assert!(message.ends_with("all that was read before stays in place"), "{message}");
    fs::rename(folders.path("moved"), folders.path("in")).expect("a rename");
    program.settle(&folders, "ratings");
    nothing_is_removed(&mut program);
    let after = folders.objects();
    assert!(before.iter().all(|(path, text)| after.get(path) == Some(text)));
}

/// Emcee cannot know which of the two applies.
#[test]
fn the_same_resource_in_two_files_keeps_the_good_one() {
    let (folders, mut program) = started();
    folders.put("in/again.yaml", binding("reviews").replace("9080", "9081"));
    program.wait_for("ServiceBinding default/reviews: metadata.name: is given twice");
    program.settle(&folders, "ratings");
    nothing_is_removed(&mut program);
    assert!(folders.read(&facade("reviews")).contains("port: 9080"));
    folders.remove("in/reviews.yaml");
    program.wait_for("changed VirtualService default/emcee-reviews-");
    assert!(folders.read(&facade("reviews")).contains("port: 9081"));
}

/// A rotation replaces the Secret, and the copy of Emcee follows.
#[test]
fn a_secret_that_is_replaced_is_followed() {
    let folders = Folders::new();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.follow();
    program.wait_for("created Secret blue/");
    program.wait_for("created Service blue/");
    folders.put_blue(&valid_pair("m1.blue.example"));
    program.wait_for("changed Secret blue/");
    nothing_is_removed(&mut program);
}

#[test]
fn a_secret_that_is_replaced_by_a_broken_one_keeps_everything() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.follow();
    program.wait_for("created Service blue/");
    folders.put_blue(&valid_pair("m1.blue.example").with_wrong_key());
    program.settle(&folders, "marker");
    nothing_is_removed(&mut program);
    assert!(program.times("data.tls.key") > 0, "{:#?}", program.said);
}

#[test]
fn what_cannot_be_followed_is_exit_code_2() {
    let folders = Folders::with_reviews();
    folders.put("taken", "by a file");
    for (args, words) in [
        ("run --dir nowhere --out out", "emcee: nowhere is not a folder (--dir)\n"),
        ("run --dir in/flat.yaml --out out", "emcee: in/flat.yaml is not a folder (--dir)\n"),
        ("run --dir in --out in/out", "in/out lies in in, and would be read as input (choose another --out)"),
        ("run --dir in --out in", "in lies in in, and would be read as input"),
        ("run --dir in --out in/flat.yaml", "in/flat.yaml lies in in, and would be read as input"),
        ("run --dir in --out taken", "taken cannot be created: "),
    ] {
        let output = folders.emcee(args);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args}: {message}");
        assert!(message.contains(words), "{args}: {message}");
    }
    assert_eq!(folders.read("in/flat.yaml"), FLAT);
}

#[test]
fn a_refused_out_is_not_made() {
    let folders = Folders::with_reviews();
    folders.emcee("run --dir in --out in/out");
    assert!(!folders.has("in/out"));
}

#[test]
fn once_tells_of_refusals_by_its_exit_code() {
    let folders = Folders::with_reviews();
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "0"));
    assert_eq!(folders.emcee("run --dir in --out out --once").status.code(), Some(1));
}

/// A refused name is not used in a path.
#[test]
fn no_name_leads_out_of_out() {
    let folders = Folders::with_reviews();
    let bad = binding("bad").replace("namespace: default", "namespace: '../../escaped'");
    folders.put("in/bad.yaml", bad);
    folders.put(
        "in/worse.yaml",
        binding("worse").replace("name: worse, namespace", "name: a/../../b, namespace"),
    );
    assert_eq!(folders.emcee("run --dir in --out out --once").status.code(), Some(1));
    assert!(!folders.has("escaped") && !folders.has("b") && !folders.has("out/escaped"));
    assert!(folders.has(&facade("reviews")));
}

/// Only the removal of files of an earlier run waits until all inputs are valid.
#[test]
fn a_withdrawal_takes_effect_whatever_else_is_broken() {
    let folders = Folders::with_reviews();
    folders.put("in/bad.yaml", "{");
    let mut program = folders.follow();
    program.wait_for("created VirtualService default/emcee-reviews-");
    folders.remove("in/reviews.yaml");
    program.wait_for("removed Service default/reviews");
}

#[test]
fn a_relationship_and_then_its_secret_become_invalid() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.follow();
    program.wait_for("created Service blue/");
    folders.put("in/blue.yaml", "{");
    program.wait_for("in/blue.yaml");
    folders.put_blue(&valid_pair("m1.blue.example").with_wrong_key());
    folders.put("in/blue.yaml", "{");
    program.settle(&folders, "marker");
    nothing_is_removed(&mut program);
}

/// Refusals because of other objects are reported too.
#[test]
fn a_conflict_is_said_and_is_exit_code_1() {
    let folders = Folders::with_reviews();
    folders
        .put("in/rival.yaml", binding("rival").replace("  name: rival", "  name: rival\n  alias: reviews"));
    let output = folders.emcee("run --dir in --out out --once");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("not generated: ServiceBinding default/rival: spec.port: the older"),
        "{message}"
    );
}
