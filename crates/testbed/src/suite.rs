//! Running tests on one bed: brought up once, taken down after the last.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::bed::{Bed, Options};
use crate::interrupt::Interrupt;
use crate::progress::say;
use crate::state;
use crate::toolchain::doctor;

/// Names the `emcee` binary under test.
pub const EMCEE_VARIABLE: &str = "EMCEE_BIN";

/// A test: its name, and what it does with the bed.
pub type Test = (&'static str, fn(&Bed) -> Result<()>);

/// A test that makes by itself what it needs.
pub type Alone = (&'static str, fn() -> Result<()>);

/// What pods with this image run, in beds of suites that [`run_with_emcee`] runs, is the `emcee` under test.
pub const EMCEE_IMAGE: &str = "emcee-testbed/emcee";

/// Brings the bed up, runs the tests one after the other, takes it down.
///
/// Where the machine cannot run a bed they are ignored with the reason in one line; with `CI=true` that fails.
pub fn run(options: &Options, tests: &'static [Test]) -> ExitCode {
    run_on(|| Ok(options.clone()), tests)
}

/// As [`run`], on a bed whose pods can run the `emcee` under test, as [`EMCEE_IMAGE`].
pub fn run_with_emcee(options: &Options, tests: &'static [Test]) -> ExitCode {
    let with_emcee = || {
        let mut options = options.clone();
        options.images.insert(EMCEE_IMAGE.to_owned(), vec![emcee()?.display().to_string()]);
        Ok(options)
    };
    run_on(with_emcee, tests)
}

/// The options are made only where the machine can run a bed: that may take a build.
fn run_on(options: impl FnOnce() -> Result<Options>, tests: &'static [Test]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test has namespaces of its own, but two cores have no time for two tests.
    arguments.test_threads.get_or_insert(1);
    let names: Vec<_> = tests.iter().map(|(name, _)| *name).collect();
    if let Err(reason) = doctor::require() {
        return skip(&arguments, &names, &reason);
    }
    if arguments.list {
        return libtest_mimic::run(&arguments, ignored(&names, "")).exit_code();
    }
    match options().and_then(|options| on_bed(options, tests, arguments)) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs tests that each make what they need: a bed is up for none of them. Where the machine cannot, as [`run`].
pub fn run_alone(tests: &'static [Alone]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let names: Vec<_> = tests.iter().map(|(name, _)| *name).collect();
    if let Err(reason) = doctor::require() {
        return skip(&arguments, &names, &reason);
    }
    let trials = tests.iter().map(|(name, test)| {
        Trial::test(*name, || test().map_err(|error| Failed::from(format!("{error:#}"))))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn on_bed(options: Options, tests: &'static [Test], arguments: Arguments) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let code = interrupt.or(move || {
        let bed = Arc::new(Bed::up(&options)?);
        let trials = tests.iter().map(|(name, test)| trial(name, *test, Arc::clone(&bed))).collect();
        // The trials, and with them all but the last handle of the bed, are gone when this returns.
        Ok(libtest_mimic::run(&arguments, trials).exit_code())
    })?;
    code.unwrap_or_else(|| {
        state::abandon();
        bail!("interrupted; what was begun is removed");
    })
}

fn trial(name: &'static str, test: fn(&Bed) -> Result<()>, bed: Arc<Bed>) -> Trial {
    Trial::test(name, move || {
        test(&bed).map_err(|error| {
            let tails: String = bed.meshes().iter().map(|mesh| mesh.log_tails(12)).collect();
            // Last, as what is cut off a long output is its beginning.
            Failed::from(format!("{tails}\n\n{name}: {error:#}"))
        })
    })
}

fn skip(arguments: &Arguments, tests: &[&'static str], reason: &anyhow::Error) -> ExitCode {
    say(format_args!("end-to-end tests ignored: {reason:#}"));
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(arguments, ignored(tests, "no bed")).exit_code()
}

fn ignored(tests: &[&'static str], kind: &str) -> Vec<Trial> {
    tests
        .iter()
        .map(|name| Trial::test(*name, || Ok(())).with_kind(kind).with_ignored_flag(!kind.is_empty()))
        .collect()
}

/// The `emcee` under test: the one that the environment names, or else built here.
pub fn emcee() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(path) = std::env::var_os(EMCEE_VARIABLE).map(PathBuf::from) {
        ensure!(path.is_file(), "{EMCEE_VARIABLE}={} is no file", path.display());
        return Ok(path);
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    Ok(built.insert(build_emcee()?).clone())
}

fn build_emcee() -> Result<PathBuf> {
    say(format_args!("building emcee ({EMCEE_VARIABLE} names no binary)"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", "emcee", "--message-format", "json-render-diagnostics"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let done = cargo.output().context("cannot start cargo")?;
    ensure!(done.status.success(), "cargo build -p emcee failed; or set {EMCEE_VARIABLE}");
    let said = String::from_utf8_lossy(&done.stdout);
    let mut executables = said.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("cargo built no emcee")
}

/// What `emcee` prints; its complaint, if it fails.
pub fn print(arguments: &[&str]) -> Result<String> {
    let done = Command::new(emcee()?).args(arguments).output().context("cannot start emcee")?;
    if !done.status.success() {
        bail!("emcee {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// What `emcee render -f DIR` prints.
pub fn render(dir: &Path) -> Result<String> {
    print(&["render", "-f", dir.to_str().context("a folder whose name is no text")?])
}

/// What `emcee render` prints for a file with these contents.
pub fn render_text(yaml: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("mesh.yaml"), yaml)?;
    render(folder.path())
}
