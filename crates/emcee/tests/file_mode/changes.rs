//! OUT follows the changes in DIR.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use emcee_testkit::prelude::valid_pair;

use crate::process::{TestFolders, binding, facade_path};

#[test]
fn existing_resources_are_written_and_reported_at_start() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService default/emcee-reviews-");
    assert_eq!(program.count_lines("created Service default/reviews"), 1);
    let text = folders.read_file(&facade_path("reviews"));
    assert!(
        text.starts_with("# Written by Emcee, and overwritten by it.\napiVersion: v1\nkind: Service\n"),
        "{text}"
    );
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
    folders.wait_for("out/status/flat/MeshFedConfig-flat.yaml", "type: Accepted");
}

#[test]
fn added_changed_and_removed_files_are_followed() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService");
    folders.write_file("in/deeper/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert!(folders.exists(&facade_path("ratings")));
    folders.write_file("in/deeper/ratings.yaml", binding("ratings").replace("9080", "9081"));
    program.wait_for("changed VirtualService default/emcee-ratings-");
    assert!(folders.read_file(&facade_path("ratings")).contains("port: 9081"));
    folders.remove_file("in/deeper/ratings.yaml");
    // The rule of the facade goes first, that of the binding last.
    program.wait_for("removed DestinationRule default/emcee-ratings-");
    program.wait_for("removed DestinationRule default/emcee-ratings-");
    assert_eq!(program.count_lines("removed "), 5, "{:#?}", program.output);
    assert!(!folders.exists(&facade_path("ratings")) && folders.exists(&facade_path("reviews")));
    assert!(!folders.exists("out/status/default/ServiceBinding-ratings.yaml"));
    assert_eq!(program.count_lines("reviews"), 4, "nothing else was changed: {:#?}", program.output);
}

/// A resource that moves to another file stays, whatever the order of the file names.
#[test]
fn a_resource_can_move_between_files() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService");
    fs::rename(folders.path("in/reviews.yaml"), folders.path("in/a.yaml")).expect("a rename");
    program.wait_until_processed(&folders, "ratings");
    assert_eq!(
        program.count_lines("reviews"),
        4,
        "the objects were created once, and not changed: {:#?}",
        program.output
    );
}

#[test]
fn the_objects_are_those_of_render() {
    let folders = TestFolders::with_reviews();
    folders.write_blue(&valid_pair("m1.blue.example"));
    folders.run_once();
    let render = folders.run("render -f in --secrets").stdout;
    let render = String::from_utf8(render).expect("UTF-8");
    let rendered: BTreeSet<_> = render.split("---\n").collect();
    let objects = folders.objects();
    let written: BTreeSet<_> =
        objects.values().filter_map(|text| text.split_once('\n')).map(|(_, t)| t).collect();
    assert_eq!(written, rendered);
    assert!(written.len() > 10);
}

#[test]
fn files_of_secrets_are_readable_by_the_owner_only() {
    let folders = TestFolders::new();
    folders.write_blue(&valid_pair("m1.blue.example"));
    folders.run_once();
    let mut secrets = 0;
    for path in folders.objects().into_keys() {
        let mode =
            fs::metadata(folders.path("out").join(&path)).expect("a file").permissions().mode() & 0o777;
        let is_secret = path.to_string_lossy().contains("/Secret-");
        assert_eq!(mode, if is_secret { 0o600 } else { 0o644 }, "{}", path.display());
        secrets += usize::from(is_secret);
    }
    assert_eq!(secrets, 1);
}

#[test]
fn once_writes_and_ends() {
    let folders = TestFolders::with_reviews();
    assert_eq!(folders.run_once().lines().count(), 5);
    assert_eq!(folders.run_once(), "", "nothing changed");
    folders.remove_file("in/reviews.yaml");
    assert!(folders.run_once().lines().all(|line| line.starts_with("removed ")));
    assert!(folders.objects().is_empty());
}

#[test]
fn an_empty_folder_results_in_an_empty_folder() {
    let folders = TestFolders::new();
    assert_eq!(folders.run_once(), "");
    assert!(folders.files().is_empty());
}

#[test]
fn sigterm_and_ctrl_c_end_the_program_cleanly() {
    for signal in ["TERM", "INT"] {
        let folders = TestFolders::with_reviews();
        let mut program = folders.start();
        program.wait_until_processed(&folders, "ratings");
        assert_eq!(program.end_with(signal).code(), Some(0), "SIG{signal}");
    }
}
