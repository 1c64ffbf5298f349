//! Test support: runs a command against an API server in memory and captures its output.

use anstream::adapter::strip_str;
use clap::{Args, Command, FromArgMatches};

use super::Outcome;
use crate::console::Console;

pub(super) const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
pub(super) const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
pub(super) const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

/// Parses arguments from a command line.
pub(super) fn args<A: Args + FromArgMatches>(line: &str) -> A {
    let command = A::augment_args(Command::new("emcee").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace()).expect("they are valid");
    A::from_arg_matches(&matches).expect("they are valid")
}

/// Output of a command without colours, and its exit status.
pub(super) struct Said {
    pub(super) outcome: Outcome,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a command and captures its output.
pub(super) async fn said(run: impl AsyncFnOnce(&mut Console<'_>) -> anyhow::Result<Outcome>) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&mut Console::new(&mut out, &mut err)).await.expect("the command can be carried out");
    let text = |bytes: &[u8]| strip_str(str::from_utf8(bytes).expect("UTF-8")).to_string();
    Said { outcome, out: text(&out), err: text(&err) }
}

impl Said {
    /// Returns the messages of a command that refused its input and printed no data.
    #[track_caller]
    pub(super) fn refusal(self) -> String {
        assert_eq!((self.outcome, self.out.as_str()), (Outcome::Refused, ""), "{}", self.err);
        self.err
    }

    /// Returns the data of a command that succeeded.
    #[track_caller]
    pub(super) fn fine(self) -> String {
        assert_eq!(self.outcome, Outcome::Fine, "{}", self.err);
        self.out
    }
}
