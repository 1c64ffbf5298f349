//! What Emcee wrote, from the API server's audit log.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// The user name of Emcee.
pub(super) const USER: &str = "system:serviceaccount:emcee-system:emcee";

const POLICY: &str = "policy.json";
const LOG: &str = "audit.log";

/// A write that succeeded.
#[derive(Debug)]
pub(super) struct RecordedWrite {
    /// Kubernetes' verb, such as create or patch.
    pub(super) verb: String,
    /// Path and query of the request.
    pub(super) uri: String,
    /// The object that was sent; null if the request has none.
    pub(super) body: Value,
    /// When the API server received it, in RFC 3339, which sorts by time.
    pub(super) at: String,
    /// When the response was complete, in the same form.
    pub(super) done: String,
}

/// Flags that make the API server log the writes of [`USER`] with their bodies, in this folder.
pub(crate) fn audit_flags(folder: &Path) -> Result<Vec<String>> {
    let policy = serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Request", "users": [USER], "verbs": ["create", "update", "patch", "delete"]},
            {"level": "None"},
        ],
    });
    let path = folder.join(POLICY);
    std::fs::write(&path, policy.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(vec![
        format!("--audit-policy-file={}", path.display()),
        format!("--audit-log-path={}", folder.join(LOG).display()),
        // Megabytes; large enough for the log to stay in one file.
        "--audit-log-maxsize=100000".to_owned(),
    ])
}

/// Current length of the log in bytes, a position for [`read_writes`].
pub(super) fn log_length(folder: &Path) -> Result<u64> {
    Ok(std::fs::metadata(folder.join(LOG)).context("no audit log")?.len())
}

/// The successful writes that were logged after that position, in the order in which the API server received them.
pub(super) fn read_writes(folder: &Path, from: u64) -> Result<Vec<RecordedWrite>> {
    let mut file = File::open(folder.join(LOG)).context("no audit log")?;
    file.seek(SeekFrom::Start(from))?;
    let mut all = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        all.extend(parse_event(&line).with_context(|| format!("not an audit event: {line}"))?);
    }
    all.sort_by(|one, other| one.at.cmp(&other.at));
    Ok(all)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditEvent {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    request_received_timestamp: String,
    stage_timestamp: String,
    response_status: ResponseStatus,
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: u16,
}

fn parse_event(line: &str) -> Result<Option<RecordedWrite>> {
    let event: AuditEvent = serde_json::from_str(line)?;
    let well = (200..300).contains(&event.response_status.code);
    let AuditEvent {
        verb,
        request_uri: uri,
        request_received_timestamp: at,
        stage_timestamp: done,
        request_object,
        ..
    } = event;
    Ok(well.then_some(RecordedWrite { verb, uri, body: request_object, at, done }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_keeps_its_body_and_a_refused_one_is_left_out() {
        let line = |code: u16| {
            format!(
                r#"{{"kind":"Event","verb":"patch","requestURI":"/api/v1/x?force=true","requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.000002Z","responseStatus":{{"metadata":{{}},"code":{code}}},"requestObject":{{"b":1,"a":2}}}}"#
            )
        };
        let write = parse_event(&line(201)).expect("an event").expect("a write that was done");
        assert_eq!((write.verb.as_str(), write.uri.as_str()), ("patch", "/api/v1/x?force=true"));
        assert_eq!(write.body.to_string(), r#"{"b":1,"a":2}"#);
        assert!(parse_event(&line(409)).expect("an event").is_none());
    }
}
