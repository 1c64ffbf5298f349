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
