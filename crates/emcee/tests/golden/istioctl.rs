//! Validation of Istio objects with `istioctl`.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = "istioctl";
const CACHE_VARIABLE: &str = "EMCEE_TESTBED_CACHE";

/// Finds `istioctl` in the `PATH`, or the one that the test bed built. In CI it must exist.
#[expect(clippy::print_stderr, reason = "a skipped test prints a note")]
pub(crate) fn find_istioctl() -> Option<PathBuf> {
    let found = search_folders().into_iter().map(|folder| folder.join(PROGRAM)).find(|path| path.is_file());
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no istioctl in PATH or in {CACHE_VARIABLE}");
        eprintln!("skipped: no istioctl in PATH, and none that the test bed built");
    }
    found
}

fn search_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    let cache = env::var_os(CACHE_VARIABLE).map(PathBuf::from);
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

/// Returns whether istioctl validates a document. For other kinds it only suggests more labels.
pub(crate) fn is_istio_object(document: &str) -> bool {
    let api_version = document.lines().find_map(|line| line.strip_prefix("apiVersion: "));
    api_version.is_some_and(|api_version| api_version.contains(".istio.io/"))
}

/// Fails with the message of istioctl if it refuses an object in the stream.
pub(crate) fn validate(istioctl: &Path, stream: &str) {
    let mut command = Command::new(istioctl);
    command.args(["validate", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("istioctl runs");
    let mut stdin = child.stdin.take().expect("a piped stdin");
    // istioctl may exit before it has read everything. Then its output contains the error.
    let _ = stdin.write_all(stream.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("istioctl ends");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "istioctl validate: {}\n{message}", output.status);
}
