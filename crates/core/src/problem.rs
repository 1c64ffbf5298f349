//! Problems of resources, with a message for people that names the field and the fix.

use std::fmt;

use emcee_api::Reason;

use crate::key::ObjectRef;

/// A problem of a resource, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceProblem {
    /// The reason in the condition.
    pub reason: Reason,
    /// Path of the field, such as `spec.peers[1].name`. Empty if the problem concerns the whole resource.
    pub field: String,
    /// What is wrong, followed in parentheses by what is allowed or what to do.
    pub message: String,
}

impl ResourceProblem {
    /// Creates a problem of the whole resource.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: String::new(), message: message.into() }
    }

    /// Creates a problem of one field.
    pub fn at_field(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// Attributes the problem to an object.
    pub fn found_in(self, object: ObjectRef) -> ResourceFinding {
        ResourceFinding { object, problem: self }
    }
}

/// Describes why a value does not fit, without the terms of the library that reads it.
///
/// ```
/// use emcee_core::problem::describe_type_error;
///
/// let words = describe_type_error("invalid type: integer `1`, expected a string");
/// assert_eq!(words, "is integer `1`, and must be a text (in quotes)");
/// ```
pub fn describe_type_error(text: &str) -> String {
    // The position is one in the converted value, not in the file.
    let text = text.split(" at line ").next().unwrap_or(text);
    let parts = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    if let Some((found, expected)) = parts.and_then(|parts| parts.split_once(", expected ")) {
        let found = found.replace("sequence", "a list").replace("map", "a map");
        return format!("is {found}, and must be {}", plain_type_name(expected));
    }
    match text.strip_prefix("missing field ") {
        Some(field) => format!("{field} is missing"),
        None => text.to_owned(),
    }
}

fn plain_type_name(expected: &str) -> String {
    match expected {
        "a string" => "a text (in quotes)".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map of names and values".to_owned(),
        "i32" | "i64" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a map with the fields of this object".to_owned(),
        other => other.to_owned(),
    }
}

impl fmt::Display for ResourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// A problem, and the object that has it. Displays as `Kind namespace/name: field: what is wrong (what is allowed)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceFinding {
    /// The object that has the problem.
    pub object: ObjectRef,
    /// What is wrong with the object.
    pub problem: ResourceProblem,
}

impl fmt::Display for ResourceFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.problem)
    }
}
