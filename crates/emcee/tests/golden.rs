//! Golden folders: what Emcee makes of a few small resources, to be read by people.
//!
//! `golden/<style>/<side>-<case>/` holds `mesh.yaml`, what users wrote; `flags`, if `emcee render` is given any;
//! and what comes of it: `objects.yaml`, the objects, and `said.txt`, what is said about them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p emcee --test golden` writes both anew: read the difference before it is committed.

#[path = "golden/istioctl.rs"]
mod istioctl;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const INPUT: &str = "mesh.yaml";
const FLAGS: &str = "flags";
const OBJECTS: &str = "objects.yaml";
const SAID: &str = "said.txt";

/// Between two documents of a stream.
const SEPARATOR: &str = "\n---\n";

#[test]
fn renders_what_the_golden_folders_show() {
    let wrong: Vec<_> = folders().iter().flat_map(|folder| differences(folder)).collect();
    assert!(
        wrong.is_empty(),
        "not as the golden folders show (UPDATE_GOLDEN=1 writes them anew)\n{}",
        wrong.join("\n")
    );
}

#[test]
fn istio_accepts_every_golden_object() {
    let Some(istioctl) = istioctl::find() else { return };
    let objects: Vec<_> = folders().iter().map(|folder| render(folder).0).collect();
    let documents = objects.iter().flat_map(|text| text.split(SEPARATOR));
    let judged: Vec<_> = documents.filter(|document| istioctl::judges(document)).collect();
    assert!(!judged.is_empty(), "no golden folder has an object of Istio's");
    istioctl::validate(&istioctl, &judged.join(SEPARATOR));
}

#[test]
fn says_of_every_folder_what_it_shows() {
    for folder in folders() {
        let input = read(&folder.join(INPUT));
        assert!(input.starts_with("# "), "{} does not begin with what it shows", shown(&folder, INPUT));
    }
}

/// Files of the folder that are not as they should be, each with the first line that differs.
fn differences(folder: &Path) -> Vec<String> {
    let (objects, said) = render(folder);
    [(OBJECTS, objects), (SAID, said)]
        .into_iter()
        .filter_map(|(name, is)| {
            let path = folder.join(name);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                write(&path, &is);
            }
            first_difference(&read(&path), &is).map(|words| format!("{}{words}", shown(folder, name)))
        })
        .collect()
}

/// What `emcee render` prints, and what it says with its exit code, if that is not 0.
///
/// It runs inside the folder, so that no path of this machine is said.
fn render(folder: &Path) -> (String, String) {
    let flags = read(&folder.join(FLAGS));
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    command.args(["render", "-f", INPUT]).args(flags.split_whitespace()).current_dir(folder);
    let output = command.output().expect("emcee runs");
    let mut said = text(output.stderr);
    if !output.status.success() {
        said += &output.status.to_string();
        said.push('\n');
    }
    (text(output.stdout), said)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("emcee prints UTF-8")
}

fn first_difference(should: &str, is: &str) -> Option<String> {
    if should == is {
        return None;
    }
    let (mut wanted, mut got) = (should.lines(), is.lines());
    (1..).find_map(|number| match (wanted.next(), got.next()) {
        (None, None) => Some(": differs in its line ends".to_owned()),
        (a, b) if a == b => None,
        (a, b) => {
            let line = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
            Some(format!(":{number}:\n  golden: {}\n  is:     {}", line(a), line(b)))
        }
    })
}

/// All folders that hold an input, in order.
fn folders() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found: Vec<_> = subfolders(&golden).iter().flat_map(|style| subfolders(style)).collect();
    found.sort();
    assert!(!found.is_empty(), "no golden folders");
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("golden folders can be listed");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect()
}

/// An absent file is an empty one, so that a folder holds only what says something.
fn read(path: &Path) -> String {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.expect("golden files can be read"),
    }
}

fn write(path: &Path, text: &str) {
    let written = match (text.is_empty(), path.exists()) {
        (true, true) => fs::remove_file(path),
        (true, false) => Ok(()),
        (false, _) => fs::write(path, text),
    };
    written.expect("golden files can be written");
}

fn shown(folder: &Path, name: &str) -> String {
    let components: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    format!("golden/{}/{}/{name}", components[1], components[0])
}
