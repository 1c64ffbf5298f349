//! `emcee uninstall`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use clap::{ArgGroup, Args};
use emcee_controller::{Done, Extent, Remnant, Uninstall};
use emcee_core::key::Key;
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

/// Remove what Emcee has made in a cluster, once no controller runs.
///
/// Removes the objects that Emcee wrote, in the reverse order of applying, and takes its finalizer off MeshFedConfigs,
/// ServiceExpositions and ServiceBindings, so that no namespace hangs while it is deleted. These resources themselves
/// are yours, and stay. So does what only looks like Emcee's: copies, and facades that somebody has made theirs. Exit
/// code 0: nothing is left; 1: something is, and why is said; 2: it was not begun.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("extent").required(true)))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct UninstallArgs {
    /// Only what is there for this MeshFedConfig
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = key, group = "extent")]
    relationship: Option<Key>,

    /// Everything that Emcee has made
    #[arg(long, group = "extent")]
    all: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Also while a controller runs, which may write everything again
    #[arg(long)]
    force: bool,

    /// Deployment of Emcee itself, to be scaled to 0 first
    #[arg(long, value_name = "NAME", conflicts_with = "force")]
    stop: Option<String>,

    /// How long to wait for objects to be gone, and for Emcee to stop
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    timeout: Duration,

    /// Namespace of Emcee itself, where its Lease is; by default the pod's own, else emcee-system
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    /// Namespaces, besides, in which Emcee was allowed to configure gateway pods
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',')]
    gateway_namespaces: Vec<String>,
}

pub(super) fn run(args: &UninstallArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    read::converse(async {
        let client = args.connect.client().await?;
        uninstall(args, client, console).await
    })
}

async fn uninstall(
    args: &UninstallArgs,
    client: Client,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if !args.dry_run && args.stop.is_none() {
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
        // Until now it may have written.
        found = args.look(&client).await?;
    }
    say_kept(&found, console)?;
    remove(args, &found, console).await
}

async fn remove(
    args: &UninstallArgs,
    found: &Uninstall,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if found.is_empty() {
        console.note("there is nothing of Emcee's to remove")?;
        return Ok(Outcome::Fine);
    }
    let mut printed = Ok(());
    let mut tell = |done| {
        let line = console.data(&line(&done));
        if printed.is_ok() {
            printed = line;
        }
    };
    let left = found.carry_out(args.timeout, &mut tell).await;
    printed?;
    for Remnant { object, why } in &left {
        console.refusal(format_args!("left: {object} {why}"))?;
    }
    console.note(args.advice())?;
    Ok(if left.is_empty() { Outcome::Fine } else { Outcome::Refused })
}

fn say_kept(found: &Uninstall, console: &mut Console<'_>) -> io::Result<()> {
    found
        .kept()
        .iter()
        .try_for_each(|Remnant { object, why }| console.note(format_args!("stays: {object} {why}")))
}

impl UninstallArgs {
    fn extent(&self) -> Extent {
        self.relationship.clone().map_or(Extent::All, Extent::Relationship)
    }

    async fn look(&self, client: &Client) -> anyhow::Result<Uninstall> {
        let options = cluster::options_of(self.scope.scope(&self.gateway_namespaces));
        Ok(Uninstall::look(client.clone(), &options, &self.extent()).await?)
    }

    fn own_namespace(&self) -> String {
        cluster::own_namespace(self.namespace.as_deref())
    }

    fn advice(&self) -> String {
        match &self.relationship {
            Some(key) => format!(
                "MeshFedConfig {key} and what selects it stay, as they are yours: while they are there, a controller writes everything again"
            ),
            None => {
                "MeshFedConfigs, ServiceExpositions and ServiceBindings stay, as they are yours".to_owned()
            }
        }
    }
}

/// A controller would write again what is removed.
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
        Err(error) => format!("whether a controller runs cannot be told: {error:#}"),
    };
    if !args.force {
        bail!("{why}; --force removes all the same");
    }
    Ok(console.warning(format_args!("warning: {why}"))?)
}

fn agreed(found: &Uninstall, console: &mut Console<'_>) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("nothing was removed, as there is nobody to ask (--yes; --dry-run says what would go)");
    }
    let (objects, bearers) = (found.objects().len(), found.bearers().len());
    console.note(format_args!(
        "{objects} objects go, and the finalizers of {bearers} resources. Go on? [y/N]"
    ))?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn preview(found: &Uninstall) -> String {
    let objects = found.objects().into_iter().map(|object| format!("would be removed: {object}\n"));
    let bearers = found.bearers().into_iter().map(|it| format!("would lose Emcee's finalizer: {it}\n"));
    objects.chain(bearers).collect()
}

fn line(done: &Done) -> String {
    match done {
        Done::Removed(object) => format!("removed: {object}\n"),
        Done::Released(resource) => format!("has no finalizer of Emcee's any more: {resource}\n"),
    }
}

fn key(text: &str) -> Result<Key, &'static str> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Key::new(namespace, name))
        }
        _ => Err("not NAMESPACE/NAME of a MeshFedConfig"),
    }
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "not a time such as 60s or 2m".to_owned())?;
    Duration::try_from(time).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
mod tests;
