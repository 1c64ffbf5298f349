//! Golden folders show the objects that Emcee generates for a few small resources, for readers and as a test.
//!
//! `golden/<style>/<side>-<case>/` contains `mesh.yaml`, the resources of users; `flags`, further flags of `emcee
//! render`, if any; and the expected output: `objects.yaml`, the objects, and `said.txt`, the messages.
//!
//! `UPDATE_GOLDEN=1 cargo test -p emcee --test golden` writes the expected output. Review the difference before you
//! commit it.

#[path = "golden/istioctl.rs"]
mod istioctl;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const INPUT: &str = "mesh.yaml";
const FLAGS: &str = "flags";
const OBJECTS: &str = "objects.yaml";
const MESSAGES: &str = "said.txt";

/// Separator of two documents in a stream.
const SEPARATOR: &str = "\n---\n";

#[test]
fn output_matches_the_golden_folders() {
    let wrong: Vec<_> = golden_folders().iter().flat_map(|folder| differences(folder)).collect();
    assert!(
        wrong.is_empty(),
        "the output differs from the golden folders (UPDATE_GOLDEN=1 updates them)\n{}",
        wrong.join("\n")
    );
}

#[test]
fn istio_accepts_every_golden_object() {
    let Some(istioctl) = istioctl::find_istioctl() else { return };
    let objects: Vec<_> = golden_folders().iter().map(|folder| run_render(folder).0).collect();
    let documents = objects.iter().flat_map(|text| text.split(SEPARATOR));
    let judged: Vec<_> = documents.filter(|document| istioctl::is_istio_object(document)).collect();
    assert!(!judged.is_empty(), "no golden folder has an Istio object");
    istioctl::validate(&istioctl, &judged.join(SEPARATOR));
}

#[test]
fn every_folder_has_a_comment_about_what_it_shows() {
    for folder in golden_folders() {
        let input = read_or_empty(&folder.join(INPUT));
        assert!(
            input.starts_with("# "),
            "{} does not begin with a comment about what it shows",
            display_path(&folder, INPUT)
        );
    }
}

/// Returns the files of the folder that differ from the output, each with the first different line.
fn differences(folder: &Path) -> Vec<String> {
    let (objects, messages) = run_render(folder);
    [(OBJECTS, objects), (MESSAGES, messages)]
        .into_iter()
        .filter_map(|(name, is)| {
            let path = folder.join(name);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                write_or_remove(&path, &is);
            }
            first_difference(&read_or_empty(&path), &is)
                .map(|words| format!("{}{words}", display_path(folder, name)))
        })
        .collect()
}

/// Runs `emcee render`. Returns its stdout, and its stderr with the exit code, if that is not 0.
///
/// The program runs in the folder, so that messages contain no paths of this machine.
fn run_render(folder: &Path) -> (String, String) {
    let flags = read_or_empty(&folder.join(FLAGS));
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    command.args(["render", "-f", INPUT]).args(flags.split_whitespace()).current_dir(folder);
    let output = command.output().expect("emcee runs");
    let mut messages = text(output.stderr);
    if !output.status.success() {
        messages += &output.status.to_string();
        messages.push('\n');
    }
    (text(output.stdout), messages)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("emcee prints UTF-8")
}

fn first_difference(should: &str, is: &str) -> Option<String> {
    if should == is {
        return None;
    }
    let (mut expected, mut got) = (should.lines(), is.lines());
    (1..).find_map(|number| match (expected.next(), got.next()) {
        (None, None) => Some(": differs in its line ends".to_owned()),
        (a, b) if a == b => None,
        (a, b) => {
            let line = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
            Some(format!(":{number}:\n  golden: {}\n  is:     {}", line(a), line(b)))
        }
    })
}

/// Returns all golden folders, sorted.
fn golden_folders() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found: Vec<_> = subfolders(&golden).iter().flat_map(|style| subfolders(style)).collect();
    found.sort();
    assert!(!found.is_empty(), "no golden folders");
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect()
}

/// Reads a file. A missing file is empty, so that a folder has no empty files.
fn read_or_empty(path: &Path) -> String {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.expect("a readable golden file"),
    }
}

fn write_or_remove(path: &Path, text: &str) {
    let written = match (text.is_empty(), path.exists()) {
        (true, true) => fs::remove_file(path),
        (true, false) => Ok(()),
        (false, _) => fs::write(path, text),
    };
    written.expect("a writable golden file");
}

fn display_path(folder: &Path, name: &str) -> String {
    let components: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    format!("golden/{}/{}/{name}", components[1], components[0])
}
