//! `emcee validate`: checks files.

mod report;
mod sarif;

use clap::{Args, ValueEnum};

use super::ExitStatus;
use super::check::{CheckReport, DuplicatePolicy, check_documents};
use super::common_args::{FileArgs, MeshSettings};
use crate::console::Console;
pub(super) use report::ValidateReport;

const EXAMPLES: &str = "\
Examples:
  emcee validate -f mesh/
  emcee validate -f mesh/ --strict
  emcee validate -f mesh/ -o sarif > emcee.sarif
  kubectl get mfc,sx,sb -A -o yaml | emcee validate -f -

Each line ends with its reason: `emcee explain REASON` says what it means and how to fix it.";

/// Check resources, and report everything that is wrong with them, assumed, or probably not what you want.
///
/// Each problem is one line: FILE:LINE: Kind namespace/name: field: what is wrong (what is allowed) `[Reason]`. What
/// follows from another problem is only counted. You may check the files of several meshes at once; if two files
/// contain the same object, each object is then checked only on its own. Exit code 0: nothing is refused; 1: something
/// is refused, or there is nothing to check; with --strict also for anything else that is reported; 2: a file cannot be
/// read.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Exit with code 1 for warnings, assumptions and what is not generated, too
    #[arg(long)]
    strict: bool,

    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = ValidateFormat::Text)]
    output: ValidateFormat,

    #[command(flatten)]
    mesh_settings: MeshSettings,
}

/// Output format of `emcee validate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ValidateFormat {
    /// One line for each problem, on stderr
    Text,
    /// One object of kind ValidateReport, on stdout
    Json,
    /// A SARIF 2.1.0 log for code review tools, on stdout
    Sarif,
}

pub(super) fn run(args: &ValidateArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let Some(reading) = args.files.read_documents(console)? else { return Ok(ExitStatus::Failed) };
    let checked = check_documents(reading, args.mesh_settings.to_settings(), DuplicatePolicy::AcrossFiles);
    match args.output {
        ValidateFormat::Text => {
            checked.print_findings(console)?;
            console.print_note(checked.summary_line())?;
        }
        ValidateFormat::Json => console.print_data(&to_json(&ValidateReport::from_check(&checked))?)?,
        ValidateFormat::Sarif => console.print_data(&to_json(&sarif::build_log(&checked.findings))?)?,
    }
    Ok(exit_status(&checked, args.strict))
}

fn exit_status(checked: &CheckReport, strict: bool) -> ExitStatus {
    // No object at all is most often a pipe whose first command has failed.
    let has_nothing = checked.objects == 0;
    if checked.has_refusals() || has_nothing || (strict && checked.has_strict_findings()) {
        ExitStatus::Findings
    } else {
        ExitStatus::Success
    }
}

fn to_json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}
