//! Result of `emcee validate` for programs.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::check::{CheckFinding, CheckReport, FindingSeverity};
use crate::cli::report_version::ReportVersion;

/// Result of `emcee validate -o json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::cli) struct ValidateReport {
    /// Version of this format.
    api_version: ReportVersion,
    /// Always `ValidateReport`.
    kind: ValidateReportKind,
    /// Number of checked resources: MeshFedConfigs, ServiceExpositions, ServiceBindings, and Services that are exposed
    /// by labels.
    resources: usize,
    /// Number of findings of each severity.
    counts: FindingCounts,
    /// Everything that was found: the causes first, then in the order of files and lines.
    findings: Vec<ReportedFinding>,
}

/// Value of `kind`.
#[derive(Debug, Serialize, JsonSchema)]
enum ValidateReportKind {
    ValidateReport,
}

/// Number of findings of each severity.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FindingCounts {
    refused: usize,
    not_generated: usize,
    assumed: usize,
    warning: usize,
    skipped: usize,
}

/// One finding.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReportedFinding {
    severity: FindingSeverity,
    /// Reason of the condition; `emcee explain REASON` explains it. Absent for skipped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The file as given, or `<stdin>`.
    file: String,
    /// Line in the file, from 1.
    line: u32,
    /// `Kind namespace/name`. Absent if the object could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// Path of the field, such as `spec.peers[0].name`. Absent if the finding is about the whole object.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What is wrong, and in parentheses what is allowed or what to do.
    message: String,
    /// `Kind namespace/name` of the object that has to be fixed first. Absent if this is a cause itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    caused_by: Option<String>,
}

impl ValidateReport {
    pub(super) fn from_check(checked: &CheckReport) -> Self {
        Self {
            api_version: ReportVersion::V1,
            kind: ValidateReportKind::ValidateReport,
            resources: checked.resources,
            counts: FindingCounts {
                refused: checked.count_findings(FindingSeverity::Refused),
                not_generated: checked.count_findings(FindingSeverity::NotGenerated),
                assumed: checked.count_findings(FindingSeverity::Assumed),
                warning: checked.count_findings(FindingSeverity::Warning),
                skipped: checked.count_findings(FindingSeverity::Skipped),
            },
            findings: checked.findings.iter().map(ReportedFinding::from_finding).collect(),
        }
    }
}

impl ReportedFinding {
    fn from_finding(finding: &CheckFinding) -> Self {
        let problem = &finding.problem;
        Self {
            severity: finding.severity,
            reason: finding.reason.map(emcee_api::Reason::as_str),
            file: problem.file.to_string(),
            line: problem.line,
            object: problem.object.clone(),
            field: problem.field.clone(),
            message: problem.message.clone(),
            caused_by: finding.cause.as_ref().map(|cause| cause.object.clone()),
        }
    }
}
