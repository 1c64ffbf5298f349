//! `emcee validate`: checks files.

use clap::Args;

use super::Outcome;
use super::check::{Duplicates, check};
use super::sources::{Files, Surroundings};
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
    files: Files,
    #[command(flatten)]
    surroundings: Surroundings,
}

pub(super) fn run(args: &ValidateArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let Some(reading) = args.files.read(console)? else { return Ok(Outcome::Failed) };
    let checked = check(reading, args.surroundings.settings(), Duplicates::AcrossFiles);
    checked.say_failures(console)?;
    Ok(if checked.say_refusals(console)? { Outcome::Refused } else { Outcome::Fine })
}
