//! Looking in where a folder is followed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use emcee_testkit::prelude::*;

use crate::process::{Folders, Following, binding};

/// The address that is said of a port.
fn address(following: &mut Following, port: &str) -> String {
    let line = following.wait_for(&format!("the {port} port is at "));
    line.rsplit(' ').next().expect("a line has a last word").to_owned()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    answer
}

#[test]
fn what_is_offered_and_generated_is_shown_and_no_key() {
    let folders = Folders::with_reviews();
    folders.put_blue(&valid_pair("m1.blue.example"));
    let mut following = folders.follow_with("--admin-address 127.0.0.1:0 --probe-address 127.0.0.1:0");
    let (probe, admin) = (address(&mut following, "probe"), address(&mut following, "admin"));
    following.wait_for("created VirtualService");
    assert!(get(&probe, "/ready").starts_with("HTTP/1.1 200"), "{}", get(&probe, "/ready"));
    assert!(get(&probe, "/config_dump").starts_with("HTTP/1.1 404"), "only where it is asked for");
    let dump = get(&admin, "/config_dump");
    assert!(dump.contains(r#""kind":"VirtualService""#) && dump.contains(r#""kind":"Secret""#), "{dump}");
    assert!(!dump.contains("tls.key") && !dump.contains("PRIVATE KEY"), "{dump}");
    let catalogue = folders.emcee(&format!("catalogue --admin http://{admin}"));
    let said = String::from_utf8_lossy(&catalogue.stdout);
    assert!(catalogue.status.success() && said.contains("blue"), "{catalogue:?}");
    folders.put("in/ratings.yaml", binding("ratings"));
    following.wait_for("created VirtualService default/emcee-ratings-");
    assert!(get(&admin, "/config_dump").contains("emcee-ratings-"), "it is shown as it is now");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let folders = Folders::with_reviews();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it listens").to_string();
    let output = folders.emcee(&format!("run --dir in --out out --admin-address {address}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("cannot listen at {address}")), "{said}");
}
