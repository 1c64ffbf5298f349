//! Validates the resources that a command has built for the user, and writes or prints them.

use std::io;

use clap::Args;
use emcee_core::parse;
use emcee_core::problem::ResourceProblem;
use kube::Client;
use serde_json::Value;

use super::ExitStatus;
use crate::cluster::ConnectArgs;
use crate::cluster::write::{ResourceChange, apply_resource, create_resource, object_name};
use crate::console::Console;

/// Arguments that select whether and where resources are written.
#[derive(Args, Clone, Debug)]
pub(super) struct WriteArgs {
    /// Print what would be written. This reads a cluster only if --kubeconfig or --context names one
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

impl WriteArgs {
    /// Builds a client for the cluster. `None` if no cluster is used.
    ///
    /// # Errors
    /// The kubeconfig does not exist or cannot be read.
    pub(super) async fn cluster_client(&self) -> anyhow::Result<Option<Client>> {
        if self.dry_run && !self.connect.is_given() {
            return Ok(None);
        }
        Ok(Some(self.connect.build_client().await?))
    }

    /// Adds server and context to an error of the API server.
    pub(super) fn name_target(&self, error: anyhow::Error) -> anyhow::Error {
        self.connect.name_target(error)
    }

    /// Returns the client to write with. `None` if the resources are printed.
    pub(super) fn write_target<'c>(&self, client: Option<&'c Client>) -> Option<&'c Client> {
        client.filter(|_| !self.dry_run)
    }
}

/// How a resource is written to the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// Create; an existing resource with another spec is an error.
    Create,
    /// Create, or change the fields that an earlier write in this mode has set.
    Apply,
}

/// Validates resources, then prints them or writes them to a cluster. If validation refuses any, nothing is written.
///
/// # Errors
/// The cluster does not answer or forbids the write.
pub(super) async fn validate_and_write(
    objects: &[Value],
    how: WriteMode,
    target: Option<&Client>,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    if print_problems(objects, console)? {
        return Ok(ExitStatus::Findings);
    }
    let Some(client) = target else {
        if !objects.is_empty() {
            console.print_data(&emcee_yaml::to_yaml(objects)?)?;
        }
        return Ok(ExitStatus::Success);
    };
    let mut outcome = ExitStatus::Success;
    for object in objects {
        let written = match how {
            WriteMode::Create => create_resource(client, object).await?,
            WriteMode::Apply => apply_resource(client, object).await?,
        };
        match written {
            Ok(written) => {
                console.print_data(&format!("{}: {}\n", change_text(written), object_name(object)))?;
            }
            // Concerns this resource only: go on with the others.
            Err(words) => {
                console.print_error(words)?;
                outcome = ExitStatus::Findings;
            }
        }
    }
    print_next_step(objects, console)?;
    Ok(outcome)
}

/// Describes the effect of a write.
fn change_text(written: ResourceChange) -> &'static str {
    match written {
        ResourceChange::Created => "created",
        ResourceChange::Unchanged => "unchanged",
        ResourceChange::Changed => "changed",
    }
}

/// Prints which command shows the status of the written resources.
fn print_next_step(objects: &[Value], console: &mut Console<'_>) -> io::Result<()> {
    let mut namespaces: Vec<_> =
        objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    match namespaces.as_slice() {
        [] => Ok(()),
        [namespace] => console.print_note(format_args!(
            "next: emcee status -n {namespace} (shows whether it is ready, and if not, why)"
        )),
        _ => console.print_note("next: emcee status (shows whether they are ready, and if not, why)"),
    }
}

/// Prints the problems that validation finds; returns whether there are any.
fn print_problems(objects: &[Value], console: &mut Console<'_>) -> io::Result<bool> {
    let mut any = false;
    for object in objects {
        for problem in find_problems(object) {
            console.print_error(format_args!("{}: {problem}", object_name(object)))?;
            any = true;
        }
    }
    Ok(any)
}

/// Validates one resource with the same rules as the webhook and the controller.
fn find_problems(object: &Value) -> Vec<ResourceProblem> {
    let problems = match object["kind"].as_str() {
        // Commands write no kinds other than these two.
        Some("ServiceExposition") => parse::read_exposition(object).err(),
        _ => parse::read_binding(object).err(),
    };
    problems.unwrap_or_default()
}
