//! `emcee render`: prints the objects that Emcee generates from files.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use serde_json::{Value, json};

use super::ExitStatus;
use super::check::{DuplicatePolicy, check_documents};
use super::common_args::{FileArgs, MeshSettings};
use crate::console::Console;

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
    files: FileArgs,

    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = RenderFormat::Yaml)]
    output: RenderFormat,

    /// Also print copies of credentials, with their private keys
    #[arg(long)]
    secrets: bool,

    #[command(flatten)]
    mesh_settings: MeshSettings,
}

/// Output format of `emcee render`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RenderFormat {
    /// A stream of documents
    Yaml,
    /// One List
    Json,
}

pub(super) fn run(args: &RenderArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let Some(reading) = args.files.read_documents(console)? else { return Ok(ExitStatus::Failed) };
    let checked = check_documents(reading, args.mesh_settings.to_settings(), DuplicatePolicy::Refused);
    if checked.print_findings(console)? {
        return Ok(ExitStatus::Findings);
    }
    let mut objects = checked.translation.objects();
    args.mesh_settings.warn_assumed_trust_domain(&objects, console)?;
    // Private keys must not reach a terminal or a CI log unless the user asks for them.
    if !args.secrets {
        for secret in objects.extract_if(.., |object| object.kind() == GeneratedKind::Secret) {
            console.print_warning(format_args!(
                "left out: Secret {}/{}, as it holds a private key (--secrets prints it)",
                secret.namespace, secret.name
            ))?;
        }
    }
    console.print_data(&objects_text(&objects, args.output)?)?;
    Ok(ExitStatus::Success)
}

/// Formats the objects.
fn objects_text(objects: &[GeneratedObject], format: RenderFormat) -> anyhow::Result<String> {
    let values: Vec<Value> = objects
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .context("failed to write an object")?;
    Ok(match format {
        // Without objects the output is empty, not an empty YAML document.
        RenderFormat::Yaml if values.is_empty() => String::new(),
        RenderFormat::Yaml => emcee_yaml::to_yaml(&values)?,
        RenderFormat::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": values});
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        }
    })
}
