//! `emcee schemas`: prints JSON Schemas of the resources and of the JSON output.

mod resource_schema;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::ExitStatus;
use super::status::StatusReport;
use super::validate::ValidateReport;
use crate::console::Console;

const EXAMPLES: &str = "\
Examples:
  emcee schemas ServiceBinding > servicebinding.json
  emcee schemas -o schemas/
  kubeconform -schema-location default \\
    -schema-location 'schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json' mesh/";

/// Kinds with a schema: the resources, and the JSON output of commands.
const KINDS: [&str; 5] =
    ["MeshFedConfig", "ServiceExposition", "ServiceBinding", "ValidateReport", "StatusReport"];

/// Print JSON Schemas of the three resources, for editors and kubeconform, and of the JSON output of commands.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SchemasArgs {
    /// The kind
    #[arg(value_name = "KIND", ignore_case = true, required_unless_present = "output", value_parser = PossibleValuesParser::new(KINDS))]
    kind: Option<String>,

    /// Folder to write all schemas to, as GROUP/KIND_VERSION.json
    #[arg(short = 'o', long = "output", value_name = "DIR", conflicts_with = "kind")]
    output: Option<PathBuf>,
}

/// JSON Schema of one kind.
struct NamedSchema {
    kind: String,
    group: &'static str,
    schema: Value,
}

pub(super) fn run(args: &SchemasArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let schemas = all_schemas()?;
    if let Some(folder) = &args.output {
        schemas.iter().try_for_each(|schema| write_schema(folder, schema))?;
        return Ok(ExitStatus::Success);
    }
    let kind = args.kind.as_deref().unwrap_or_default();
    for named in schemas.iter().filter(|named| named.kind.eq_ignore_ascii_case(kind)) {
        console.print_data(&schema_text(named)?)?;
    }
    Ok(ExitStatus::Success)
}

fn all_schemas() -> anyhow::Result<Vec<NamedSchema>> {
    let mut schemas = resource_schema::resource_schemas()?;
    schemas.push(report_schema::<ValidateReport>("ValidateReport")?);
    schemas.push(report_schema::<StatusReport>("StatusReport")?);
    Ok(schemas)
}

/// Returns the schema of the JSON that a command prints.
fn report_schema<T: JsonSchema>(kind: &str) -> anyhow::Result<NamedSchema> {
    let generator = SchemaSettings::draft07().for_serialize().into_generator();
    let schema = serde_json::to_value(generator.into_root_schema_for::<T>())?;
    Ok(NamedSchema { kind: kind.to_owned(), group: "cli.emcee.io", schema })
}

fn schema_text(named: &NamedSchema) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(&named.schema)?))
}

/// Writes a schema to the path at which kubeconform and editors look for it.
fn write_schema(folder: &Path, named: &NamedSchema) -> anyhow::Result<()> {
    let folder = folder.join(named.group);
    let file = folder.join(format!("{}_v1.json", named.kind.to_ascii_lowercase()));
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(&file, schema_text(named)?).with_context(|| format!("failed to write {}", file.display()))
}
