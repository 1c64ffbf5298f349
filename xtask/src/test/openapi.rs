//! The OpenAPI documents that tests compare with, before a validator that is not ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bed;
use crate::command::{cache_folder, output_of, run};

const VALIDATOR: &str = "openapi-spec-validator";
/// As `requirements.txt` pins it.
const VERSION: &str = "0.9.0";
const REQUIREMENTS: &str = "xtask/openapi/requirements.txt";
const DOCUMENTS: &str = "crates/discovery/src/openapi/golden";
/// No document: it says nothing of itself.
const NONE: &str = r#"{"openapi": "3.1.0", "paths": {}}"#;

/// Every document passes, and what is none does not.
pub(super) fn check() -> Result<()> {
    let workspace = bed::workspace()?;
    let Some(validator) = Validator::installed(&workspace)? else { return Ok(()) };
    let none = validator.folder.join("none.json");
    std::fs::write(&none, NONE).with_context(|| format!("cannot write {}", none.display()))?;
    ensure!(
        !validator.judge(&none).output()?.status.success(),
        "{VALIDATOR} passes what is no OpenAPI document"
    );
    let documents = documents(&workspace.join(DOCUMENTS))?;
    ensure!(!documents.is_empty(), "{DOCUMENTS} has no document");
    documents.iter().try_for_each(|document| run(&mut validator.judge(document)))
}

fn documents(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")).collect())
}

struct Validator {
    folder: PathBuf,
}

impl Validator {
    /// The pinned one, installed in the cache folder if need be; none where that cannot be, which CI does not accept.
    fn installed(workspace: &Path) -> Result<Option<Self>> {
        let validator = Self { folder: cache_folder()?.join(format!("{VALIDATOR}-{VERSION}")) };
        if validator.is_pinned() {
            return Ok(Some(validator));
        }
        if output_of(&mut python(&["-m", "pip", "--version"])).is_err() {
            let missing = "python3 has no pip: apt-get install python3-pip";
            if std::env::var("CI").is_ok_and(|ci| ci == "true") {
                bail!("{missing}");
            }
            println!("    not checked: {missing}");
            return Ok(None);
        }
        let mut install =
            python(&["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
        install.args(["--only-binary=:all:", "--upgrade", "--requirement"]).arg(workspace.join(REQUIREMENTS));
        run(install.arg("--target").arg(&validator.folder))?;
        ensure!(validator.is_pinned(), "{REQUIREMENTS} does not pin {VALIDATOR} {VERSION}");
        Ok(Some(validator))
    }

    fn is_pinned(&self) -> bool {
        // Without it, Python would complain where nothing is wrong.
        self.folder.is_dir()
            && output_of(self.python().arg("--version")).is_ok_and(|said| said.trim().ends_with(VERSION))
    }

    fn judge(&self, document: &Path) -> Command {
        let mut command = self.python();
        command.args(["--schema", "3.1.0"]).arg(document);
        command
    }

    fn python(&self) -> Command {
        let mut command = python(&["-m", "openapi_spec_validator"]);
        command.env("PYTHONPATH", &self.folder);
        command
    }
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}
