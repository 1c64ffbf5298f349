//! Other programs and users write in OUT too.

use std::fs;
use std::os::unix::fs::symlink;

use crate::process::{Folders, binding, facade};

#[test]
fn an_edited_file_is_restored() {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService");
    let good = folders.read(&facade("reviews"));
    folders.put(&facade("reviews"), good.replace("9080", "9999"));
    program.wait_for("restored Service default/reviews");
    assert_eq!(folders.read(&facade("reviews")), good);
    folders.remove(&facade("reviews"));
    program.wait_for("Service default/reviews");
    folders.wait_for(&facade("reviews"), &good);
}

/// The file was edited while Emcee was not running.
#[test]
fn an_edited_file_is_restored_at_the_next_start() {
    let folders = Folders::with_reviews();
    folders.once();
    let good = folders.read(&facade("reviews"));
    folders.put(&facade("reviews"), good.replace("9080", "9999"));
    assert_eq!(folders.once(), "changed Service default/reviews\n");
    assert_eq!(folders.read(&facade("reviews")), good);
}

#[test]
fn files_of_others_are_never_touched() {
    let folders = Folders::with_reviews();
    let theirs = [
        "out/README.md",
        "out/default/theirs.yaml",
        "out/status/theirs.yaml",
        "out/elsewhere/Service-a.yaml",
    ];
    for path in theirs {
        folders.put(path, "kind: Service # theirs\n");
    }
    folders.once();
    folders.remove("in/reviews.yaml");
    folders.remove("in/flat.yaml");
    folders.once();
    for path in theirs {
        assert_eq!(folders.read(path), "kind: Service # theirs\n");
    }
    assert_eq!(folders.files().len(), theirs.len());
}

#[test]
fn a_file_of_others_at_a_wanted_path_is_left_alone_and_said() {
    let folders = Folders::with_reviews();
    folders.put(&facade("reviews"), "kind: Service # theirs\n");
    let mut program = folders.follow();
    program.wait_for("exists and is not managed by Emcee; not overwritten (move it away)");
    program.wait_for("created VirtualService default/emcee-reviews-");
    assert_eq!(folders.read(&facade("reviews")), "kind: Service # theirs\n");
    folders.put("in/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert_eq!(program.times("not overwritten"), 1, "{:#?}", program.said);
    folders.remove(&facade("reviews"));
    program.wait_for("created Service default/reviews");
}

/// A write through a link could overwrite any file.
#[test]
fn a_link_at_a_wanted_path_is_not_followed() {
    let folders = Folders::with_reviews();
    folders.put("precious", "precious\n");
    fs::create_dir_all(folders.path("out/default")).expect("a folder");
    symlink(folders.path("precious"), folders.path(&facade("reviews"))).expect("a link");
    let output = folders.emcee("run --dir in --out out --once");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not overwritten"));
    assert_eq!(folders.read("precious"), "precious\n");
}

#[test]
fn what_a_crash_left_half_written_is_cleared() {
    let folders = Folders::with_reviews();
    folders.put("out/.emcee-1a2b", "");
    folders.put("out/default/.emcee-3c4d", "# Written by Em");
    folders.put("out/default/.emcee-notes", "a user's file");
    folders.once();
    let left = folders.files().into_keys().filter(|path| path.to_string_lossy().contains(".emcee-"));
    assert_eq!(left.collect::<Vec<_>>(), [std::path::Path::new("default/.emcee-notes")]);
}

#[test]
fn folders_that_become_empty_go_too() {
    let folders = Folders::with_reviews();
    folders.once();
    folders.remove("in/reviews.yaml");
    folders.once();
    assert!(!folders.has("out/default"));
}
