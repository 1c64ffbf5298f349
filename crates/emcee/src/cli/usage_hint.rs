//! Hints for wrong usage that clap cannot know.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Error};

use super::Cli;

/// Adds to the error about a surplus argument that files need the flag `-f`, if the command has it.
pub(super) fn add_file_flag(mut error: Error) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg).cloned() else {
        return error;
    };
    // Flags come after the name of the command, as in `emcee validate mesh.yaml`.
    let command = std::env::args().nth(1).unwrap_or_default();
    if argument.starts_with('-') || !reads_files(&command) {
        return error;
    }
    let hint = format!("to read a file or a folder, use '-f {argument}'");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    error
}

/// Returns whether a command reads the files of a mesh.
fn reads_files(command: &str) -> bool {
    let cli = Cli::command();
    let found = cli.find_subcommand(command);
    found.is_some_and(|command| command.get_arguments().any(|argument| argument.get_id() == "filename"))
}
