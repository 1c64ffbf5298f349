//! File mode logs to stderr, in the format that is asked for.

use serde_json::Value;

use crate::process::TestFolders;

/// A relationship whose Secret does not exist: discovery cannot connect, and says so in the log.
const UNCONNECTED: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: green, namespace: green}
spec:
  mode: BOUNDARY
  tls_context_selector: {relationship: green}
  use_egress_gateway: true
  peers: [{name: m2, subject_alt_names: [m2.green.example], discovery: '127.0.0.1:9'}]
";

#[test]
fn a_json_line_has_the_relationship_and_the_peer() {
    let folders = TestFolders::new();
    folders.write_file("in/green.yaml", UNCONNECTED);
    let mut program = folders.start_with_flags("--discovery-address 127.0.0.1:0 --log-format json");
    let line = program.wait_for("peer unreachable");
    let event: Value = serde_json::from_str(&line).expect(&line);
    assert_eq!((&event["relationship"], &event["peer"]), (&"green".into(), &"m2".into()), "{line}");
    assert!(event["timestamp"].is_string() && event["target"].is_string(), "{line}");
}

#[test]
fn the_level_decides_what_is_logged() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/green.yaml", UNCONNECTED);
    let mut quiet = folders.start_with_flags("--discovery-address 127.0.0.1:0 --log-level off");
    quiet.wait_until_processed(&folders, "ratings");
    assert_eq!(quiet.count_lines("peer unreachable"), 0, "{:#?}", quiet.output);
    let refused = folders.run("run --dir in --out out --once --log-level inof");
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && message.contains("off, error, warn, info"), "{message}");
}
