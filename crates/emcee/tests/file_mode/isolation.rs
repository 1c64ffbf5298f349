//! A failure affects only its own object. It is reported and retried, and all other work continues, also removals.

use std::fs;

use crate::process::{FLAT, TestFolders, binding, facade_path};

const RELATIONSHIP_STATUS: &str = "out/status/flat/MeshFedConfig-flat.yaml";
const BINDING_STATUS: &str = "out/status/default/ServiceBinding-reviews.yaml";

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
fn condition_text<'s>(status: &'s str, kind: &str) -> &'s str {
    let words = format!("type: {kind}");
    let is_it = |condition: &&str| condition.lines().any(|line| line.trim() == words);
    status.split("\n  - ").find(is_it).expect(kind)
}

#[test]
fn a_long_name_prevents_no_write_or_removal() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    folders.write_file("in/long.yaml", exposition(&long_name()));
    folders.remove_file("in/reviews.yaml");
    let output = folders.run_once();
    assert!(output.contains("removed Service default/reviews\n"), "{output}");
    assert!(!folders.exists(&facade_path("reviews")));
    let statuses = fs::read_dir(folders.path("out/status/default")).expect("a folder");
    let names: Vec<_> = statuses.map(|entry| entry.expect("an entry").file_name()).collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    assert!(name.len() <= 255 && name.to_string_lossy().starts_with("ServiceExposition-xxx"), "{name:?}");
    folders.remove_file("in/long.yaml");
    folders.run_once();
    assert!(!folders.exists("out/status/default"), "the file with the long name is removed too");
}

/// Limits files to 4 KiB, to simulate a nearly full disk.
const SMALL_FILES: &str = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";

#[test]
fn a_failed_write_affects_only_its_object() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/old.yaml", binding("old"));
    folders.run_once();
    folders.remove_file("in/old.yaml");
    let endpoints: Vec<_> = (1..60).map(|last| format!("'203.0.113.{last}:15443'")).collect();
    let many = binding("reviews").replace("'203.0.113.12:15443'", &endpoints.join(","));
    folders.write_file("in/reviews.yaml", many);
    folders.write_file("in/ratings.yaml", binding("ratings"));
    let mut program = folders.start_in_shell(SMALL_FILES);
    let message = program.wait_for("cannot be written");
    assert!(message.contains("out/default/ServiceEntry-emcee-http-80-mesh-spec-"), "{message}");
    assert!(message.contains("(tried again)"), "{message}");
    // The rule of the facade goes first, that of the binding last.
    program.wait_for("removed DestinationRule default/emcee-old-");
    program.wait_for("removed DestinationRule default/emcee-old-");
    assert!(folders.exists(&facade_path("ratings")) && !folders.exists(&facade_path("old")));
    let status = folders.wait_for(BINDING_STATUS, "reason: ApplyFailed");
    for kind in ["Programmed", "Ready"] {
        let condition = condition_text(&status, kind);
        assert!(condition.contains("status: \"False\"") && condition.contains("ServiceEntry"), "{status}");
    }
    assert!(condition_text(&status, "Accepted").contains("status: \"True\""), "{status}");
    folders.write_file("in/reviews.yaml", binding("reviews"));
    folders.wait_for(BINDING_STATUS, "ready: true");
    assert_eq!(program.count_lines("cannot be written"), 1, "{:#?}", program.output);
}

/// Drops the capabilities with which root can write everywhere.
const WITHOUT_ROOT_CAPABILITIES: &str = "if [ \"$(id -u)\" = 0 ]; then \
    exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\"; else exec \"$@\"; fi";

#[test]
fn an_unwritable_folder_affects_no_other() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/other.yaml", binding("other").replace("namespace: default", "namespace: other"));
    folders.run_once();
    let read_only = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folders.path("out/default"), permissions).expect("a new mode");
    };
    read_only(0o555);
    folders.remove_file("in/reviews.yaml");
    folders.write_file("in/ratings.yaml", binding("ratings"));
    folders.remove_file("in/other.yaml");
    let output = folders
        .shell_command(WITHOUT_ROOT_CAPABILITIES, "run --dir in --out out --once")
        .output()
        .expect("the program runs");
    let (message, stdout) =
        (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout).into_owned());
    assert!(message.contains("out/default/Service-reviews.yaml cannot be removed: "), "{message}");
    assert!(message.contains("out/default/Service-ratings.yaml cannot be written: "), "{message}");
    assert!(stdout.contains("removed Service other/other\n"), "{stdout}");
    assert_eq!(output.status.code(), Some(2), "{message}");
    read_only(0o755);
    let stdout = folders.run_once();
    assert!(stdout.contains("removed Service default/reviews\n"), "{stdout}");
}

