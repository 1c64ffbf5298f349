//! A signal ends the program in time, whatever it does.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Folders, binding, send};

/// Time limit for every operation. A test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for the exit of a process. Kills it at the deadline.
#[track_caller]
fn ends(mut child: Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child process") {
            return status;
        }
        let is_late = began.elapsed() > DEADLINE;
        if is_late {
            child.kill().expect("a running process");
            child.wait().expect("an exit status");
        }
        assert!(!is_late, "the process has not exited");
        thread::yield_now();
    }
}

/// The output of the program has no reader, so it blocks while it works.
#[test]
fn a_second_signal_ends_at_once_what_hangs() {
    let folders = Folders::with_reviews();
    let mut command = folders.command("run --dir in --out out --admin-address 127.0.0.1:0");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // Fill the buffer of the pipe.
    writer.write_all(&vec![b'x'; 65536]).expect("a pipe with this capacity");
    let (errors, error_writer) = io::pipe().expect("a pipe");
    let child = command.stdout(writer).stderr(error_writer).spawn().expect("the program runs");
    drop(command);
    let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the admin port is at")), "the program is running");
    send("TERM", child.id());
    send("INT", child.id());
    let status = ends(child);
    assert_eq!(status.code(), Some(2));
    let output: Vec<_> = lines.collect();
    assert!(output.iter().any(|line| line.contains("a second signal")), "{output:?}");
    drop(reader);
}

/// Returns a resource with 3 MB of unknown fields.
fn mistakes() -> String {
    let mut text = binding("bad");
    for number in 0..42_000 {
        writeln!(text, "  f{number:060}: 1").expect("a write to a String");
    }
    text
}

#[test]
fn a_file_of_mistakes_hinders_nobody_and_no_signal() {
    let folders = Folders::with_reviews();
    let mut program = folders.follow();
    program.wait_for("created VirtualService default/emcee-reviews-");
    folders.put("in/bad.yaml", mistakes());
    folders.put("in/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert!(program.times("ServiceBinding default/bad") <= 210, "the number of reported problems is limited");
    assert!(program.end("TERM").success());
}
