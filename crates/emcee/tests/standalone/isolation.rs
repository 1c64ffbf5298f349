//! A failure affects only its own object. It is reported and retried, and all other work continues, also removals.

use std::fs;

use crate::process::{FLAT, Folders, binding, facade};

const RELATIONSHIP: &str = "out/status/flat/MeshFedConfig-flat.yaml";
const STATUS: &str = "out/status/default/ServiceBinding-reviews.yaml";

/// Returns a name of four labels with 60 letters each. An audit found that such names caused failures.
fn long_name() -> String {
    vec!["x".repeat(60); 4].join(".")
}

fn exposition(name: &str) -> String {
    format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceExposition\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{name: front, port: 80, mesh_fed_config_selector: {{fed-config: flat}}}}\n"
    )
}

/// Returns the text of a condition in a status file.
#[track_caller]
fn condition<'s>(status: &'s str, kind: &str) -> &'s str {
    let words = format!("type: {kind}");
    let is_it = |condition: &&str| condition.lines().any(|line| line.trim() == words);
    status.split("\n  - ").find(is_it).expect(kind)
}

#[test]
fn a_long_name_keeps_nothing_from_being_written_or_removed() {
    let folders = Folders::with_reviews();
    folders.once();
    folders.put("in/long.yaml", exposition(&long_name()));
    folders.remove("in/reviews.yaml");
    let output = folders.once();
    assert!(output.contains("removed Service default/reviews\n"), "{output}");
    assert!(!folders.has(&facade("reviews")));
    let statuses = fs::read_dir(folders.path("out/status/default")).expect("a folder");
    let names: Vec<_> = statuses.map(|entry| entry.expect("an entry").file_name()).collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    assert!(name.len() <= 255 && name.to_string_lossy().starts_with("ServiceExposition-xxx"), "{name:?}");
    folders.remove("in/long.yaml");
    folders.once();
    assert!(!folders.has("out/status/default"), "the file with the long name is removed too");
}

/// Limits files to 4 KiB, to simulate a nearly full disk.
const SMALL_FILES: &str = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";

#[test]
fn a_write_that_fails_is_its_objects_matter() {
    let folders = Folders::with_reviews();
    folders.put("in/old.yaml", binding("old"));
    folders.once();
    folders.remove("in/old.yaml");
    let endpoints: Vec<_> = (1..90).map(|last| format!("'203.0.113.{last}:15443'")).collect();
    let many = binding("reviews").replace("'203.0.113.12:15443'", &endpoints.join(","));
    folders.put("in/reviews.yaml", many);
    folders.put("in/ratings.yaml", binding("ratings"));
    let mut program = folders.follow_prepared(SMALL_FILES);
    let message = program.wait_for("cannot be written");
    assert!(message.contains("out/default/ServiceEntry-emcee-reviews-"), "{message}");
    assert!(message.contains("(tried again)"), "{message}");
    program.wait_for("removed DestinationRule default/emcee-old-");
    assert!(folders.has(&facade("ratings")) && !folders.has(&facade("old")));
    let status = folders.wait_for(STATUS, "reason: ApplyFailed");
    for kind in ["Programmed", "Ready"] {
        let condition = condition(&status, kind);
        assert!(condition.contains("status: \"False\"") && condition.contains("ServiceEntry"), "{status}");
    }
    assert!(condition(&status, "Accepted").contains("status: \"True\""), "{status}");
    folders.put("in/reviews.yaml", binding("reviews"));
    folders.wait_for(STATUS, "ready: true");
    assert_eq!(program.times("cannot be written"), 1, "{:#?}", program.said);
}

/// Drops the capabilities with which root can write everywhere.
const NOT_ALMIGHTY: &str = "if [ \"$(id -u)\" = 0 ]; then \
    exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\"; else exec \"$@\"; fi";

#[test]
fn a_folder_that_cannot_be_written_hinders_no_other() {
    let folders = Folders::with_reviews();
    folders.put("in/other.yaml", binding("other").replace("namespace: default", "namespace: other"));
    folders.once();
    let read_only = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folders.path("out/default"), permissions).expect("a new mode");
    };
    read_only(0o555);
    folders.remove("in/reviews.yaml");
    folders.put("in/ratings.yaml", binding("ratings"));
    folders.remove("in/other.yaml");
    let output =
        folders.prepared(NOT_ALMIGHTY, "run --dir in --out out --once").output().expect("the program runs");
    let (message, told) =
        (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout).into_owned());
    assert!(message.contains("out/default/Service-reviews.yaml cannot be removed: "), "{message}");
    assert!(message.contains("out/default/Service-ratings.yaml cannot be written: "), "{message}");
    assert!(told.contains("removed Service other/other\n"), "{told}");
    assert_eq!(output.status.code(), Some(2), "{message}");
    read_only(0o755);
    let told = folders.once();
    assert!(told.contains("removed Service default/reviews\n"), "{told}");
}

