//! OUT follows the changes in DIR.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use emcee_testkit::prelude::valid_pair;

use crate::process::{Folders, binding, facade};

#[test]
fn what_is_there_is_written_at_once_and_said() {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService default/emcee-reviews-");
    assert_eq!(program.times("created Service default/reviews"), 1);
    let text = folders.read(&facade("reviews"));
    assert!(
        text.starts_with("# Written by Emcee, and overwritten by it.\napiVersion: v1\nkind: Service\n"),
        "{text}"
    );
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
    folders.wait_for("out/status/flat/MeshFedConfig-flat.yaml", "type: Accepted");
}

#[test]
fn added_changed_removed() {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService");
    folders.put("in/deeper/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert!(folders.has(&facade("ratings")));
    folders.put("in/deeper/ratings.yaml", binding("ratings").replace("9080", "9081"));
    program.wait_for("changed VirtualService default/emcee-ratings-");
    assert!(folders.read(&facade("ratings")).contains("port: 9081"));
    folders.remove("in/deeper/ratings.yaml");
    program.wait_for("removed DestinationRule default/emcee-ratings-");
    assert_eq!(program.times("removed "), 4, "{:#?}", program.said);
    assert!(!folders.has(&facade("ratings")) && folders.has(&facade("reviews")));
    assert!(!folders.has("out/status/default/ServiceBinding-ratings.yaml"));
    assert_eq!(program.times("reviews"), 4, "nothing else was changed: {:#?}", program.said);
}

/// A resource that moves to another file stays, whatever the order of the file names.
#[test]
fn a_resource_may_move_between_files() {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService");
    fs::rename(folders.path("in/reviews.yaml"), folders.path("in/a.yaml")).expect("a rename");
    program.settle(&folders, "ratings");
    assert_eq!(
        program.times("reviews"),
        4,
        "the objects were created once, and not changed: {:#?}",
        program.said
    );
}

#[test]
fn the_same_as_render_writes() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    folders.once();
    let render = folders.emcee("render -f in --secrets").stdout;
    let render = String::from_utf8(render).expect("UTF-8");
    let rendered: BTreeSet<_> = render.split("---\n").collect();
    let objects = folders.objects();
    let written: BTreeSet<_> =
        objects.values().filter_map(|text| text.split_once('\n')).map(|(_, t)| t).collect();
    assert_eq!(written, rendered);
    assert!(written.len() > 10);
}

#[test]
fn files_of_secrets_are_for_the_owner_only() {
    let folders = Folders::new();
    folders.put_blue(&valid_pair("m1.blue.example"));
    folders.once();
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
    let folders = Folders::with_reviews();
    assert_eq!(folders.once().lines().count(), 4);
    assert_eq!(folders.once(), "", "nothing changed");
    folders.remove("in/reviews.yaml");
    assert!(folders.once().lines().all(|line| line.starts_with("removed ")));
    assert!(folders.objects().is_empty());
}

#[test]
fn an_empty_folder_gives_an_empty_folder() {
    let folders = Folders::new();
    assert_eq!(folders.once(), "");
    assert!(folders.files().is_empty());
}

#[test]
fn sigterm_and_ctrl_c_end_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let folders = Folders::with_reviews();
        let mut program = folders.follow();
        program.settle(&folders, "ratings");
        assert_eq!(program.end(signal).code(), Some(0), "SIG{signal}");
    }
}
