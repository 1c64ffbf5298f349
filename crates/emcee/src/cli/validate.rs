//! `emcee validate`: checks files.

use clap::Args;

use super::ExitStatus;
use super::check::{DuplicatePolicy, check_documents};
use super::common_args::{FileArgs, MeshSettings};
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee validate -f mesh/
  kubectl get mfc,sx,sb -A -o yaml | emcee validate -f -";

/// Check resources, and report everything that is wrong with them.
///
/// Each problem is one line: FILE:LINE: Kind namespace/name: field: what is wrong (what is allowed). Exit code 1 if
/// there is any. You may check the files of several meshes at once; if two files contain the same object, each object
/// is then checked only on its own.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    mesh_settings: MeshSettings,
}

pub(super) fn run(args: &ValidateArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let Some(reading) = args.files.read_documents(console)? else { return Ok(ExitStatus::Failed) };
    let checked = check_documents(reading, args.mesh_settings.to_settings(), DuplicatePolicy::AcrossFiles);
    checked.print_failures(console)?;
    Ok(if checked.print_refusals(console)? { ExitStatus::Findings } else { ExitStatus::Success })
}
