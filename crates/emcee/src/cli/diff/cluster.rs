//! `emcee diff --cluster`: shows what a controller would change in a cluster.

use anyhow::Context as _;
use emcee_api::GROUP;
use emcee_controller::{ClusterSnapshot, Drift, DriftAction};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::{DiffArgs, shown};
use crate::cli::{Outcome, sources};
use crate::cluster::{self, read};
use crate::console::Console;
use crate::intake::{self, DEFAULT_NAMESPACE, Intake};
use crate::manifest::{Document, Duplicate, Problem, Reading, duplicates};

pub(super) fn run(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let Some(reading) = reading(args, console)? else { return Ok(Outcome::Failed) };
    let found = read::converse(async {
        let client = args.connect.client().await?;
        look(args, client, reading).await
    })?;
    say(found, console)
}

/// Reads the files of `-f`. Empty without the flag; `None` if a file cannot be read.
fn reading(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<Option<Reading>> {
    if args.filename.is_empty() {
        return Ok(Some(Reading::default()));
    }
    Ok(sources::read(&args.filename, console)?)
}

/// Difference between a cluster and what Emcee would write.
struct Found {
    divergences: Vec<Drift>,
    /// Reasons why objects are not generated.
    failures: Vec<String>,
}

/// Computes the difference, or returns the problems of the files.
///
/// # Errors
/// The cluster cannot be read.
async fn look(
    args: &DiffArgs,
    client: Client,
    mut reading: Reading,
) -> anyhow::Result<Result<Found, Vec<Problem>>> {
    let options = cluster::options_to_look(&args.scope, &args.surroundings);
    let mut snapshot = ClusterSnapshot::capture(client.clone(), &options).await?;
    // Must precede the conversion below, which reads age and UID from the documents.
    for document in &mut reading.documents {
        settle(&client, document).await?;
    }
    let mut intake = Intake::of(&reading.documents, &options.cluster_domain);
    let refusals = refusals(&reading, &mut intake);
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    // From here the snapshot is the cluster as it would be after `kubectl apply -f`.
    snapshot.update(intake.changes);
    let divergences = snapshot.find_drift().await?;
    Ok(Ok(Found { divergences, failures: failures(&snapshot) }))
}

/// Collects everything that is wrong with the files.
fn refusals(reading: &Reading, intake: &mut Intake) -> Vec<Problem> {
    let mut refusals = reading.problems.clone();
    let twice = duplicates(&reading.documents, DEFAULT_NAMESPACE);
    refusals.extend(twice.iter().filter(|pair| pair.again.kind != "Namespace").map(Duplicate::problem));
    refusals.append(&mut intake.refusals);
    refusals.extend(intake.bad_credentials(&[], Timestamp::now()).into_iter().map(|(_, problem)| problem));
    refusals
}

/// Gives a resource of a file the metadata that it would have in the cluster.
///
/// If two resources claim the same name, the older one wins. A resource that exists in the cluster keeps its age, and
/// one that does not exist yet is the youngest.
async fn settle(client: &Client, document: &mut Document) -> anyhow::Result<()> {
    // Only Emcee's own resources compete by age.
    if document.group() != GROUP {
        return Ok(());
    }
    let there = read::metadata(client, &document.kind, &intake::key(document)).await?;
    let Some(metadata) = document.value.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    match there {
        Some(there) => {
            metadata.insert("uid".into(), there.uid.into());
            let created = serde_json::to_value(there.creation_timestamp).context("failed to read a time")?;
            metadata.insert("creationTimestamp".into(), created);
            metadata.insert("generation".into(), there.generation.into());
        }
        None => {
            metadata.insert("creationTimestamp".into(), Timestamp::now().to_string().into());
        }
    }
    Ok(())
}

/// Returns why resources produce no objects.
fn failures(snapshot: &ClusterSnapshot) -> Vec<String> {
    let mut failures = Vec::new();
    for (unit, verdict) in snapshot.translation().verdicts() {
        let Some(resource) = unit.resource() else { continue };
        let problems = verdict.refusals.iter().chain(&verdict.failures);
        failures.extend(problems.map(|problem| format!("{resource}: {problem}")));
    }
    failures
}

/// Prints the difference; returns the exit status.
fn say(found: Result<Found, Vec<Problem>>, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let found = match found {
        Ok(found) => found,
        Err(refusals) => {
            refusals.iter().try_for_each(|refusal| console.refusal(refusal))?;
            return Ok(Outcome::Failed);
        }
    };
    for failure in &found.failures {
        console.warning(format_args!("not generated: {failure}"))?;
    }
    // Objects that are left unchanged are warnings, but they count as a difference in the exit status.
    let (left, changes): (Vec<_>, Vec<_>) =
        found.divergences.iter().partition(|divergence| divergence.action.is_left_alone());
    for divergence in left {
        console.warning(format_args!("left unchanged: {}", why_left(divergence)))?;
    }
    console.data(&changes.iter().map(|divergence| text(divergence)).collect::<String>())?;
    Ok(if found.divergences.is_empty() { Outcome::Fine } else { Outcome::Refused })
}

/// Returns why Emcee would leave an object unchanged although it differs, and how to fix that.
fn why_left(Drift { kind, key, action: step }: &Drift) -> String {
    let name = format!("{} {key}", kind.as_str());
    let DriftAction::Leave(differences, fix) = step else {
        return format!("{name} exists and is not managed by Emcee (rename or delete it)");
    };
    let written = "has Emcee's label but another field manager wrote it, and";
    if differences.is_empty() {
        return format!("{name} {written} no resource asks for it ({fix})");
    }
    let fields = differences.iter().map(|it| shown(kind.as_str(), it)).collect::<Vec<_>>().join("\n    ");
    format!("{name} {written} it differs from the desired state ({fix})\n    {fields}")
}

/// Formats a change: `+`, `~` or `-` and the object. Empty for an object that is left unchanged.
fn text(divergence: &Drift) -> String {
    let Drift { kind, key, action: step } = divergence;
    let name = format!("{} {key}", kind.as_str());
    match step {
        DriftAction::Create => format!("+ {name}\n"),
        DriftAction::Change(differences) => {
            let fields = differences.iter().map(|it| format!("    {}\n", shown(kind.as_str(), it)));
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
