//! The program of the image must be static, so that the image needs nothing else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bed;
use crate::command::{cargo, output_of, run};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds the program, if this machine can, and checks that it is static.
pub(super) fn check() -> Result<()> {
    if let Some(missing) = missing_tool() {
        println!("    not built: {missing}");
        return Ok(());
    }
    let mut build = cargo(&["build", "--locked", "--package", "emcee", "--target", TARGET]);
    run(build.env("CC_x86_64_unknown_linux_musl", "musl-gcc"))?;
    // The target's folder is next to the folder of the host's own programs.
    let program = bed::debug_program("emcee")?;
    let root = program.ancestors().nth(2).context("a program is in a folder of the target folder")?;
    let program = root.join(TARGET).join("debug/emcee");
    run(Command::new(&program).arg("--version"))?;
    ensure!(is_static(&program)?, "{} needs shared libraries", program.display());
    Ok(())
}

fn missing_tool() -> Option<&'static str> {
    let installed = output_of(Command::new("rustup").args(["target", "list", "--installed"])).ok();
    if !installed.is_some_and(|targets| targets.lines().any(|target| target == TARGET)) {
        return Some("its target is missing (rustup target add x86_64-unknown-linux-musl)");
    }
    let compiler = Command::new("musl-gcc").arg("--version").output();
    compiler.is_err().then_some("its C compiler is missing (apt-get install musl-tools)")
}

/// A static program names no interpreter: `ldd` reports that, and fails for some programs.
fn is_static(program: &Path) -> Result<bool> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let output = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok(output.contains("statically linked") || output.contains("not a dynamic executable"))
}
