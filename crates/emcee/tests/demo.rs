//! `emcee demo` without `--once`: the files and URLs that it prints exist. The README test runs it with `--once`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A running demo. It is killed when the test ends.
struct RunningDemo(Child);

impl RunningDemo {
    /// Sends SIGINT, as Ctrl-C does. Returns whether the demo exits successfully.
    fn interrupt(&mut self) -> bool {
        let command = format!("kill -INT {}", self.0.id());
        let sent = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        sent.success() && self.0.wait().expect("the demo exits").success()
    }
}

impl Drop for RunningDemo {
    fn drop(&mut self) {
        // On success, the demo has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn emcee_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    command.args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn the_demo_keeps_running_and_prints_its_files() {
    let mut child = emcee_command(&["demo"]).stdout(Stdio::piped()).spawn().expect("the program runs");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut demo = RunningDemo(child);
    let mut lines =
        stdout.lines().map_while(Result::ok).skip_while(|line| !line.ends_with("CATALOGUE")).skip(1);
    let m1 = lines.next().expect("a line for m1");
    let columns: Vec<_> = m1.split_whitespace().collect();
    let [name, resources, objects, _, catalogue] = columns[..] else { panic!("{m1}") };
    assert_eq!(name, "m1");
    assert!(std::path::Path::new(resources).join("mesh.yaml").is_file(), "{m1}");
    assert!(std::path::Path::new(objects).join("status").is_dir(), "{m1}");
    let url = catalogue.strip_suffix("/catalogue").expect("a URL");
    let output = emcee_command(&["catalogue", "--admin", url]).output().expect("the program runs");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("reviews") && output.contains("ratings"), "{output}");
    lines.find(|line| line.contains("Ctrl-C")).expect("a line that explains how to end the demo");
    assert!(demo.interrupt());
}
