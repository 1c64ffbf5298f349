//! Version of the JSON that commands print.

use schemars::JsonSchema;
use serde::Serialize;

/// Version of the JSON output of commands. Within a version, fields are only added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) enum ReportVersion {
    /// The first version.
    #[serde(rename = "cli.emcee.io/v1")]
    V1,
}