/// Files of an earlier run in an unreadable folder are found when the folder becomes readable.
#[test]
fn an_unreadable_folder_at_start_is_read_later() {
    let folders = TestFolders::with_reviews();
    folders.run_once();
    let mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folders.path("out/default"), permissions).expect("a new mode");
    };
    mode(0o000);
    folders.remove_file("in/reviews.yaml");
    let mut program = folders.start_in_shell(WITHOUT_ROOT_CAPABILITIES);
    program.wait_for("out/default cannot be read: ");
    folders.wait_for(RELATIONSHIP_STATUS, "Accepted");
    mode(0o755);
    program.wait_for("removed Service default/reviews");
}

#[test]
fn the_status_names_a_conflicting_foreign_file() {
    let folders = TestFolders::with_reviews();
    folders.write_file(&facade_path("reviews"), "kind: Service # theirs\n");
    let mut program = folders.start();
    let status = folders.wait_for(BINDING_STATUS, "reason: Conflict");
    for kind in ["Programmed", "Ready"] {
        let condition = condition_text(&status, kind);
        assert!(condition.contains("status: \"False\"") && condition.contains("move it away"), "{status}");
    }
    assert!(status.contains("\n  ready: false\n"), "{status}");
    folders.remove_file(&facade_path("reviews"));
    program.wait_for("created Service default/reviews");
    let status = folders.wait_for(BINDING_STATUS, "ready: true");
    assert!(condition_text(&status, "Programmed").contains("status: \"True\""), "{status}");
}

/// Only the resource that needs the object has the conflict in its status.
#[test]
fn a_foreign_file_affects_only_its_own_resource() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/ratings.yaml", binding("ratings"));
    folders.write_file(&facade_path("reviews"), "kind: Service # theirs\n");
    let output = folders.run("run --dir in --out out --once");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(folders.read_file(BINDING_STATUS).contains("reason: Conflict"));
    assert!(folders.read_file("out/status/default/ServiceBinding-ratings.yaml").contains("ready: true"));
    assert!(!folders.read_file(RELATIONSHIP_STATUS).contains("Conflict"));
}

/// One mistake makes an exposition and its Service invalid. The last good versions of both stay.
#[test]
fn a_mistake_in_an_exposition_and_its_service_keeps_both() {
    let folders = TestFolders::new();
    folders.write_file(
        "in/flat.yaml",
        FLAT.replace("mode: FLAT", "mode: PASSTHROUGH, use_ingress_gateway: true"),
    );
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: default}\n\
                   spec:\n  selector: {app: front}\n  ports:\n  - name: http\n    port: 9080\n";
    let exposition = "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceExposition\n\
                      metadata: {name: front, namespace: default}\nspec:\n  name: front\n  port: 9080\n  \
                      mesh_fed_config_selector: {fed-config: flat}\n";
    let both = [service, exposition].join("---\n");
    folders.write_file("in/front.yaml", &both);
    let mut program = folders.start();
    program.wait_for("created Gateway flat/emcee-front-");
    let status = "out/status/default/ServiceExposition-front.yaml";
    folders.wait_for(status, "type: Programmed\n");
    let before = folders.objects();
    folders.write_file("in/front.yaml", both.replace("  port: 9080\n", "  prt: 9080\n"));
    program.wait_for("Service default/front: spec.ports[0].port: ");
    folders.wait_for(status, "the last good version stays in place");
    program.wait_until_processed(&folders, "marker");
    assert_eq!(program.count_lines("removed "), 0, "{:#?}", program.output);
    assert!(before.iter().all(|(path, text)| folders.objects().get(path) == Some(text)));
}

/// An object that the last good version needs is removed. Then it is not in place, and the status does not claim it.
#[test]
fn a_last_good_version_that_cannot_be_in_place_is_not_programmed() {
    let folders = TestFolders::new();
    folders.write_file("in/flat.yaml", FLAT);
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: front, namespace: default}}\n\
             spec: {{selector: {{app: front}}, ports: [{{name: http, port: {port}}}]}}\n"
        )
    };
    folders.write_file("in/service.yaml", service(80));
    folders.write_file("in/front.yaml", exposition("front"));
    let mut program = folders.start();
    let status = "out/status/default/ServiceExposition-front.yaml";
    let text = folders.wait_for(status, "type: Programmed\n");
    assert!(condition_text(&text, "Programmed").contains("status: \"True\""), "{text}");
    folders.write_file("in/front.yaml", exposition("front").replace("port: 80", "port: 0"));
    program.wait_for("kept: ServiceExposition default/front: its last good version stays in place");
    folders.write_file("in/service.yaml", service(81));
    let text = folders.wait_for(status, "PortNotFound");
    for kind in ["Accepted", "Programmed", "Ready"] {
        assert!(condition_text(&text, kind).contains("status: \"False\""), "{text}");
    }
    assert!(text.contains("\n  ready: false\n") && !text.contains("stays in place"), "{text}");
}
