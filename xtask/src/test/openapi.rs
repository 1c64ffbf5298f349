//! Checks the OpenAPI documents in the golden files with an independent validator.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bed;
use crate::command::{cache_folder, output_of, run};

const VALIDATOR: &str = "openapi-spec-validator";
/// The version in `requirements.txt`.
const VERSION: &str = "0.9.0";
const REQUIREMENTS: &str = "xtask/openapi/requirements.txt";
const DOCUMENTS: &str = "crates/discovery/src/formats/openapi/golden";
/// An invalid document, because it has no `info`.
const INVALID_DOCUMENT: &str = r#"{"openapi": "3.1.0", "paths": {}}"#;

/// Every document is valid, and the validator rejects an invalid one.
pub(super) fn check() -> Result<()> {
    let workspace = bed::workspace_root()?;
    let Some(validator) = Validator::install_pinned(&workspace)? else { return Ok(()) };
    let none = validator.folder.join("none.json");
    std::fs::write(&none, INVALID_DOCUMENT).with_context(|| format!("cannot write {}", none.display()))?;
    ensure!(
        !validator.validate_command(&none).output()?.status.success(),
        "{VALIDATOR} accepts an invalid OpenAPI document"
    );
    let documents = list_documents(&workspace.join(DOCUMENTS))?;
    ensure!(!documents.is_empty(), "{DOCUMENTS} has no document");
    documents.iter().try_for_each(|document| run(&mut validator.validate_command(document)))
}

fn list_documents(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")).collect())
}

struct Validator {
    folder: PathBuf,
}

impl Validator {
    /// The pinned validator, installed in the cache folder if it is missing. `None` if it cannot be installed, which is
    /// an error in CI.
    fn install_pinned(workspace: &Path) -> Result<Option<Self>> {
        let validator = Self { folder: cache_folder()?.join(format!("{VALIDATOR}-{VERSION}")) };
        if validator.is_pinned() {
            return Ok(Some(validator));
        }
        if output_of(&mut python_command(&["-m", "pip", "--version"])).is_err() {
            let missing = "python3 has no pip: apt-get install python3-pip";
            if std::env::var("CI").is_ok_and(|ci| ci == "true") {
                bail!("{missing}");
            }
            println!("    not checked: {missing}");
            return Ok(None);
        }
        let mut install = python_command(&[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
        ]);
        install.args(["--only-binary=:all:", "--upgrade", "--requirement"]).arg(workspace.join(REQUIREMENTS));
        run(install.arg("--target").arg(&validator.folder))?;
        ensure!(validator.is_pinned(), "{REQUIREMENTS} does not pin {VALIDATOR} {VERSION}");
        Ok(Some(validator))
    }

    fn is_pinned(&self) -> bool {
        // Without the folder, Python would print an error although nothing is wrong.
        self.folder.is_dir()
            && output_of(self.validator_command().arg("--version"))
                .is_ok_and(|output| output.trim().ends_with(VERSION))
    }

    fn validate_command(&self, document: &Path) -> Command {
        let mut command = self.validator_command();
        command.args(["--schema", "3.1.0"]).arg(document);
        command
    }

    fn validator_command(&self) -> Command {
        let mut command = python_command(&["-m", "openapi_spec_validator"]);
        command.env("PYTHONPATH", &self.folder);
        command
    }
}

fn python_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}
