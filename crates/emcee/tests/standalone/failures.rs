//! What becomes invalid, unreadable or contradictory: the last good version stays, and that is said once.

use std::fs;

use emcee_testkit::prelude::valid_pair;

use crate::process::{FLAT, Folders, Following, binding, facade};

fn started() -> (Folders, Following) {
    let folders = Folders::with_reviews();
    let mut following = folders.follow();
    following.wait_for("created VirtualService default/emcee-reviews-");
    (folders, following)
}

#[track_caller]
fn nothing_is_removed(following: &mut Following) {
    assert_eq!(following.times("removed "), 0, "{:#?}", following.said);
}

#[test]
fn an_invalid_resource_keeps_its_objects() {
    let (folders, mut following) = started();
    let before = folders.read(&facade("reviews"));
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "70000"));
    let refusal = following.wait_for("in/reviews.yaml:6: ");
    assert_eq!(
        refusal,
        "in/reviews.yaml:6: ServiceBinding default/reviews: spec.port: 70000 is not a port (1 to 65535)"
    );
    following.wait_for("kept: ServiceBinding default/reviews: its last good version stays in place");
    let status = folders
        .wait_for("out/status/default/ServiceBinding-reviews.yaml", "last good version stays in place");
    let accepted =
        status.split("- ").find(|condition| condition.contains("type: Accepted")).expect("Accepted");
    assert!(accepted.contains("status: \"False\"") && accepted.contains("70000 is not a port"), "{status}");
    following.settle(&folders, "ratings");
    nothing_is_removed(&mut following);
    assert_eq!(folders.read(&facade("reviews")), before);
    assert_eq!((following.times("70000"), following.times("kept: ")), (1, 1), "{:#?}", following.said);
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "7000"));
    following.wait_for("changed VirtualService default/emcee-reviews-");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
}

/// The objects of a relationship that becomes invalid stay too, and so do those of its bindings.
#[test]
fn an_invalid_relationship_keeps_everything() {
    let (folders, mut following) = started();
    folders.put("in/flat.yaml", FLAT.replace("FLAT", "FLATTISH"));
    following.wait_for("Unknown Mode \"FLATTISH\"");
    following.wait_for("kept: MeshFedConfig flat/flat");
    following.settle(&folders, "ratings");
    nothing_is_removed(&mut following);
}

#[test]
fn one_that_never_was_valid_is_refused_and_hinders_nobody() {
    let (folders, mut following) = started();
    folders.put("in/bad.yaml", binding("bad").replace("9080", "0"));
    following.wait_for("in/bad.yaml:6: ServiceBinding default/bad: spec.port: 0 is not a port");
    folders.wait_for("out/status/default/ServiceBinding-bad.yaml", "0 is not a port");
    following.settle(&folders, "ratings");
    assert_eq!(following.times("kept: "), 0, "{:#?}", following.said);
    assert!(!folders.has(&facade("bad")));
}

