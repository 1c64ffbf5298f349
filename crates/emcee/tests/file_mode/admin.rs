//! The probe and admin ports in file mode.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use emcee_testkit::metrics::{documented_metrics, exported_metrics};
use emcee_testkit::prelude::*;

use crate::process::{FLAT, RunningEmcee, TestFolders, binding};

/// Returns the address that the program prints for a port.
fn printed_address(program: &mut RunningEmcee, port: &str) -> String {
    let line = program.wait_for(&format!("the {port} port is at "));
    line.rsplit(' ').next().expect("a last word").to_owned()
}

fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("an open port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("a writable connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in text");
    answer
}

#[test]
fn the_admin_port_shows_announcements_and_objects_but_no_key() {
    let folders = TestFolders::with_reviews();
    folders.write_blue(&valid_pair("m1.blue.example"));
    let mut program = folders.start_with_flags("--admin-address 127.0.0.1:0 --probe-address 127.0.0.1:0");
    let (probe, admin) = (printed_address(&mut program, "probe"), printed_address(&mut program, "admin"));
    program.wait_for("created VirtualService");
    assert!(http_get(&probe, "/ready").starts_with("HTTP/1.1 200"), "{}", http_get(&probe, "/ready"));
    assert!(
        http_get(&probe, "/config_dump").starts_with("HTTP/1.1 404"),
        "the dump is only on the admin port"
    );
    let dump = http_get(&admin, "/config_dump");
    assert!(dump.contains(r#""kind":"VirtualService""#) && dump.contains(r#""kind":"Secret""#), "{dump}");
    assert!(!dump.contains("tls.key") && !dump.contains("PRIVATE KEY"), "{dump}");
    let catalogue = folders.run(&format!("catalogue --admin http://{admin}"));
    let stdout = String::from_utf8_lossy(&catalogue.stdout);
    assert!(catalogue.status.success() && stdout.contains("blue"), "{catalogue:?}");
    folders.write_file("in/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert!(http_get(&admin, "/config_dump").contains("emcee-ratings-"), "the dump is current");
}

#[test]
fn the_probe_port_serves_the_metrics_of_the_peers_until_they_are_removed() {
    let folders = TestFolders::new();
    // Nothing listens on port 1.
    let flat = FLAT.replace(
        "{mode: FLAT}",
        "{mode: FLAT, tls_context_selector: {relationship: flat},
          peers: [{name: m2, subject_alt_names: [m2.example], discovery: '127.0.0.1:1'}]}",
    );
    folders.write_file("in/flat.yaml", flat);
    let mut program = folders.start_with_flags("--probe-address 127.0.0.1:0");
    let probe = printed_address(&mut program, "probe");
    let scrape_until = |what: &str, is_so: &dyn Fn(&str) -> bool| {
        let start = Instant::now();
        loop {
            let text = http_get(&probe, "/metrics");
            if is_so(&text) {
                return text;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "never: {what}\n{text}");
            thread::yield_now();
        }
    };
    let sample = r#"emcee_discovery_peer_connected{relationship="flat",peer="m2"} 0"#;
    let text = scrape_until("the peer is exported", &|text| text.contains(sample));
    let documented = documented_metrics(include_str!("../../../../docs/reference/metrics.md"), "Discovery");
    let exported = exported_metrics(&text);
    assert_eq!(exported.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>());
    for name in ["emcee_discovery_peer_connected", "emcee_discovery_resources_received"] {
        assert_eq!(exported[name], documented[name], "{name}");
    }
    folders.write_file("in/flat.yaml", FLAT);
    scrape_until("the peer is gone", &|text| !text.contains("m2"));
}

#[test]
fn a_port_in_use_is_reported() {
    let folders = TestFolders::with_reviews();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("a local address").to_string();
    let output = folders.run(&format!("run --dir in --out out --admin-address {address}"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(&format!("cannot listen at {address}")), "{message}");
}