/// Files of an earlier run in an unreadable folder are found when the folder becomes readable.
#[test]
fn a_folder_that_cannot_be_read_at_the_start_is_read_later() {
    let folders = Folders::with_reviews();
    folders.once();
    let mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folders.path("out/default"), permissions).expect("a new mode");
    };
    mode(0o000);
    folders.remove("in/reviews.yaml");
    let mut program = folders.follow_prepared(NOT_ALMIGHTY);
    program.wait_for("out/default cannot be read: ");
    folders.wait_for(RELATIONSHIP, "Accepted");
    mode(0o755);
    program.wait_for("removed Service default/reviews");
}

#[test]
fn the_status_names_a_file_of_others_that_is_in_the_way() {
    let folders = Folders::with_reviews();
    folders.put(&facade("reviews"), "kind: Service # theirs\n");
    let mut program = folders.follow();
    let status = folders.wait_for(STATUS, "reason: Conflict");
    for kind in ["Programmed", "Ready"] {
        let condition = condition(&status, kind);
        assert!(condition.contains("status: \"False\"") && condition.contains("move it away"), "{status}");
    }
    assert!(status.contains("\n  ready: false\n"), "{status}");
    folders.remove(&facade("reviews"));
    program.wait_for("created Service default/reviews");
    let status = folders.wait_for(STATUS, "ready: true");
    assert!(condition(&status, "Programmed").contains("status: \"True\""), "{status}");
}

/// Only the resource that needs the object has the conflict in its status.
#[test]
fn a_file_of_others_is_in_the_way_of_its_own_resource_only() {
    let folders = Folders::with_reviews();
    folders.put("in/ratings.yaml", binding("ratings"));
    folders.put(&facade("reviews"), "kind: Service # theirs\n");
    let output = folders.emcee("run --dir in --out out --once");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(folders.read(STATUS).contains("reason: Conflict"));
    assert!(folders.read("out/status/default/ServiceBinding-ratings.yaml").contains("ready: true"));
    assert!(!folders.read(RELATIONSHIP).contains("Conflict"));
}

/// One mistake makes an exposition and its Service invalid. The last good versions of both stay.
#[test]
fn a_mistake_in_exposition_and_service_keeps_what_both_made() {
    let folders = Folders::new();
    folders.put("in/flat.yaml", FLAT.replace("mode: FLAT", "mode: PASSTHROUGH, use_ingress_gateway: true"));
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: default}\n\
                   spec:\n  selector: {app: front}\n  ports:\n  - name: http\n    port: 9080\n";
    let exposition = "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceExposition\n\
                      metadata: {name: front, namespace: default}\nspec:\n  name: front\n  port: 9080\n  \
                      mesh_fed_config_selector: {fed-config: flat}\n";
    let both = [service, exposition].join("---\n");
    folders.put("in/front.yaml", &both);
    let mut program = folders.follow();
    program.wait_for("created Gateway flat/emcee-front-");
    let status = "out/status/default/ServiceExposition-front.yaml";
    folders.wait_for(status, "type: Programmed\n");
    let before = folders.objects();
    folders.put("in/front.yaml", both.replace("  port: 9080\n", "  prt: 9080\n"));
    program.wait_for("Service default/front: spec.ports[0].port: ");
    folders.wait_for(status, "the last good version stays in place");
    program.settle(&folders, "marker");
    assert_eq!(program.times("removed "), 0, "{:#?}", program.said);
    assert!(before.iter().all(|(path, text)| folders.objects().get(path) == Some(text)));
}

/// An object that the last good version needs is removed. Then it is not in place, and the status does not claim it.
#[test]
fn a_last_good_version_that_cannot_be_in_place_is_not_programmed() {
    let folders = Folders::new();
    folders.put("in/flat.yaml", FLAT);
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: front, namespace: default}}\n\
             spec: {{selector: {{app: front}}, ports: [{{name: http, port: {port}}}]}}\n"
        )
    };
    folders.put("in/service.yaml", service(80));
    folders.put("in/front.yaml", exposition("front"));
    let mut program = folders.follow();
    let status = "out/status/default/ServiceExposition-front.yaml";
    let text = folders.wait_for(status, "type: Programmed\n");
    assert!(condition(&text, "Programmed").contains("status: \"True\""), "{text}");
    folders.put("in/front.yaml", exposition("front").replace("port: 80", "port: 0"));
    program.wait_for("kept: ServiceExposition default/front: its last good version stays in place");
    folders.put("in/service.yaml", service(81));
    let text = folders.wait_for(status, "PortNotFound");
    for kind in ["Accepted", "Programmed", "Ready"] {
        assert!(condition(&text, kind).contains("status: \"False\""), "{text}");
    }
    assert!(text.contains("\n  ready: false\n") && !text.contains("stays in place"), "{text}");
}
