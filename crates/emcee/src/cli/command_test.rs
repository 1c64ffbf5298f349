//! Test support: runs a command against an API server in memory and captures its output.

use anstream::adapter::strip_str;
use clap::{Args, Command, FromArgMatches};

use super::ExitStatus;
use crate::console::Console;

pub(super) const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
pub(super) const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
pub(super) const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

/// Parses arguments from a command line.
pub(super) fn parse_args<A: Args + FromArgMatches>(line: &str) -> A {
    let command = A::augment_args(Command::new("emcee").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace()).expect("they are valid");
    A::from_arg_matches(&matches).expect("they are valid")
}

/// Output of a command without colours, and its exit status.
pub(super) struct CommandOutput {
    pub(super) outcome: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a command and captures its output.
pub(super) async fn capture_output(
    run: impl AsyncFnOnce(&mut Console<'_>) -> anyhow::Result<ExitStatus>,
) -> CommandOutput {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&mut Console::new(&mut out, &mut err)).await.expect("the command can be carried out");
    let text = |bytes: &[u8]| strip_str(str::from_utf8(bytes).expect("UTF-8")).to_string();
    CommandOutput { outcome, out: text(&out), err: text(&err) }
}

impl CommandOutput {
    /// Returns the messages of a command that refused its input and printed no data.
    #[track_caller]
    pub(super) fn expect_refusal(self) -> String {
        assert_eq!((self.outcome, self.out.as_str()), (ExitStatus::Findings, ""), "{}", self.err);
        self.err
    }

    /// Returns the data of a command that succeeded.
    #[track_caller]
    pub(super) fn expect_success(self) -> String {
        assert_eq!(self.outcome, ExitStatus::Success, "{}", self.err);
        self.out
    }
}
