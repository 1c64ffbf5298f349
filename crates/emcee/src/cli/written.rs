//! Resources that commands write in a user's name.

use std::io;

use clap::Args;
use emcee_core::parse;
use emcee_core::problem::Problem;
use kube::Client;
use serde_json::Value;

use super::Outcome;
use crate::cluster::ConnectArgs;
use crate::cluster::create::{Written, apply, called, create};
use crate::console::Console;
use crate::manifest;

/// Whether it is written, and where.
#[derive(Args, Clone, Debug)]
pub(super) struct WriteArgs {
    /// Print what would be written. A cluster is then asked only if --kubeconfig or --context names one
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

impl WriteArgs {
    /// A client of the cluster, if one is to be asked.
    pub(super) async fn client(&self) -> anyhow::Result<Option<Client>> {
        if self.dry_run && !self.connect.is_given() {
            return Ok(None);
        }
        Ok(Some(self.connect.client().await?))
    }

    /// Where it is to be written; none: it is to be printed.
    pub(super) fn target<'c>(&self, client: Option<&'c Client>) -> Option<&'c Client> {
        client.filter(|_| !self.dry_run)
    }
}

/// How a resource is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It must not be there.
    Create,
    /// What of it was written so before is changed.
    Apply,
}

/// Validates resources, and prints them, or writes them to a cluster. Nothing is written if anything is refused.
pub(super) async fn finish(
    objects: &[Value],
    how: How,
    target: Option<&Client>,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if say_invalid(objects, console)? {
        return Ok(Outcome::Refused);
    }
    let Some(client) = target else {
        if !objects.is_empty() {
            console.data(&manifest::to_yaml(objects)?)?;
        }
        return Ok(Outcome::Fine);
    };
    let mut outcome = Outcome::Fine;
    for object in objects {
        let written = match how {
            How::Create => create(client, object).await?,
            How::Apply => apply(client, object).await?,
        };
        match written {
            Ok(written) => console.data(&format!("{}: {}\n", word(written), called(object)))?,
            Err(words) => {
                console.refusal(words)?;
                outcome = Outcome::Refused;
            }
        }
    }
    say_next(objects, console)?;
    Ok(outcome)
}

fn word(written: Written) -> &'static str {
    match written {
        Written::Created => "created",
        Written::Unchanged => "unchanged",
        Written::Changed => "changed",
    }
}

/// What happens next is seen elsewhere.
fn say_next(objects: &[Value], console: &mut Console<'_>) -> io::Result<()> {
    let mut namespaces: Vec<_> =
        objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    match namespaces.as_slice() {
        [] => Ok(()),
        [namespace] => {
            console.note(format_args!("next: emcee status -n {namespace} (is it ready, and if not, why)"))
        }
        _ => console.note("next: emcee status (are they ready, and if not, why)"),
    }
}

/// Says what the one validator says of them; and whether that is anything.
fn say_invalid(objects: &[Value], console: &mut Console<'_>) -> io::Result<bool> {
    let mut any = false;
    for object in objects {
        for problem in problems(object) {
            console.refusal(format_args!("{}: {problem}", called(object)))?;
            any = true;
        }
    }
    Ok(any)
}

fn problems(object: &Value) -> Vec<Problem> {
    let problems = match object["kind"].as_str() {
        Some("ServiceExposition") => parse::exposition(object).err(),
        _ => parse::binding(object).err(),
    };
    problems.unwrap_or_default()
}
