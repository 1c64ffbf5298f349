//! The program as the image has it: static, so that the image needs nothing else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bed;
use crate::command::{cargo, output_of, run};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds it, where this machine can, and looks whether it is static.
pub(super) fn check() -> Result<()> {
    if let Some(missing) = missing() {
        println!("    not built: {missing}");
        return Ok(());
    }
    let mut build = cargo(&["build", "--locked", "--package", "emcee", "--target", TARGET]);
    run(build.env("CC_x86_64_unknown_linux_musl", "musl-gcc"))?;
    // Beside the folder of the host's own programs.
    let program = bed::program("emcee")?;
    let root = program.ancestors().nth(2).context("a program is in a folder of the target folder")?;
    let program = root.join(TARGET).join("debug/emcee");
    run(Command::new(&program).arg("--version"))?;
    ensure!(is_static(&program)?, "{} needs shared libraries", program.display());
    Ok(())
}

fn missing() -> Option<&'static str> {
    let installed = output_of(Command::new("rustup").args(["target", "list", "--installed"])).ok();
    if !installed.is_some_and(|targets| targets.lines().any(|target| target == TARGET)) {
        return Some("its target is missing (rustup target add x86_64-unknown-linux-musl)");
    }
    let compiler = Command::new("musl-gcc").arg("--version").output();
    compiler.is_err().then_some("its C compiler is missing (apt-get install musl-tools)")
}

/// A static program names no interpreter: `ldd` says so, and fails for some of them.
fn is_static(program: &Path) -> Result<bool> {
    let said = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(said.contains("statically linked") || said.contains("not a dynamic executable"))
}
