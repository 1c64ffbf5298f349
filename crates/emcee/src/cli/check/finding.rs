//! One problem, warning or assumption about the files of a mesh.

use emcee_api::Reason;
use emcee_yaml::FileProblem;
use schemars::JsonSchema;
use serde::Serialize;

/// How serious a finding is, in the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum FindingSeverity {
    /// The user has to fix the object. `render` prints nothing.
    Refused,
    /// Something that the object needs is missing, so it is not generated.
    NotGenerated,
    /// An object is not among the files, and Emcee assumes usual values for it.
    Assumed,
    /// The object is valid, and probably not what the user wants.
    Warning,
    /// Emcee does not read the object.
    Skipped,
}

impl FindingSeverity {
    /// Returns the beginning of the line for people.
    pub(super) const fn line_prefix(self) -> &'static str {
        match self {
            Self::Refused | Self::Skipped => "",
            Self::NotGenerated => "not generated: ",
            Self::Assumed => "assumed: ",
            Self::Warning => "warning: ",
        }
    }
}

/// A finding, with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckFinding {
    pub(crate) severity: FindingSeverity,
    /// The reason that the condition of the resource would have. `None` for skipped objects.
    pub(crate) reason: Option<Reason>,
    pub(crate) problem: FileProblem,
    /// The object that has to be fixed first. `None` if this finding is a cause itself.
    pub(crate) cause: Option<FindingCause>,
}

/// An object with a problem from which other findings follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FindingCause {
    /// The object, as `Kind namespace/name`.
    pub(crate) object: String,
    /// Where its problem is, as `FILE:LINE`.
    pub(crate) place: String,
}

impl CheckFinding {
    pub(super) fn new(severity: FindingSeverity, reason: Reason, problem: FileProblem) -> Self {
        Self { severity, reason: Some(reason), problem, cause: None }
    }

    /// Creates the finding that an object was skipped.
    pub(super) fn skipped(problem: FileProblem) -> Self {
        Self { severity: FindingSeverity::Skipped, reason: None, problem, cause: None }
    }

    /// Returns the kind of the object, or an empty text if the object could not be read.
    pub(super) fn object_kind(&self) -> &str {
        let object = self.problem.object.as_deref().unwrap_or_default();
        object.split_once(' ').map_or(object, |(kind, _)| kind)
    }
}
