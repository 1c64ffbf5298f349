//! `emcee uninstall`: removes everything that Emcee created in a cluster.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use clap::{ArgGroup, Args};
use emcee_controller::{Orphan, Uninstall, UninstallEvent, UninstallExtent};
use emcee_core::key::ObjectKey;
use jiff::SignedDuration;
use kube::Client;

use super::Outcome;
use crate::cluster::{self, ConnectArgs, ScopeArgs, read, running};
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee uninstall --all --dry-run
  emcee uninstall --relationship blue/blue
  emcee uninstall --all --yes";

/// Remove everything that Emcee created in a cluster, once no controller runs.
///
/// Deletes the objects that Emcee wrote, in the reverse order of applying, and removes Emcee's finalizer from
/// MeshFedConfigs, ServiceExpositions and ServiceBindings, so that their namespaces can be deleted. These resources are
/// yours and are kept. Objects that only look like Emcee's are kept too: copies, and facades that someone else has
/// taken over. Exit code 0: nothing is left; 1: something is left, and the output says why; 2: the removal was not
/// started.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("extent").required(true)))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct UninstallArgs {
    /// Remove only what belongs to this MeshFedConfig
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = key, group = "extent")]
    relationship: Option<ObjectKey>,

    /// Remove everything that Emcee created
    #[arg(long, group = "extent")]
    all: bool,

    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,

    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove even while a controller runs, which may write everything again
    #[arg(long)]
    force: bool,

    /// Deployment of Emcee to scale to 0 first
    #[arg(long, value_name = "NAME", conflicts_with = "force")]
    stop: Option<String>,

    /// How long to wait for objects to disappear, and for Emcee to stop
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    timeout: Duration,

    /// Namespace in which Emcee runs and keeps its Lease. Defaults to the pod's own namespace, else emcee-system
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    /// Additional namespaces in which Emcee was allowed to configure gateway pods
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',')]
    gateway_namespaces: Vec<String>,
}

pub(super) fn run(args: &UninstallArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    read::converse(async {
        let client = args.connect.client().await?;
        uninstall(args, client, console).await
    })
}

/// Finds the objects, asks for confirmation, and removes them.
async fn uninstall(
    args: &UninstallArgs,
    client: Client,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if !args.dry_run && args.stop.is_none() {
        // With `--stop` this command stops the controller itself, after the confirmation.
        nobody_writes(args, &client, console).await?;
    }
    let mut found = args.look(&client).await?;
    if args.dry_run {
        say_kept(&found, console)?;
        console.data(&preview(&found))?;
        return Ok(Outcome::Fine);
    }
    if !args.yes && !found.is_empty() && !agreed(&found, console)? {
        console.note("nothing was removed")?;
        return Ok(Outcome::Failed);
    }
    if let Some(deployment) = &args.stop {
        running::stop(&client, &args.own_namespace(), deployment, args.timeout).await?;
        // The controller may have written more objects until it stopped.
        found = args.look(&client).await?;
    }
    say_kept(&found, console)?;
    remove(args, &found, console).await
}

/// Removes the objects; prints each step and what is left.
async fn remove(
    args: &UninstallArgs,
    found: &Uninstall,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if found.is_empty() {
        console.note("nothing to remove: no objects or finalizers of Emcee exist")?;
        return Ok(Outcome::Fine);
    }
    let mut printed = Ok(());
    // The callback cannot fail. Keep the first error and go on: a closed pipe must not stop the removal halfway.
    let mut report = |done| {
        let line = console.data(&line(&done));
        if printed.is_ok() {
            printed = line;
        }
    };
    let left = found.execute(args.timeout, &mut report).await;
    printed?;
    for Orphan { object, reason: why } in &left {
        console.refusal(format_args!("left: {object} {why}"))?;
    }
    console.note(args.advice())?;
    Ok(if left.is_empty() { Outcome::Fine } else { Outcome::Refused })
}

/// Prints the objects that look like Emcee's but are kept.
fn say_kept(found: &Uninstall, console: &mut Console<'_>) -> io::Result<()> {
    found
        .kept_objects()
        .iter()
        .try_for_each(|Orphan { object, reason: why }| console.note(format_args!("stays: {object} {why}")))
}

impl UninstallArgs {
    fn extent(&self) -> UninstallExtent {
        self.relationship.clone().map_or(UninstallExtent::All, UninstallExtent::Relationship)
    }

    async fn look(&self, client: &Client) -> anyhow::Result<Uninstall> {
        let options = cluster::options_of(self.scope.scope(&self.gateway_namespaces));
        Ok(Uninstall::prepare(client.clone(), &options, &self.extent()).await?)
    }

    fn own_namespace(&self) -> String {
        cluster::own_namespace(self.namespace.as_deref())
    }

    /// Returns the final note: which resources are kept.
    fn advice(&self) -> String {
        match &self.relationship {
            Some(key) => format!(
                "MeshFedConfig {key} and the resources that select it are yours and are kept: while they exist, a controller writes everything again"
            ),
            None => {
                "MeshFedConfigs, ServiceExpositions and ServiceBindings are yours and are kept".to_owned()
            }
        }
    }
}

/// Fails if a controller runs, because it would write the removed objects again. With `--force`, only warns.
///
/// # Errors
/// A controller runs, or the Lease cannot be read.
async fn nobody_writes(
    args: &UninstallArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let why = match running::holder(client, &args.own_namespace()).await {
        Ok(None) => return Ok(()),
        Ok(Some(holder)) => {
            format!(
                "a controller runs ({holder}), and would write everything again: stop it first (--stop DEPLOYMENT)"
            )
        }
        Err(error) => format!("cannot find out whether a controller runs: {error:#}"),
    };
    if !args.force {
        bail!("{why}; --force removes anyway");
    }
    Ok(console.warning(format_args!("warning: {why}"))?)
}

/// Asks the user for confirmation on the terminal.
///
/// # Errors
/// There is no terminal to ask on.
fn agreed(found: &Uninstall, console: &mut Console<'_>) -> anyhow::Result<bool> {
    // The question goes to stderr, so both streams must be a terminal.
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(
            "nothing was removed: there is no terminal to ask for confirmation (set --yes; --dry-run prints what would be removed)"
        );
    }
    let (objects, bearers) = (found.objects().len(), found.finalizer_holders().len());
    console.note(format_args!(
        "This removes {objects} objects, and the finalizers of {bearers} resources. Continue? [y/N]"
    ))?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Formats what `--dry-run` prints.
fn preview(found: &Uninstall) -> String {
    let objects = found.objects().into_iter().map(|object| format!("would be removed: {object}\n"));
    let bearers = found
        .finalizer_holders()
        .into_iter()
        .map(|it| format!("would be released from Emcee's finalizer: {it}\n"));
    objects.chain(bearers).collect()
}

/// Formats one completed step.
fn line(done: &UninstallEvent) -> String {
    match done {
        UninstallEvent::Removed(object) => format!("removed: {object}\n"),
        UninstallEvent::FinalizerRemoved(resource) => {
            format!("released from Emcee's finalizer: {resource}\n")
        }
    }
}

/// Parses `NAMESPACE/NAME`.
fn key(text: &str) -> Result<ObjectKey, &'static str> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err("not NAMESPACE/NAME of a MeshFedConfig"),
    }
}

/// Parses a duration such as `60s`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "not a time such as 60s or 2m".to_owned())?;
    Duration::try_from(time).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
mod tests;
