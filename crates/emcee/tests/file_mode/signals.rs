//! A signal ends the program in time, whatever it does.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{TestFolders, binding, send_signal};

/// Time limit for every operation. A test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for the exit of a process. Kills it at the deadline.
#[track_caller]
fn wait_for_exit(mut child: Child) -> ExitStatus {
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
fn a_second_signal_ends_a_blocked_program() {
    let folders = TestFolders::with_reviews();
    let mut command = folders.command("run --dir in --out out --admin-address 127.0.0.1:0");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // Fill the buffer of the pipe.
    writer.write_all(&vec![b'x'; 65536]).expect("a pipe with this capacity");
    let (errors, error_writer) = io::pipe().expect("a pipe");
    let child = command.stdout(writer).stderr(error_writer).spawn().expect("the program runs");
    drop(command);
    let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the admin port is at")), "the program is running");
    send_signal("TERM", child.id());
    send_signal("INT", child.id());
    let status = wait_for_exit(child);
    assert_eq!(status.code(), Some(2));
    let output: Vec<_> = lines.collect();
    assert!(output.iter().any(|line| line.contains("a second signal")), "{output:?}");
    drop(reader);
}

/// Returns a resource with 3 MB of unknown fields.
fn resource_with_mistakes() -> String {
    let mut text = binding("bad");
    for number in 0..42_000 {
        writeln!(text, "  f{number:060}: 1").expect("a write to a String");
    }
    text
}

#[test]
fn a_file_with_many_mistakes_delays_neither_others_nor_signals() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService default/emcee-reviews-");
    folders.write_file("in/bad.yaml", resource_with_mistakes());
    folders.write_file("in/ratings.yaml", binding("ratings"));
    program.wait_for("created VirtualService default/emcee-ratings-");
    assert!(
        program.count_lines("ServiceBinding default/bad") <= 210,
        "the number of reported problems is limited"
    );
    assert!(program.end_with("TERM").success());
}
