//! Killed at any moment, the next start converges, and touches nothing without need.

use crate::process::{FLAT, Folders, binding, facade};

#[test]
fn a_restart_rewrites_nothing() {
    let folders = Folders::with_reviews();
    folders.put("in/bad.yaml", binding("bad").replace("endpoints", "subset: v1 # endpoints"));
    let mut following = folders.follow();
    following.wait_for("created VirtualService");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
    folders.wait_for("out/status/flat/MeshFedConfig-flat.yaml", "Accepted");
    following.kill();
    let before = folders.files();
    assert!(before.values().any(|(text, _)| text.contains("lastTransitionTime")));
    assert_eq!(folders.once(), "");
    assert_eq!(folders.files(), before, "contents, times of transitions and times of files");
}

/// Kills it after each of its lines in turn.
#[test]
fn killed_at_any_line_it_converges() {
    let wanted = Folders::with_reviews();
    wanted.put("in/ratings.yaml", binding("ratings"));
    wanted.once();
    let wanted = wanted.objects();
    let folders = Folders::with_reviews();
    folders.put("in/ratings.yaml", binding("ratings"));
    for line in 1..=wanted.len() {
        std::fs::remove_dir_all(folders.path("out")).or_else(gone).expect("the folder can be removed");
        let mut following = folders.follow();
        (0..line).for_each(|_| drop(following.wait_for("created ")));
        following.kill();
        folders.once();
        assert_eq!(folders.objects(), wanted, "killed after line {line}");
    }
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What was removed while nobody looked is removed at the next start.
#[test]
fn a_restart_catches_up() {
    let folders = Folders::with_reviews();
    folders.follow().wait_for("created VirtualService");
    folders.remove("in/reviews.yaml");
    folders.put("in/ratings.yaml", binding("ratings"));
    let said = folders.once();
    assert!(
        said.contains("removed Service default/reviews") && said.contains("created Service default/ratings"),
        "{said}"
    );
}

#[test]
fn a_restart_with_an_invalid_resource_keeps_its_objects() {
    let folders = Folders::with_reviews();
    folders.once();
    folders.put("in/reviews.yaml", binding("reviews").replace("9080", "70000"));
    folders.emcee("run --dir in --out out --once");
    assert!(folders.has(&facade("reviews")));
}

#[test]
fn a_restart_with_a_broken_file_removes_nothing() {
    let folders = Folders::with_reviews();
    folders.once();
    folders.put("in/flat.yaml", FLAT.replace("{mode: FLAT}", "{mode: FLAT"));
    folders.emcee("run --dir in --out out --once");
    assert!(folders.has(&facade("reviews")));
}

/// Somebody's mistake keeps what they have, and nobody else's.
#[test]
fn a_restart_with_an_invalid_resource_removes_what_is_of_others_and_gone() {
    let folders = Folders::with_reviews();
    folders.put("in/ratings.yaml", binding("ratings"));
    folders.once();
    folders.put("in/ratings.yaml", binding("ratings").replace("9080", "70000"));
    folders.remove("in/reviews.yaml");
    let output = folders.emcee("run --dir in --out out --once");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("removed ServiceEntry default/emcee-reviews-"), "{told}");
    assert!(!told.contains("ratings"), "{told}");
    assert!(!folders.has("out/status/default/ServiceBinding-reviews.yaml"));
    assert!(folders.has(&facade("ratings")) && folders.has("out/status/default/ServiceBinding-ratings.yaml"));
    assert!(folders.has(&facade("reviews")), "bindings that could not be read may share it");
}

/// What Emcee made by itself of a Service is in no folder.
#[test]
fn a_restart_with_an_invalid_service_keeps_what_its_labels_asked_for() {
    let folders = Folders::new();
    folders.put("in/flat.yaml", FLAT.replace("mode: FLAT", "mode: PASSTHROUGH, use_ingress_gateway: true"));
    let service = "apiVersion: v1\nkind: Service\n\
                   metadata: {name: front, namespace: default, labels: {emcee.io/expose: flat}}\n\
                   spec: {selector: {app: front}, ports: [{name: http, port: 80}]}\n";
    folders.put("in/front.yaml", service);
    folders.once();
    let before = folders.objects();
    folders.put("in/front.yaml", service.replace("80", "0"));
    let output = folders.emcee("run --dir in --out out --once");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
    assert_eq!(folders.objects(), before);
}
