//! `emcee uninstall`: removes everything that Emcee created in a cluster.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use clap::{ArgGroup, Args};
use emcee_controller::{Orphan, Uninstall, UninstallEvent, UninstallExtent};
use emcee_core::key::ObjectKey;
use kube::Client;

use super::ExitStatus;
use super::common_args::parse_duration;
use crate::cluster::{ConnectArgs, ScopeArgs, lease, options, read};
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
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_key, group = "extent")]
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
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
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

pub(super) fn run(args: &UninstallArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    read::block_on(async {
        let client = args.connect.build_client().await?;
        run_uninstall(args, client, console).await
    })
    .map_err(|error| args.connect.name_target(error))
}

/// Finds the objects, asks for confirmation, and removes them.
async fn run_uninstall(
    args: &UninstallArgs,
    client: Client,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    if !args.dry_run && args.stop.is_none() {
        // With `--stop` this command stops the controller itself, after the confirmation.
        ensure_no_controller(args, &client, console).await?;
    }
    let mut found = args.find_objects(&client).await?;
    if args.dry_run {
        print_kept(&found, console)?;
        console.print_data(&dry_run_text(&found))?;
        return Ok(ExitStatus::Success);
    }
    if !args.yes && !found.is_empty() && !confirm_removal(&found, console)? {
        console.print_note("nothing was removed")?;
        return Ok(ExitStatus::Failed);
    }
    if let Some(deployment) = &args.stop {
        lease::stop_controller(&client, &args.own_namespace(), deployment, args.timeout).await?;
        // The controller may have written more objects until it stopped.
        found = args.find_objects(&client).await?;
    }
    print_kept(&found, console)?;
    remove_objects(args, &found, console).await
}

/// Removes the objects; prints each step and what is left.
async fn remove_objects(
    args: &UninstallArgs,
    found: &Uninstall,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    if found.is_empty() {
        console.print_note("nothing to remove: no objects or finalizers of Emcee exist")?;
        return Ok(ExitStatus::Success);
    }
    let mut printed = Ok(());
    // The callback cannot fail. Keep the first error and go on: a closed pipe must not stop the removal halfway.
    let mut report = |done| {
        let line = console.print_data(&progress_line(&done));
        if printed.is_ok() {
            printed = line;
        }
    };
    let left = found.execute(args.timeout, &mut report).await;
    printed?;
    for Orphan { object, reason: why } in &left {
        console.print_error(format_args!("left: {object} {why}"))?;
    }
    console.print_note(args.closing_note())?;
    Ok(if left.is_empty() { ExitStatus::Success } else { ExitStatus::Findings })
}

/// Prints the objects that look like Emcee's but are kept.
fn print_kept(found: &Uninstall, console: &mut Console<'_>) -> io::Result<()> {
    found.kept_objects().iter().try_for_each(|Orphan { object, reason: why }| {
        console.print_note(format_args!("stays: {object} {why}"))
    })
}

impl UninstallArgs {
    fn uninstall_extent(&self) -> UninstallExtent {
        self.relationship.clone().map_or(UninstallExtent::All, UninstallExtent::Relationship)
    }

    async fn find_objects(&self, client: &Client) -> anyhow::Result<Uninstall> {
        let options = options::default_options(self.scope.to_scope(&self.gateway_namespaces));
        Ok(Uninstall::prepare(client.clone(), &options, &self.uninstall_extent()).await?)
    }

    fn own_namespace(&self) -> String {
        options::own_namespace(self.namespace.as_deref())
    }

    /// Returns the final note: which resources are kept.
    fn closing_note(&self) -> String {
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
async fn ensure_no_controller(
    args: &UninstallArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let why = match lease::lease_holder(client, &args.own_namespace()).await {
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
    Ok(console.print_warning(format_args!("warning: {why}"))?)
}

/// Asks the user for confirmation on the terminal.
///
/// # Errors
/// There is no terminal to ask on.
fn confirm_removal(found: &Uninstall, console: &mut Console<'_>) -> anyhow::Result<bool> {
    // The question goes to stderr, so both streams must be a terminal.
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(
            "nothing was removed: there is no terminal to ask for confirmation (set --yes; --dry-run prints what would be removed)"
        );
    }
    let (objects, bearers) = (found.objects().len(), found.finalizer_holders().len());
    console.print_note(format_args!(
        "This removes {objects} objects, and the finalizers of {bearers} resources. Continue? [y/N]"
    ))?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Formats what `--dry-run` prints.
fn dry_run_text(found: &Uninstall) -> String {
    let objects = found.objects().into_iter().map(|object| format!("would be removed: {object}\n"));
    let bearers = found
        .finalizer_holders()
        .into_iter()
        .map(|it| format!("would be released from Emcee's finalizer: {it}\n"));
    objects.chain(bearers).collect()
}

/// Formats one completed step.
fn progress_line(done: &UninstallEvent) -> String {
    match done {
        UninstallEvent::Removed(object) => format!("removed: {object}\n"),
        UninstallEvent::FinalizerRemoved(resource) => {
            format!("released from Emcee's finalizer: {resource}\n")
        }
    }
}

/// Parses `NAMESPACE/NAME`.
fn parse_key(text: &str) -> Result<ObjectKey, &'static str> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err("not NAMESPACE/NAME of a MeshFedConfig"),
    }
}

#[cfg(test)]
mod tests;
