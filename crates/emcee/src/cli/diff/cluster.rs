//! What a controller would do in a cluster.

use anyhow::Context as _;
use emcee_api::GROUP;
use emcee_controller::{Divergence, Snapshot, Step};
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

/// The files, if they can be read; without any, nothing.
fn reading(args: &DiffArgs, console: &mut Console<'_>) -> anyhow::Result<Option<Reading>> {
    if args.filename.is_empty() {
        return Ok(Some(Reading::default()));
    }
    Ok(sources::read(&args.filename, console)?)
}

struct Found {
    divergences: Vec<Divergence>,
    /// Why something is not generated.
    failures: Vec<String>,
}

/// What would be done; or what is wrong with the files.
async fn look(
    args: &DiffArgs,
    client: Client,
    mut reading: Reading,
) -> anyhow::Result<Result<Found, Vec<Problem>>> {
    let options = cluster::options_to_look(&args.scope, &args.surroundings);
    let mut snapshot = Snapshot::take(client.clone(), &options).await?;
    for document in &mut reading.documents {
        settle(&client, document).await?;
    }
    let mut intake = Intake::of(&reading.documents, &options.cluster_domain);
    let refusals = refusals(&reading, &mut intake);
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    snapshot.update(intake.changes);
    let divergences = snapshot.divergences().await?;
    Ok(Ok(Found { divergences, failures: failures(&snapshot) }))
}

fn refusals(reading: &Reading, intake: &mut Intake) -> Vec<Problem> {
    let mut refusals = reading.problems.clone();
    let twice = duplicates(&reading.documents, DEFAULT_NAMESPACE);
    refusals.extend(twice.iter().filter(|pair| pair.again.kind != "Namespace").map(Duplicate::problem));
    refusals.append(&mut intake.refusals);
    refusals.extend(intake.bad_credentials(&[], Timestamp::now()).into_iter().map(|(_, problem)| problem));
    refusals
}

/// Of two resources that want the same thing the older has it: one of the cluster keeps its age, one that is not there
/// yet is the youngest.
async fn settle(client: &Client, document: &mut Document) -> anyhow::Result<()> {
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

fn failures(snapshot: &Snapshot) -> Vec<String> {
    let mut failures = Vec::new();
    for (unit, verdict) in snapshot.translation().verdicts() {
        let Some(resource) = unit.resource() else { continue };
        let problems = verdict.refusals.iter().chain(&verdict.failures);
        failures.extend(problems.map(|problem| format!("{resource}: {problem}")));
    }
    failures
}

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
    let (left, changes): (Vec<_>, Vec<_>) =
        found.divergences.iter().partition(|divergence| divergence.step.is_left());
    for divergence in left {
        console.warning(format_args!("left as it is: {}", why_left(divergence)))?;
    }
    console.data(&changes.iter().map(|divergence| text(divergence)).collect::<String>())?;
    Ok(if found.divergences.is_empty() { Outcome::Fine } else { Outcome::Refused })
}

/// Why Emcee does not make an object what it should be, and what to do.
fn why_left(Divergence { kind, key, step }: &Divergence) -> String {
    let name = format!("{} {key}", kind.as_str());
    let Step::Leave(differences, mend) = step else {
        return format!("{name} is somebody else's (rename or delete it)");
    };
    let written = "has Emcee's label, but somebody else wrote it, and";
    if differences.is_empty() {
        return format!("{name} {written} no resource asks for it ({mend})");
    }
    let fields = differences.iter().map(|it| shown(kind.as_str(), it)).collect::<Vec<_>>().join("\n    ");
    format!("{name} {written} it is not as it should be ({mend})\n    {fields}")
}

fn text(divergence: &Divergence) -> String {
    let Divergence { kind, key, step } = divergence;
    let name = format!("{} {key}", kind.as_str());
    match step {
        Step::Create => format!("+ {name}\n"),
        Step::Change(differences) => {
            let fields = differences.iter().map(|it| format!("    {}\n", shown(kind.as_str(), it)));
            format!("~ {name}\n{}", fields.collect::<String>())
        }
        Step::Remove => format!("- {name}\n"),
        Step::TakeOver => format!("~ {name}\n    somebody else wrote it as it should be: it is taken over\n"),
        Step::Yield | Step::Leave(..) => String::new(),
    }
}

#[cfg(test)]
mod tests;
