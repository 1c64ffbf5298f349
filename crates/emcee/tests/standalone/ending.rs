//! A signal ends it in time, whatever it does.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Folders, binding, send};

/// Longer than any machine takes: a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for the end; what has not ended then is killed.
#[track_caller]
fn ends(mut child: Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is a child") {
            return status;
        }
        let is_late = began.elapsed() > DEADLINE;
        if is_late {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
        assert!(!is_late, "it has not ended");
        thread::yield_now();
    }
}

/// Its output has no reader, so that it hangs in the midst of its work.
#[test]
fn a_second_signal_ends_at_once_what_hangs() {
    let folders = Folders::with_reviews();
    let mut command = folders.command("run --dir in --out out --admin-address 127.0.0.1:0");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // All that a pipe holds.
    writer.write_all(&vec![b'x'; 65536]).expect("it holds as much");
    let (errors, error_writer) = io::pipe().expect("a pipe");
    let child = command.stdout(writer).stderr(error_writer).spawn().expect("the program runs");
    drop(command);
    let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the admin port is at")), "it is under way");
    send("TERM", child.id());
    send("INT", child.id());
    let status = ends(child);
    assert_eq!(status.code(), Some(2));
    let said: Vec<_> = lines.collect();
    assert!(said.iter().any(|line| line.contains("a second signal")), "{said:?}");
    drop(reader);
}

/// Unknown fields, 3 MB of them.
fn mistakes() -> String {
    let mut text = binding("bad");
    for number in 0..42_000 {
        writeln!(text, "  f{number:060}: 1").expect("a String takes all");
    }
    text
}

#[test]
fn a_file_of_mistakes_hinders_nobody_and_no_signal() {
    let folders = Folders::with_reviews();
    let mut following = folders.follow();
    following.wait_for("created VirtualService default/emcee-reviews-");
    folders.put("in/bad.yaml", mistakes());
    folders.put("in/ratings.yaml", binding("ratings"));
    following.wait_for("created VirtualService default/emcee-ratings-");
    assert!(following.times("ServiceBinding default/bad") <= 210, "as many problems as people read");
    assert!(following.end("TERM").success());
}
