//! The command line.
//!
//! Exit codes: 0 fine; 1 something was refused (`diff`: there is a difference); 2 the command could not be carried
//! out (wrong usage, a file that cannot be read; `diff`: something was refused).

mod bind;
mod catalogue;
mod check;
mod crds;
mod diff;
mod export;
mod expose;
mod help;
mod import;
mod manifests;
mod openapi;
mod relationships;
mod render;
mod run;
pub(crate) mod sources;
mod status;
mod table;
#[cfg(test)]
mod trial;
mod uninstall;
mod validate;
mod written;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::certs::{self, CertsArgs};
use crate::console::Console;
use crate::demo::{self, DemoArgs};
use crate::ending;

/// Master of ceremonies for Istio multi-mesh: expose services to other meshes, bind theirs.
#[derive(Parser)]
#[command(name = "emcee", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Validate(validate::ValidateArgs),
    Render(render::RenderArgs),
    Diff(diff::DiffArgs),
    Run(run::RunArgs),
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
    Manifests(manifests::ManifestsArgs),
    Certs(CertsArgs),
    Completions(help::CompletionsArgs),
    Man(help::ManArgs),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Fine,
    /// Exit code 1: something was refused, or differs.
    Refused,
    /// Exit code 2: the command could not be carried out.
    Failed,
}

/// Runs what the process' arguments ask for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Not locked: a controller logs from all its threads.
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let mut console = Console::new(&mut out, &mut err);
    match cli.run(&mut console) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Ok(Outcome::Failed) => ExitCode::from(2),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Stderr itself may be what is broken; the exit code still tells.
            let _ = console.refusal(format_args!("emcee: {}", words(&error)));
            ExitCode::from(2)
        }
    }
}

impl Cli {
    fn run(self, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
        match self.command {
            Command::Validate(args) => validate::run(&args, console),
            Command::Render(args) => render::run(&args, console),
            Command::Diff(args) => diff::run(&args, console),
            Command::Run(args) => run::run(&args, console),
            Command::Demo(args) => {
                demo::run(&args, ending::ended, console)?;
                Ok(Outcome::Fine)
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
            Command::Manifests(args) => manifests::run(&args, console),
            Command::Certs(args) => {
                certs::run(&args, console.out())?;
                Ok(Outcome::Fine)
            }
            Command::Completions(args) => help::completions(&args, console),
            Command::Man(args) => help::man(&args, console),
        }
    }
}

/// The error with its causes, in one line. Many a library's error names its cause itself, which is not said again then.
fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

/// `emcee render … | head` ends the reader before the writer, and that is fine.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
