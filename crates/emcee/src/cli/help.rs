//! `emcee completions` and `emcee man`, both generated from the definition of the command line.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory};
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
    let mut cli = Cli::command().disable_help_subcommand(true);
    // Gives the subcommands their full names and usage.
    cli.build();
    match &args.output {
        Some(folder) => write_pages(&cli, folder)
            .with_context(|| format!("failed to write manual pages to {}", folder.display()))?,
        None => console.print_data(&manual_page(&cli)?)?,
    }
    Ok(ExitStatus::Success)
}

/// Writes the pages of the program and of its commands.
fn write_pages(cli: &Command, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("emcee.1"), manual_page(cli)?)?;
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        let file = format!("emcee-{}.1", command.get_name());
        fs::write(folder.join(file), manual_page(command)?)?;
    }
    Ok(())
}

/// Returns the page of a command. The usage is that of `--help`, with the values of flags, and the examples have a section
/// of that name.
fn manual_page(command: &Command) -> anyhow::Result<String> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let source = format!("emcee {}", env!("CARGO_PKG_VERSION"));
    let page = clap_mangen::Man::new(command.clone()).title(&name).source(&source).manual("Emcee Manual");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    page.render_title(&mut before)?;
    page.render_name_section(&mut before)?;
    page.render_description_section(&mut after)?;
    page.render_options_section(&mut after)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut after)?;
    }
    if command.get_after_help().is_some() {
        page.render_extra_section(&mut after)?;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).replace('\\', "\\e").replace('-', "\\-");
    let synopsis = format!(".SH SYNOPSIS\n.nf\n{}\n.fi\n", usage.trim_end());
    let after = String::from_utf8(after)?.replace(".SH EXTRA\n", ".SH EXAMPLES\n.nf\n");
    Ok([String::from_utf8(before)?, synopsis, after].concat())
}
