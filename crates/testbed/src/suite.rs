//! Runs tests on one bed, which is started once and stopped after the last test.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::bed::{Bed, Options};
use crate::interrupt::Interrupt;
use crate::progress::print_progress;
use crate::state;
use crate::toolchain::doctor;

/// Environment variable with the path of the `emcee` under test.
pub const EMCEE_VARIABLE: &str = "EMCEE_BIN";

/// A test: its name, and the function that runs it on the bed.
pub type Test = (&'static str, fn(&Bed) -> Result<()>);

/// A test without a bed, which creates by itself what it needs.
pub type StandaloneTest = (&'static str, fn() -> Result<()>);

/// Image for which pods run the `emcee` under test, in beds of suites that use [`run_with_emcee`].
pub const EMCEE_IMAGE: &str = "emcee-testbed/emcee";

/// Starts the bed, runs the tests one after the other, and stops the bed.
///
/// If the machine cannot run a bed, the tests are ignored, with the reason in one line; with `CI=true` that is a failure.
pub fn run(options: &Options, tests: &'static [Test]) -> ExitCode {
    run_with_long_tests(options, tests, &[])
}

/// Like [`run`], with tests that take long: they are ignored unless `--ignored` or `--include-ignored` is given.
pub fn run_with_long_tests(
    options: &Options,
    tests: &'static [Test],
    long_tests: &'static [Test],
) -> ExitCode {
    run_with_options(|| Ok(options.clone()), tests, long_tests)
}

/// Like [`run`], on a bed in which pods with the image [`EMCEE_IMAGE`] run the `emcee` under test.
pub fn run_with_emcee(options: &Options, tests: &'static [Test]) -> ExitCode {
    let with_emcee = || {
        let mut options = options.clone();
        options.images.insert(EMCEE_IMAGE.to_owned(), vec![emcee_path()?.display().to_string()]);
        Ok(options)
    };
    run_with_options(with_emcee, tests, &[])
}

/// `options` is only called if the machine can run a bed, because it may start a build.
fn run_with_options(
    options: impl FnOnce() -> Result<Options>,
    tests: &'static [Test],
    long_tests: &'static [Test],
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test has its own namespaces, but two cores are too few for two tests at a time.
    arguments.test_threads.get_or_insert(1);
    let names: Vec<_> = tests.iter().chain(long_tests).map(|(name, _)| *name).collect();
    if let Err(reason) = doctor::require() {
        return skip_tests(&arguments, &names, &reason);
    }
    if arguments.list {
        return libtest_mimic::run(&arguments, ignored_trials(&names, "")).exit_code();
    }
    match options().and_then(|options| run_trials(options, tests, long_tests, arguments)) {
        Ok(code) => code,
        Err(error) => {
            print_progress(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs tests that create by themselves what they need, without a bed. If the machine cannot run a bed, they are ignored
/// as by [`run`].
pub fn run_standalone(tests: &'static [StandaloneTest]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let names: Vec<_> = tests.iter().map(|(name, _)| *name).collect();
    if let Err(reason) = doctor::require() {
        return skip_tests(&arguments, &names, &reason);
    }
    let trials = tests.iter().map(|(name, test)| {
        Trial::test(*name, || test().map_err(|error| Failed::from(format!("{error:#}"))))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn run_trials(
    options: Options,
    tests: &'static [Test],
    long_tests: &'static [Test],
    arguments: Arguments,
) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let code = interrupt.run_unless_interrupted(move || {
        let bed = Arc::new(Bed::up(&options)?);
        let trial = |(name, test): &(&'static str, _)| bed_trial(name, *test, Arc::clone(&bed));
        let long_trials = long_tests.iter().map(trial).map(|trial| trial.with_ignored_flag(true));
        let trials = tests.iter().map(trial).chain(long_trials).collect();
        // When this returns, the trials are gone, and with them all handles of the bed but the last.
        Ok(libtest_mimic::run(&arguments, trials).exit_code())
    })?;
    code.unwrap_or_else(|| {
        state::remove_before_exit();
        bail!("interrupted; everything that was started is removed");
    })
}

fn bed_trial(name: &'static str, test: fn(&Bed) -> Result<()>, bed: Arc<Bed>) -> Trial {
    Trial::test(name, move || {
        test(&bed).map_err(|error| {
            let tails: String = bed.meshes().iter().map(|mesh| mesh.log_tails(12)).collect();
            // The error comes last, because output that is too long is cut off at its beginning.
            Failed::from(format!("{tails}\n\n{name}: {error:#}"))
        })
    })
}

fn skip_tests(arguments: &Arguments, tests: &[&'static str], reason: &anyhow::Error) -> ExitCode {
    print_progress(format_args!("end-to-end tests ignored: {reason:#}"));
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(arguments, ignored_trials(tests, "no bed")).exit_code()
}

fn ignored_trials(tests: &[&'static str], kind: &str) -> Vec<Trial> {
    tests
        .iter()
        .map(|name| Trial::test(*name, || Ok(())).with_kind(kind).with_ignored_flag(!kind.is_empty()))
        .collect()
}

/// Path of the `emcee` under test: the one in the environment variable, or else one that is built here.
pub fn emcee_path() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(path) = std::env::var_os(EMCEE_VARIABLE).map(PathBuf::from) {
        ensure!(path.is_file(), "{EMCEE_VARIABLE}={} is not a file", path.display());
        return Ok(path);
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    Ok(built.insert(build_emcee()?).clone())
}

fn build_emcee() -> Result<PathBuf> {
    print_progress(format_args!("building emcee ({EMCEE_VARIABLE} is not set)"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", "emcee", "--message-format", "json-render-diagnostics"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let done = cargo.output().context("cannot start cargo")?;
    ensure!(done.status.success(), "cargo build -p emcee failed (fix it, or set {EMCEE_VARIABLE})");
    let stdout = String::from_utf8_lossy(&done.stdout);
    let mut executables = stdout.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("cargo built no emcee")
}

/// What `emcee` prints with these arguments; if it fails, its stderr is the error.
pub fn emcee_output(arguments: &[&str]) -> Result<String> {
    let done = Command::new(emcee_path()?).args(arguments).output().context("cannot start emcee")?;
    if !done.status.success() {
        bail!("emcee {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Output of `emcee render -f DIR`.
pub fn render(dir: &Path) -> Result<String> {
    emcee_output(&["render", "-f", dir.to_str().context("the folder's name is not UTF-8")?])
}

/// Output of `emcee render` for a file with these contents.
pub fn render_text(yaml: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("mesh.yaml"), yaml)?;
    render(folder.path())
}
