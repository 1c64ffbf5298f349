//! Other programs and users write in OUT too.

use std::fs;
use std::os::unix::fs::symlink;

use crate::process::{TestFolders, binding, facade_path};

#[test]
fn an_edited_file_is_restored() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService");
    let good = folders.read_file(&facade_path("reviews"));
    folders.write_file(&facade_path("reviews"), good.replace("9080", "9999"));
    program.wait_for("restored Service default/reviews");
    assert_eq!(folders.read_file(&facade_path("reviews")), good);
    folders.remove_file(&facade_path("reviews"));
    program.wait_for("Service default/reviews");
    folders.wait_for(&facade_path("reviews"), &good);
}

/// The file was edited while Emcee was not running.
#[test]
fn an_edited_file_is_restored_at_the_next_start() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    let good = folders.read_file(&facade_path("reviews"));
    folders.write_file(&facade_path("reviews"), good.replace("9080", "9999"));
    assert_eq!(folders.run_once(), "changed Service default/reviews\n");
    assert_eq!(folders.read_file(&facade_path("reviews")), good);
}

#[test]
fn foreign_files_are_never_changed() {
    let folders = TestFolders::with_reviews();
    let theirs = [
        "out/README.md",
        "out/default/theirs.yaml",
        "out/status/theirs.yaml",
        "out/elsewhere/Service-a.yaml",
    ];
    for path in theirs {
        folders.write_file(path, "kind: Service # theirs\n");
    }
    folders.run_once();
    folders.remove_file("in/reviews.yaml");
    folders.remove_file("in/flat.yaml");
    folders.run_once();
    for path in theirs {
        assert_eq!(folders.read_file(path), "kind: Service # theirs\n");
    }
    assert_eq!(folders.files().len(), theirs.len());
}

#[test]
fn a_foreign_file_at_a_needed_path_is_reported_and_not_overwritten() {
    let folders = TestFolders::with_reviews();
    folders.write_file(&facade_path("reviews"), "kind: Service # theirs\n");
    let mut program = folders.start();
    program.wait_for("exists and is not managed by Emcee; not overwritten (move it away)");
    program.wait_for("created VirtualService default/emcee-reviews-");
    assert_eq!(folders.read_file(&facade_path("reviews")), "kind: Service # theirs\n");
    folders.write_file("in/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert_eq!(program.count_lines("not overwritten"), 1, "{:#?}", program.output);
    folders.remove_file(&facade_path("reviews"));
    program.wait_for("created Service default/reviews");
}

/// A write through a link could overwrite any file.
#[test]
fn a_link_at_a_needed_path_is_not_followed() {
    let folders = TestFolders::with_reviews();
    folders.write_file("precious", "precious\n");
    fs::create_dir_all(folders.path("out/default")).expect("a folder");
    symlink(folders.path("precious"), folders.path(&facade_path("reviews"))).expect("a link");
    let output = folders.run("run --dir in --out out --once");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not overwritten"));
    assert_eq!(folders.read_file("precious"), "precious\n");
}

#[test]
fn temporary_files_of_a_crash_are_removed() {
    let folders = TestFolders::with_reviews();
    folders.write_file("out/.emcee-1a2b", "");
    folders.write_file("out/default/.emcee-3c4d", "# Written by Em");
    folders.write_file("out/default/.emcee-notes", "a user's file");
    folders.run_once();
    let left = folders.files().into_keys().filter(|path| path.to_string_lossy().contains(".emcee-"));
    assert_eq!(left.collect::<Vec<_>>(), [std::path::Path::new("default/.emcee-notes")]);
}

#[test]
fn empty_folders_are_removed() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    folders.remove_file("in/reviews.yaml");
    folders.run_once();
    assert!(!folders.exists("out/default"));
}
