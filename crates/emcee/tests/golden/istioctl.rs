//! Istio's own judgement of Istio's kinds.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAME: &str = "istioctl";
const CACHE: &str = "EMCEE_TESTBED_CACHE";

/// `istioctl` of the `PATH`, else the one that the test bed built. CI has to have it.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn find() -> Option<PathBuf> {
    let found = places().into_iter().map(|folder| folder.join(NAME)).find(|path| path.is_file());
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no istioctl in PATH or in {CACHE}");
        eprintln!("skipped: no istioctl in PATH, and none that the test bed built");
    }
    found
}

fn places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    let cache = env::var_os(CACHE).map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache/emcee-testbed"));
    if let Some(cache) = cache.or_else(home) {
        let entries = fs::read_dir(&cache).into_iter().flatten().flatten();
        let mut versions: Vec<_> = entries.map(|entry| entry.path()).collect();
        versions.sort();
        folders.push(cache);
        folders.extend(versions);
    }
    folders
}

/// Whether a document is of a kind that istioctl knows; of others it only says that they could have more labels.
pub(crate) fn judges(document: &str) -> bool {
    let api_version = document.lines().find_map(|line| line.strip_prefix("apiVersion: "));
    api_version.is_some_and(|api_version| api_version.contains(".istio.io/"))
}

/// Fails with istioctl's words if it refuses anything in the stream.
pub(crate) fn validate(istioctl: &Path, stream: &str) {
    let mut command = Command::new(istioctl);
    command.args(["validate", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("istioctl runs");
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    // A refusal may come before all is written; its words come with the output.
    let _ = stdin.write_all(stream.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("istioctl ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "istioctl validate: {}\n{said}", output.status);
}
