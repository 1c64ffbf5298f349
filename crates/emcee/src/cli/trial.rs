//! A command tried against an API server in memory: its arguments, and what it says.

use anstream::adapter::strip_str;
use clap::{Args, Command, FromArgMatches};

use super::Outcome;
use crate::console::Console;

pub(super) const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
pub(super) const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
pub(super) const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

/// Arguments as a user writes them.
pub(super) fn args<A: Args + FromArgMatches>(line: &str) -> A {
    let command = A::augment_args(Command::new("emcee").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace()).expect("they are valid");
    A::from_arg_matches(&matches).expect("they are valid")
}

/// What a command prints, without colour, and how it ends.
pub(super) struct Said {
    pub(super) outcome: Outcome,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a command.
pub(super) async fn said(run: impl AsyncFnOnce(&mut Console<'_>) -> anyhow::Result<Outcome>) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&mut Console::new(&mut out, &mut err)).await.expect("it can be carried out");
    let text = |bytes: &[u8]| strip_str(str::from_utf8(bytes).expect("UTF-8")).to_string();
    Said { outcome, out: text(&out), err: text(&err) }
}

impl Said {
    /// What a refusal says.
    #[track_caller]
    pub(super) fn refusal(self) -> String {
        assert_eq!((self.outcome, self.out.as_str()), (Outcome::Refused, ""), "{}", self.err);
        self.err
    }

    /// What is printed where nothing is refused.
    #[track_caller]
    pub(super) fn fine(self) -> String {
        assert_eq!(self.outcome, Outcome::Fine, "{}", self.err);
        self.out
    }
}
