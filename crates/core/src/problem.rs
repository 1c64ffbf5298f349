//! What is wrong with an object: for people, with the field and the mend.

use std::fmt;

use emcee_api::Reason;

use crate::key::ObjectRef;

/// Something wrong with an object, or worth knowing about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Why, as it stands in a condition.
    pub reason: Reason,
    /// Path of the field to look at, such as `spec.peers[1].name`; empty when it is about the whole object.
    pub field: String,
    /// What is wrong, and in brackets what is allowed or what to do.
    pub message: String,
}

impl Problem {
    /// A problem with the whole object.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: String::new(), message: message.into() }
    }

    /// A problem with one field.
    pub fn at(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// The problem, said of an object.
    pub fn of(self, object: ObjectRef) -> Refusal {
        Refusal { object, problem: self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// A problem, and the object that has it. Displays as `Kind namespace/name: field: what is wrong (what is allowed)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Refusal {
    /// The object.
    pub object: ObjectRef,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.problem)
    }
}
