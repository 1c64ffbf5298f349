//! After a kill at any moment, the next start converges, and changes nothing without need.

use crate::process::{FLAT, Folders, binding, facade};

#[test]
fn a_restart_rewrites_nothing() {
    let folders = Folders::with_reviews();
    folders.put("in/bad.yaml", binding("bad").replace("endpoints", "subset: v1 # endpoints"));
    let mut program = folders.follow();
    program.wait_for("created VirtualService");
    folders.wait_for("out/status/default/ServiceBinding-reviews.yaml", "ready: true");
    folders.wait_for("out/status/flat/MeshFedConfig-flat.yaml", "Accepted");
    program.kill();
    let before = folders.files();
    assert!(before.values().any(|(text, _)| text.contains("lastTransitionTime")));
    assert_eq!(folders.once(), "");
    assert_eq!(folders.files(), before, "contents, transition times and modification times");
}

/// Kills the program after each of its lines in turn.
#[test]
fn killed_at_any_line_it_converges() {
    let wanted = Folders::with_reviews();
    wanted.put("in/ratings.yaml", binding("ratings"));
    wanted.once();
    let wanted = wanted.objects();
    let folders = Folders::with_reviews();
    folders.put("in/ratings.yaml", binding("ratings"));
    for line in 1..=wanted.len() {
        std::fs::remove_dir_all(folders.path("out")).or_else(gone).expect("a removed folder");
        let mut program = folders.follow();
        (0..line).for_each(|_| drop(program.wait_for("created ")));
        program.kill();
        folders.once();
        assert_eq!(folders.objects(), wanted, "killed after line {line}");
    }
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Resources that were removed while Emcee was not running are removed at the next start.
#[test]
fn a_restart_catches_up() {
    let folders = Folders::with_reviews();
    folders.follow().wait_for("created VirtualService");
    folders.remove("in/reviews.yaml");
    folders.put("in/ratings.yaml", binding("ratings"));
    let output = folders.once();
    assert!(
        output.contains("removed Service default/reviews")
            && output.contains("created Service default/ratings"),
        "{output}"
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

/// An invalid resource keeps its own objects, but not those of others.
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
    assert!(folders.has(&facade("reviews")), "an unreadable binding may share it");
}

/// The exposition that Emcee created from a Service is in no input folder.
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
