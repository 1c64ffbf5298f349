//! `emcee crds`: prints the custom resource definitions.

use clap::Args;
use serde_json::Value;

use super::ExitStatus;
use crate::console::Console;

/// Print the custom resource definitions.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  emcee crds | kubectl apply --server-side -f -")]
pub(super) struct CrdsArgs {}

pub(super) fn run(console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let values: Vec<Value> = emcee_api::custom_resource_definitions()
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()?;
    console.print_data(&emcee_yaml::to_yaml(&values)?)?;
    Ok(ExitStatus::Success)
}
