//! `emcee diff`: shows how generated objects differ from existing ones.

mod cluster;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use emcee_api::labels;
use emcee_core::diff::{FieldDifference, find_drift};
use emcee_core::plan::GeneratedObject;
use emcee_yaml::{LoadedManifests, ManifestDocument};
use serde_json::Value;

use super::ExitStatus;
use super::check::{DuplicatePolicy, check_documents};
use super::common_args::{self, MeshSettings};
use crate::cluster::{ConnectArgs, ScopeArgs};
use crate::console::Console;
use crate::inputs::DEFAULT_NAMESPACE;

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
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = CLUSTER_FLAGS, requires = "filename", group = "state")]
    against: Vec<PathBuf>,

    /// Existing objects: those in the cluster that kubectl would choose
    #[arg(long, group = "state")]
    cluster: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    mesh_settings: MeshSettings,
}

/// Flags that select a cluster, as clap knows them.
const CLUSTER_FLAGS: [&str; 3] = ["cluster", "kubeconfig", "context"];

pub(super) fn run(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    if args.against.is_empty() {
        return cluster::run(args, console);
    }
    let Some(reading) = common_args::read_files(&args.filename, console)? else {
        return Ok(ExitStatus::Failed);
    };
    let Some(against) = common_args::read_files(&args.against, console)? else {
        return Ok(ExitStatus::Failed);
    };
    let checked = check_documents(reading, args.mesh_settings.to_settings(), DuplicatePolicy::Refused);
    let refused = checked.print_findings(console)?;
    for problem in &against.problems {
        console.print_error(problem)?;
    }
    if refused || !against.problems.is_empty() {
        return Ok(ExitStatus::Failed);
    }
    let text = diff_objects(&checked.translation.objects(), &against)?;
    console.print_data(&text)?;
    Ok(if text.is_empty() { ExitStatus::Success } else { ExitStatus::Findings })
}

/// Kind, namespace and name of an object.
type DiffKey = (String, String, String);

/// Compares planned objects with existing ones. Returns the differences as text; empty if nothing differs.
fn diff_objects(planned: &[GeneratedObject], against: &LoadedManifests) -> anyhow::Result<String> {
    let mut existing: BTreeMap<DiffKey, &ManifestDocument> = against
        .documents
        .iter()
        .filter(|document| is_managed_by_emcee(&document.value))
        .map(|d| (diff_key(d), d))
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
        // Fields that the API server adds are no difference.
        let exact = !kind.has_server_side_defaults();
        let changed = find_drift(&old.value, &serde_json::to_value(object)?, exact);
        if !changed.is_empty() {
            writeln!(text, "~ {name}")?;
            changed.iter().try_for_each(|difference| {
                writeln!(text, "    {}", difference_text(kind.as_str(), difference))
            })?;
        }
    }
    for (kind, namespace, name) in existing.keys() {
        writeln!(text, "- {kind} {namespace}/{name}")?;
    }
    Ok(text)
}

/// Returns the key of a document; a missing namespace is `default`, as for kubectl.
fn diff_key(document: &ManifestDocument) -> DiffKey {
    let namespace = document.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    (document.kind.clone(), namespace.to_owned(), document.name.clone())
}

/// Returns whether an object carries the label of objects that Emcee manages.
fn is_managed_by_emcee(object: &Value) -> bool {
    object["metadata"]["labels"][labels::MANAGED_BY] == labels::MANAGED_BY_EMCEE
}

/// Formats a difference. The data of a Secret is not shown, because diffs end up in logs and on screens.
fn difference_text(kind: &str, difference: &FieldDifference) -> String {
    if kind == "Secret" && difference.field.starts_with("data") {
        return format!("{}: changes", difference.field);
    }
    difference.to_string()
}
