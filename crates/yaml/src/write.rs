//! Writes objects as a YAML stream for kubectl and people.

use serde_json::Value;
use serde_saphyr::{SerializeError, SerializerOptions};

/// Error when objects cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum YamlWriteError {
    /// The serializer returned an error.
    #[error("failed to write YAML")]
    Yaml(#[from] SerializeError),
}

/// Writes values as documents separated by `---`. Keys keep their order.
///
/// The style is block style. Text that a YAML reader could take for another type is quoted, and text with several
/// lines is written as `|`. Long lines are not folded, so a change of a value changes one line.
pub fn to_yaml(values: &[Value]) -> Result<String, YamlWriteError> {
    Ok(serde_saphyr::to_string_multiple_with_options(values, serializer_options())?)
}

fn serializer_options() -> SerializerOptions {
    let mut options = SerializerOptions::default();
    options.folded_wrap_chars = usize::MAX;
    options
}
