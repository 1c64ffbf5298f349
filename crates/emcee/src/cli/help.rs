//! `emcee completions` and `emcee man`, both generated from the definition of the command line.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, ExitStatus};
use crate::console::Console;

/// Print completions for a shell.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  emcee completions bash > /etc/bash_completion.d/emcee")]
pub(super) struct CompletionsArgs {
    /// Shell to print completions for
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write one for each command.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  emcee man | man -l -\n  emcee man -o /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Folder to write the pages of all commands to
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn print_completions(
    args: &CompletionsArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "emcee", &mut text);
    console.print_data(&String::from_utf8(text)?)?;
    Ok(ExitStatus::Success)
}

pub(super) fn print_man(args: &ManArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    match &args.output {
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .with_context(|| format!("failed to write manual pages to {}", folder.display()))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            console.print_data(&String::from_utf8(page)?)?;
        }
    }
    Ok(ExitStatus::Success)
}
