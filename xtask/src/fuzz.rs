//! Builds and runs the fuzz targets in `fuzz/`: libFuzzer on the pinned stable toolchain.
//!
//! Stable Rust has no sanitizers, but it can run LLVM's coverage pass, which is all that libFuzzer needs to find inputs.
//! The code is safe Rust: a fault is a panic, an assertion of a target, a timeout, or too much memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::bed;
use crate::command::{cargo, output_of, run};

/// How `cargo fuzz` instruments code, without a sanitizer.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Limits of one run: memory, and seconds for one input.
const LIMITS: [&str; 3] = ["-rss_limit_mb=1024", "-timeout=5", "-max_len=16384"];

/// Runs each target over its corpus and then for `seconds` with new inputs. Without a C++ compiler, says so.
pub(crate) fn check(seconds: u32) -> Result<()> {
    if Command::new("c++").arg("--version").output().is_err() {
        println!("    not run: the C++ compiler is missing (apt-get install g++)");
        return Ok(());
    }
    let folder = bed::workspace_root()?.join("fuzz");
    let programs = build_targets(&folder)?;
    let next = std::sync::Mutex::new(folder_names(&folder.join("corpus"))?.into_iter());
    let run_next = || -> Result<()> {
        loop {
            // The lock is released before the target runs, so that the other worker can take the next one.
            let target = next.lock().map_err(|_| anyhow!("a worker panicked"))?.next();
            let Some(target) = target else { return Ok(()) };
            run_target(&folder, &programs, &target, seconds)?;
        }
    };
    let workers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(run_next)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })
}

/// Builds the targets. Returns the folder of the programs.
fn build_targets(folder: &Path) -> Result<PathBuf> {
    let host = host_triple()?;
    // The flags and the target folder are those of this build only: with others, cargo rebuilds every dependency.
    let target_folder = bed::workspace_root()?.join("target/fuzz");
    // With `--target`, the flags do not apply to build scripts and macros, which could not be linked.
    let mut build = cargo(&["build", "--locked", "--bins", "--target", &host, "--manifest-path"]);
    build.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target_folder);
    run(build.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(target_folder.join(host).join("debug"))
}

/// Runs one target. What libFuzzer adds to the corpus and an input that fails go below `target/fuzz`, so that a run
/// does not change the repository.
fn run_target(folder: &Path, programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let found = programs.join("found").join(target);
    fs::create_dir_all(&found)?;
    let mut command = Command::new(programs.join(target));
    command.args(LIMITS).arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}-", programs.join("fault").join(target).display()));
    fs::create_dir_all(programs.join("fault"))?;
    // libFuzzer writes to the first folder and only reads the second.
    command.arg(&found).arg(folder.join("corpus").join(target));
    let output = command.output().with_context(|| format!("cannot start the fuzz target {target}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the fuzz target `{target}` found a fault; its input is named below\n{}", last_lines(&log, 40));
    }
    let done = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("no result");
    println!("    {target}: {done}");
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn host_triple() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names the host")?.to_owned())
}

/// Names of the folders in `parent`, sorted. Each target has a folder of the same name in `corpus`.
fn folder_names(parent: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(parent)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_target_has_a_corpus() {
        let folder = bed::workspace_root().unwrap().join("fuzz");
        let targets = fs::read_dir(folder.join("targets")).unwrap();
        let targets: BTreeSet<_> = targets
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(targets, folder_names(&folder.join("corpus")).unwrap().into_iter().collect());
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in targets {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target} is no program");
        }
    }

    #[test]
    fn the_corpora_are_small() {
        let folder = bed::workspace_root().unwrap().join("fuzz/corpus");
        let mut bytes = 0;
        for target in folder_names(&folder).unwrap() {
            for entry in fs::read_dir(folder.join(target)).unwrap() {
                bytes += entry.unwrap().metadata().unwrap().len();
            }
        }
        assert!(bytes < 200 * 1024, "{bytes} bytes");
    }
}
