//! `emcee diff --cluster`: shows what a controller would change in a cluster.

use anyhow::Context as _;
use emcee_api::GROUP;
use emcee_controller::{ClusterSnapshot, Drift, DriftAction};
use emcee_yaml::{DuplicateObject, FileProblem, LoadedManifests, ManifestDocument, find_duplicates};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::{DiffArgs, difference_text};
use crate::cli::{ExitStatus, common_args};
use crate::cluster::{options, read};
use crate::console::Console;
use crate::inputs::{self, DEFAULT_NAMESPACE, DocumentInputs};

pub(super) fn run(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let Some(reading) = read_files(args, console)? else { return Ok(ExitStatus::Failed) };
    let found = read::block_on(async {
        let client = args.connect.build_client().await?;
        // The watches below tell less about a server that does not answer.
        args.connect.check_server(&client).await?;
        compute_diff(args, client, reading).await
    })
    .map_err(|error| args.connect.name_target(error))?;
    print_diff(found, console)
}

/// Reads the files of `-f`. Empty without the flag; `None` if a file cannot be read.
fn read_files(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<Option<LoadedManifests>> {
    if args.filename.is_empty() {
        return Ok(Some(LoadedManifests::default()));
    }
    Ok(common_args::read_files(&args.filename, console)?)
}

/// Difference between a cluster and what Emcee would write.
struct ClusterDiff {
    drifts: Vec<Drift>,
    /// Reasons why objects are not generated.
    failures: Vec<String>,
}

/// Computes the difference, or returns the problems of the files.
///
/// # Errors
/// The cluster cannot be read.
async fn compute_diff(
    args: &DiffArgs,
    client: Client,
    mut reading: LoadedManifests,
) -> anyhow::Result<Result<ClusterDiff, Vec<FileProblem>>> {
    let options = options::read_only_options(&args.scope, &args.mesh_settings);
    let mut snapshot = ClusterSnapshot::capture(client.clone(), &options).await?;
    // Must precede the conversion below, which reads age and UID from the documents.
    for document in &mut reading.documents {
        adopt_live_metadata(&client, document).await?;
    }
    let mut inputs = DocumentInputs::from_documents(&reading.documents, &options.cluster_domain);
    let refusals = collect_refusals(&reading, &mut inputs);
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    // From here the snapshot is the cluster as it would be after `kubectl apply -f`.
    snapshot.update(inputs.changes);
    let divergences = snapshot.find_drift().await?;
    Ok(Ok(ClusterDiff { drifts: divergences, failures: generation_failures(&snapshot) }))
}

/// Collects everything that is wrong with the files.
fn collect_refusals(reading: &LoadedManifests, inputs: &mut DocumentInputs) -> Vec<FileProblem> {
    let mut refusals = reading.problems.clone();
    let twice = find_duplicates(&reading.documents, DEFAULT_NAMESPACE);
    refusals
        .extend(twice.iter().filter(|pair| pair.second.kind != "Namespace").map(DuplicateObject::to_problem));
    refusals.append(&mut inputs.refusals);
    refusals.extend(inputs.credential_problems(&[], Timestamp::now()));
    refusals
}

/// Gives a resource of a file the metadata that it would have in the cluster.
///
/// If two resources claim the same name, the older one wins. A resource that exists in the cluster keeps its age, and
/// one that does not exist yet is the youngest.
async fn adopt_live_metadata(client: &Client, document: &mut ManifestDocument) -> anyhow::Result<()> {
    // Only Emcee's own resources compete by age.
    if document.group() != GROUP {
        return Ok(());
    }
    let live = read::get_metadata(client, &document.kind, &inputs::document_key(document)).await?;
    let Some(metadata) = document.value.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    match live {
        Some(live) => {
            metadata.insert("uid".into(), live.uid.into());
            let created = serde_json::to_value(live.creation_timestamp).context("failed to read a time")?;
            metadata.insert("creationTimestamp".into(), created);
            metadata.insert("generation".into(), live.generation.into());
        }
        None => {
            metadata.insert("creationTimestamp".into(), Timestamp::now().to_string().into());
        }
    }
    Ok(())
}

/// Returns why resources produce no objects.
fn generation_failures(snapshot: &ClusterSnapshot) -> Vec<String> {
    let mut failures = Vec::new();
    for (unit, verdict) in snapshot.translation().verdicts() {
        let Some(resource) = unit.resource() else { continue };
        let problems = verdict.refusals.iter().chain(&verdict.failures);
        failures.extend(problems.map(|problem| format!("{resource}: {problem}")));
    }
    failures
}

/// Prints the difference; returns the exit status.
fn print_diff(
    found: Result<ClusterDiff, Vec<FileProblem>>,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let found = match found {
        Ok(found) => found,
        Err(refusals) => {
            refusals.iter().try_for_each(|refusal| console.print_error(refusal))?;
            return Ok(ExitStatus::Failed);
        }
    };
    for failure in &found.failures {
        console.print_warning(format_args!("not generated: {failure}"))?;
    }
    // Objects that are left unchanged are warnings, but they count as a difference in the exit status.
    let (left, changes): (Vec<_>, Vec<_>) =
        found.drifts.iter().partition(|divergence| divergence.action.is_left_alone());
    for divergence in left {
        console.print_warning(format_args!("left unchanged: {}", unchanged_reason(divergence)))?;
    }
    console.print_data(&changes.iter().map(|divergence| drift_text(divergence)).collect::<String>())?;
    Ok(if found.drifts.is_empty() { ExitStatus::Success } else { ExitStatus::Findings })
}

/// Returns why Emcee would leave an object unchanged although it differs, and how to fix that.
fn unchanged_reason(Drift { kind, key, action: step }: &Drift) -> String {
    let name = format!("{} {key}", kind.as_str());
    let DriftAction::Leave(differences, fix) = step else {
        return format!("{name} exists and is not managed by Emcee (rename or delete it)");
    };
    let written = "has Emcee's label but another field manager wrote it, and";
    if differences.is_empty() {
        return format!("{name} {written} no resource asks for it ({fix})");
    }
    let fields =
        differences.iter().map(|it| difference_text(kind.as_str(), it)).collect::<Vec<_>>().join("\n    ");
    format!("{name} {written} it differs from the desired state ({fix})\n    {fields}")
}

/// Formats a change: `+`, `~` or `-` and the object. Empty for an object that is left unchanged.
fn drift_text(divergence: &Drift) -> String {
    let Drift { kind, key, action: step } = divergence;
    let name = format!("{} {key}", kind.as_str());
    match step {
        DriftAction::Create => format!("+ {name}\n"),
        DriftAction::Change(differences) => {
            let fields = differences.iter().map(|it| format!("    {}\n", difference_text(kind.as_str(), it)));
            format!("~ {name}\n{}", fields.collect::<String>())
        }
        DriftAction::Remove => format!("- {name}\n"),
        DriftAction::TakeOver => format!(
            "~ {name}\n    another field manager wrote it in the desired state: Emcee takes it over\n"
        ),
        DriftAction::Relinquish | DriftAction::Leave(..) => String::new(),
    }
}

#[cfg(test)]
mod tests;
