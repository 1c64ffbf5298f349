//! `emcee diff`: shows how generated objects differ from existing ones.

mod cluster;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use emcee_api::labels;
use emcee_core::diff::{FieldDifference, find_drift};
use emcee_core::plan::GeneratedObject;
use serde_json::Value;

use super::Outcome;
use super::check::{Duplicates, check};
use super::sources::{self, Surroundings};
use crate::cluster::{ConnectArgs, ScopeArgs};
use crate::console::Console;
use crate::intake::DEFAULT_NAMESPACE;
use crate::manifest::{Document, Reading};

const EXAMPLES: &str = "\
Examples:
  emcee diff --cluster
  emcee diff -f mesh/ --context m1
  emcee diff -f mesh/ --against out/
  kubectl get serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,deployments,services,gateways,\
virtualservices,serviceentries,destinationrules,authorizationpolicies -A -l app.kubernetes.io/managed-by=emcee -o yaml > now.yaml
  emcee diff -f mesh/ --against now.yaml";

/// Print what would be created (+), changed (~, field by field) and removed (-).
///
/// With --against: only objects with the label app.kubernetes.io/managed-by: emcee count as existing. With --cluster,
/// --kubeconfig or --context: shows what a controller that starts now would do in that cluster; with -f, as if these
/// files had been applied first. Nothing is written. Exit code 0: no difference; 1: a difference, or an object that
/// differs but would be left unchanged; 2: an error.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("state").required(true).multiple(true).args(["kubeconfig", "context"])))]
pub(super) struct DiffArgs {
    /// YAML or JSON files, folders (including subfolders), or `-` for stdin
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    filename: Vec<PathBuf>,

    /// Existing objects: files or folders
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = LIVE, requires = "filename", group = "state")]
    against: Vec<PathBuf>,

    /// Existing objects: those in the cluster that kubectl would choose
    #[arg(long, group = "state")]
    cluster: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    surroundings: Surroundings,
}

/// Flags that select a cluster, as clap knows them.
const LIVE: [&str; 3] = ["cluster", "kubeconfig", "context"];

pub(super) fn run(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    if args.against.is_empty() {
        return cluster::run(args, console);
    }
    let Some(reading) = sources::read(&args.filename, console)? else { return Ok(Outcome::Failed) };
    let Some(against) = sources::read(&args.against, console)? else { return Ok(Outcome::Failed) };
    let checked = check(reading, args.surroundings.settings(), Duplicates::Refused);
    checked.say(console)?;
    let refused = checked.say_refusals(console)?;
    for problem in &against.problems {
        console.refusal(problem)?;
    }
    if refused || !against.problems.is_empty() {
        return Ok(Outcome::Failed);
    }
    let text = compare(&checked.translation.objects(), &against)?;
    console.data(&text)?;
    Ok(if text.is_empty() { Outcome::Fine } else { Outcome::Refused })
}

/// Kind, namespace and name of an object.
type Identity = (String, String, String);

/// Compares planned objects with existing ones. Returns the differences as text; empty if nothing differs.
fn compare(planned: &[GeneratedObject], against: &Reading) -> anyhow::Result<String> {
    let mut existing: BTreeMap<Identity, &Document> = against
        .documents
        .iter()
        .filter(|document| is_ours(&document.value))
        .map(|d| (identity(d), d))
        .collect();
    let mut text = String::new();
    for object in planned {
        let kind = object.kind();
        let name = format!("{} {}/{}", kind.as_str(), object.namespace, object.name);
        let identity = (kind.as_str().to_owned(), object.namespace.to_string(), object.name.clone());
        // What remains in `existing` at the end is not planned any more.
        let Some(old) = existing.remove(&identity) else {
            writeln!(text, "+ {name}")?;
            continue;
        };
        // The API server adds defaults to objects of Kubernetes' own kinds, so extra fields there are no difference.
        // Istio's kinds have no defaults.
        let exact = kind.group().ends_with(".istio.io");
        let changed = find_drift(&old.value, &serde_json::to_value(object)?, exact);
        if !changed.is_empty() {
            writeln!(text, "~ {name}")?;
            changed
                .iter()
                .try_for_each(|difference| writeln!(text, "    {}", shown(kind.as_str(), difference)))?;
        }
    }
    for (kind, namespace, name) in existing.keys() {
        writeln!(text, "- {kind} {namespace}/{name}")?;
    }
    Ok(text)
}

/// Returns the key of a document; a missing namespace is `default`, as for kubectl.
fn identity(document: &Document) -> Identity {
    let namespace = document.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    (document.kind.clone(), namespace.to_owned(), document.name.clone())
}

/// Returns whether an object carries the label of objects that Emcee manages.
fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"][labels::MANAGED_BY] == labels::MANAGED_BY_EMCEE
}

/// Formats a difference. The data of a Secret is not shown, because diffs end up in logs and on screens.
fn shown(kind: &str, difference: &FieldDifference) -> String {
    if kind == "Secret" && difference.field.starts_with("data") {
        return format!("{}: changes", difference.field);
    }
    difference.to_string()
}
