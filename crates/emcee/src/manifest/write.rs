//! Objects as a YAML stream for kubectl and people.

use serde_json::Value;
use serde_saphyr::{SerializeError, SerializerOptions};

/// Why objects could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The serializer refused.
    #[error("failed to write YAML")]
    Yaml(#[from] SerializeError),
}

/// The values as documents with `---` between them, keys in the order of the values.
///
/// Block style; text that any YAML reader could take for something else is quoted, text of
/// several lines is written as `|`, and nothing is folded, so that a change stays one line.
pub fn to_yaml(values: &[Value]) -> Result<String, WriteError> {
    Ok(serde_saphyr::to_string_multiple_with_options(values, options())?)
}

fn options() -> SerializerOptions {
    let mut options = SerializerOptions::default();
    options.folded_wrap_chars = usize::MAX;
    options
}
