//! Command line of Emcee.
//!
//! Exit codes: 0 success; 1 something was refused (`diff`: there is a difference); 2 the command could not be carried
//! out (wrong usage, a file that cannot be read; `diff`: something was refused).

mod bind;
mod catalogue;
mod check;
#[cfg(test)]
mod command_test;
pub(crate) mod common_args;
mod crds;
mod diff;
mod explain;
mod export;
mod expose;
mod help;
mod import;
mod manifests;
mod openapi;
mod output_format;
mod relationships;
mod render;
mod report_version;
mod run;
mod schemas;
mod status;
mod uninstall;
mod usage_hint;
mod validate;
mod write_resources;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::certs::{self, CertsArgs};
use crate::cluster::api_error;
use crate::console::Console;
#[cfg(feature = "demo")]
use crate::demo::{self, DemoArgs};

/// Master of ceremonies for Istio multi-mesh: expose services to other meshes, bind theirs.
#[derive(Parser)]
#[command(name = "emcee", version = env!("EMCEE_VERSION"), propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Validate(validate::ValidateArgs),
    Explain(explain::ExplainArgs),
    Render(render::RenderArgs),
    Diff(diff::DiffArgs),
    // The largest by far.
    Run(Box<run::RunArgs>),
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    Status(status::StatusArgs),
    Catalogue(catalogue::CatalogueArgs),
    Bind(bind::BindArgs),
    Expose(expose::ExposeArgs),
    Openapi(openapi::OpenapiArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Uninstall(uninstall::UninstallArgs),
    Crds(crds::CrdsArgs),
    Schemas(schemas::SchemasArgs),
    Manifests(manifests::ManifestsArgs),
    Certs(CertsArgs),
    Completions(help::CompletionsArgs),
    Man(help::ManArgs),
}

/// Result of a command, which determines the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Exit code 0: nothing was refused and nothing differs.
    Success,
    /// Exit code 1: something was refused, or there is a difference.
    Findings,
    /// Exit code 2: the command could not be carried out.
    Failed,
}

/// Parses the arguments of the process and runs the command. Wrong usage exits with code 2.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| usage_hint::add_file_flag(error).exit());
    // Do not lock the streams: a controller logs from all its threads while the command runs.
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let mut console = Console::new(&mut out, &mut err);
    match cli.run(&mut console) {
        Ok(ExitStatus::Success) => ExitCode::SUCCESS,
        Ok(ExitStatus::Findings) => ExitCode::from(1),
        Ok(ExitStatus::Failed) => ExitCode::from(2),
        // The reader of a pipe, such as `head`, has what it wants.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr itself is broken, the exit code still reports the failure.
            let _ = console.print_error(format_args!("emcee: {}", join_causes(&error)));
            ExitCode::from(2)
        }
    }
}

impl Cli {
    fn run(self, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
        match self.command {
            Command::Validate(args) => validate::run(&args, console),
            Command::Explain(args) => explain::run(&args, console),
            Command::Render(args) => render::run(&args, console),
            Command::Diff(args) => diff::run(&args, console),
            Command::Run(args) => run::run(&args, console),
            // `demo` and `certs` know no exit status other than success; they fail with an error.
            #[cfg(feature = "demo")]
            Command::Demo(args) => {
                demo::run(&args, crate::run::shutdown::shutdown_requested, console)?;
                Ok(ExitStatus::Success)
            }
            Command::Status(args) => status::run(&args, console),
            Command::Catalogue(args) => catalogue::run(&args, console),
            Command::Bind(args) => bind::run(&args, console),
            Command::Expose(args) => expose::run(&args, console),
            Command::Openapi(args) => openapi::run(&args, console),
            Command::Export(args) => export::run(&args, console),
            Command::Import(args) => import::run(&args, console),
            Command::Uninstall(args) => uninstall::run(&args, console),
            Command::Crds(_) => crds::run(console),
            Command::Schemas(args) => schemas::run(&args, console),
            Command::Manifests(args) => manifests::run(&args, console),
            Command::Certs(args) => {
                certs::run(&args, console.data_writer())?;
                Ok(ExitStatus::Success)
            }
            Command::Completions(args) => help::print_completions(&args, console),
            Command::Man(args) => help::print_man(&args, console),
        }
    }
}

/// Joins an error and its causes in one line. A cause that the text contains already is left out, as some libraries
/// include the cause in their own message.
fn join_causes(error: &anyhow::Error) -> String {
    error_texts(error).into_iter().fold(String::new(), |message, cause| {
        if message.is_empty() {
            cause
        } else if message.contains(&cause) {
            message
        } else {
            format!("{message}: {cause}")
        }
    })
}

/// Returns the texts of an error and its causes. An error of the Kubernetes client ends the list: its causes are texts of
/// libraries.
fn error_texts(error: &anyhow::Error) -> Vec<String> {
    let mut texts = Vec::new();
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<kube::Error>() {
            texts.push(api_error::describe_kube_error(error));
            break;
        }
        texts.push(cause.to_string());
    }
    texts
}

/// Returns whether the reader of the output has closed it, as in `emcee render … | head`. That is not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