#[test]
fn a_file_that_is_no_longer_yaml_keeps_all_that_it_had() {
    let (folders, mut following) = started();
    folders.put("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    following.wait_for("created VirtualService default/emcee-ratings-");
    folders.put("in/several.yaml", "kind: ServiceBinding\n\tspec: {\n");
    following.wait_for("in/several.yaml:");
    following.settle(&folders, "marker");
    nothing_is_removed(&mut following);
    assert!(folders.has(&facade("ratings")) && folders.has(&facade("details")));
    folders.put("in/several.yaml", binding("details"));
    following.wait_for("removed DestinationRule default/emcee-ratings-");
    assert!(folders.has(&facade("details")));
}

/// Half of a file is sound: what stood in the other half may only be hidden.
#[test]
fn a_file_that_is_broken_in_one_document_keeps_the_others() {
    let (folders, mut following) = started();
    folders.put("in/several.yaml", [binding("ratings"), binding("details")].join("---\n"));
    following.wait_for("created VirtualService default/emcee-ratings-");
    folders.put(
        "in/several.yaml",
        [binding("ratings").replace("9080", "9081"), "a: b: c\n".into()].join("---\n"),
    );
    following.wait_for("changed VirtualService default/emcee-ratings-");
    following.settle(&folders, "marker");
    nothing_is_removed(&mut following);
    assert!(folders.has(&facade("details")));
}

#[test]
fn a_file_that_is_emptied_takes_its_objects_with_it() {
    let (folders, mut following) = started();
    folders.put("in/reviews.yaml", "");
    following.wait_for("removed DestinationRule default/emcee-reviews-");
    assert!(folders.objects().is_empty());
}

#[test]
fn a_folder_that_is_gone_keeps_everything() {
    let (folders, mut following) = started();
    let before = folders.objects();
    fs::rename(folders.path("in"), folders.path("moved")).expect("a rename");
    let said = following.wait_for("cannot be read");
    assert!(said.ends_with("all that was read before stays in place"), "{said}");
    fs::rename(folders.path("moved"), folders.path("in")).expect("a rename");
    following.settle(&folders, "ratings");
    nothing_is_removed(&mut following);
    let after = folders.objects();
    assert!(before.iter().all(|(path, text)| after.get(path) == Some(text)));
}

/// Which of two counts cannot be guessed.
#[test]
fn the_same_resource_in_two_files_keeps_the_good_one() {
    let (folders, mut following) = started();
    folders.put("in/again.yaml", binding("reviews").replace("9080", "9081"));
    following.wait_for("ServiceBinding default/reviews: metadata.name: is given twice");
    following.settle(&folders, "ratings");
    nothing_is_removed(&mut following);
    assert!(folders.read(&facade("reviews")).contains("port: 9080"));
    folders.remove("in/reviews.yaml");
    following.wait_for("changed VirtualService default/emcee-reviews-");
    assert!(folders.read(&facade("reviews")).contains("port: 9081"));
}

/// A rotation replaces the Secret; the old pair goes with it, and the new one comes.
#[test]
fn a_secret_that_is_replaced_is_followed() {
    let folders = Folders::new();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut following = folders.follow();
    following.wait_for("created Secret blue/");
    following.wait_for("created Service blue/");
    folders.put_blue(&valid_pair("m1.blue.example"));
    following.wait_for("changed Secret blue/");
    nothing_is_removed(&mut following);
}

#[test]
fn a_secret_that_is_replaced_by_a_broken_one_keeps_everything() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut following = folders.follow();
    following.wait_for("created Service blue/");
    folders.put_blue(&valid_pair("m1.blue.example").with_wrong_key());
    following.settle(&folders, "marker");
    nothing_is_removed(&mut following);
    assert!(following.times("data.tls.key") > 0, "{:#?}", following.said);
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
        ("run --dir in --out taken", "taken cannot be made: "),
    ] {
        let output = folders.emcee(args);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args}: {said}");
        assert!(said.contains(words), "{args}: {said}");
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

/// What is refused as a name is not used as one.
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

/// Only what an earlier run wrote waits until everything is understood.
#[test]
fn a_withdrawal_takes_effect_whatever_else_is_broken() {
    let folders = Folders::with_reviews();
    folders.put("in/bad.yaml", "{");
    let mut following = folders.follow();
    following.wait_for("created VirtualService default/emcee-reviews-");
    folders.remove("in/reviews.yaml");
    following.wait_for("removed Service default/reviews");
}

#[test]
fn a_relationship_and_then_its_secret_become_invalid() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut following = folders.follow();
    following.wait_for("created Service blue/");
    folders.put("in/blue.yaml", "{");
    following.wait_for("in/blue.yaml");
    folders.put_blue(&valid_pair("m1.blue.example").with_wrong_key());
    folders.put("in/blue.yaml", "{");
    following.settle(&folders, "marker");
    nothing_is_removed(&mut following);
}

/// What is refused because of other objects is said, too.
#[test]
fn a_conflict_is_said_and_is_exit_code_1() {
    let folders = Folders::with_reviews();
    folders
        .put("in/rival.yaml", binding("rival").replace("  name: rival", "  name: rival\n  alias: reviews"));
    let output = folders.emcee("run --dir in --out out --once");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not generated: ServiceBinding default/rival: spec.port: the older"), "{said}");
}
