//! The `emcee-testbed` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match emcee_testbed::cli::run() {
        Ok(code) => code,
        Err(error) => {
            emcee_testbed::progress::print_progress(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
