//! `emcee render`: prints the objects that Emcee generates from files.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use serde_json::{Value, json};

use super::Outcome;
use super::check::{Duplicates, check};
use super::sources::{Files, Surroundings};
use crate::console::Console;
use crate::manifest;

const EXAMPLES: &str = "\
Examples:
  emcee render -f examples/blue-yellow/m1
  emcee render -f mesh/ --gateway-namespaces istio-system | kubectl diff -f -";

/// Print all objects that Emcee would create, in the order in which to apply them.
///
/// Pass the files of one mesh: the resources, and as many of its Services, EndpointSlices, Secrets, Pods or
/// Deployments, PeerAuthentications and DestinationRules as you have. Assumptions about missing files go to stderr, one
/// line each, as does everything that cannot be generated yet. If anything is refused, nothing is printed, and the exit
/// code is 1.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RenderArgs {
    #[command(flatten)]
    files: Files,

    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Yaml)]
    output: Format,

    /// Also print copies of credentials, with their private keys
    #[arg(long)]
    secrets: bool,

    #[command(flatten)]
    surroundings: Surroundings,
}

/// Output format of `emcee render`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A stream of documents
    Yaml,
    /// One List
    Json,
}

pub(super) fn run(args: &RenderArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let Some(reading) = args.files.read(console)? else { return Ok(Outcome::Failed) };
    let checked = check(reading, args.surroundings.settings(), Duplicates::Refused);
    checked.say(console)?;
    if checked.say_refusals(console)? {
        return Ok(Outcome::Refused);
    }
    let mut objects = checked.translation.objects();
    args.surroundings.say_trust_domain(&objects, console)?;
    // Private keys must not reach a terminal or a CI log unless the user asks for them.
    if !args.secrets {
        for secret in objects.extract_if(.., |object| object.kind() == GeneratedKind::Secret) {
            console.warning(format_args!(
                "left out: Secret {}/{}, as it holds a private key (--secrets prints it)",
                secret.namespace, secret.name
            ))?;
        }
    }
    console.data(&text(&objects, args.output)?)?;
    Ok(Outcome::Fine)
}

/// Formats the objects.
fn text(objects: &[GeneratedObject], format: Format) -> anyhow::Result<String> {
    let values: Vec<Value> = objects
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .context("failed to write an object")?;
    Ok(match format {
        // Without objects the output is empty, not an empty YAML document.
        Format::Yaml if values.is_empty() => String::new(),
        Format::Yaml => manifest::to_yaml(&values)?,
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": values});
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        }
    })
}
