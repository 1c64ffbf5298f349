//! Where the time of a first call goes, from the logs of the mesh with the callers.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::PeersSystem;
use super::world::PeersBed;
use crate::bench::audit::{self, RecordedWrite};

/// The parts of a first call. Their sum is the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallParts {
    /// Until the API server of the callers' mesh receives the ServiceBinding: the other API server, both Emcees, the wire.
    pub announcement: Duration,
    /// Until it receives the first object for the proxies: Emcee has seen its own ServiceBinding.
    pub binding: Duration,
    /// Until the last object for the proxies is written.
    pub objects: Duration,
    /// Until istiod begins the push that the answer needed: the wait for more changes.
    pub istiod: Duration,
    /// Until the call is answered: the push, the proxy, the call.
    pub proxy: Duration,
    /// Number of pushes until the answer.
    pub pushes: usize,
}

/// Kinds that istiod reads.
const OBJECTS: [&str; 5] =
    ["/services/", "/services?", "/virtualservices/", "/serviceentries/", "/destinationrules/"];

/// Positions in the logs before a call.
pub(super) struct Timeline {
    audit: u64,
    istiod: u64,
}

impl Timeline {
    /// Remembers where the logs end.
    pub(super) fn begin(bed: &PeersBed) -> Result<Self> {
        let folder = bed.here.folder();
        Ok(Self {
            audit: audit::log_length(folder)?,
            istiod: std::fs::metadata(folder.join("logs/istiod.log")).context("no log of istiod")?.len(),
        })
    }

    /// The parts of a call; the times are in microseconds since 1970.
    pub(super) fn parts(
        &self,
        bed: &PeersBed,
        system: PeersSystem,
        name: &str,
        begun: u64,
        answered: u64,
    ) -> Result<CallParts> {
        let folder = bed.here.folder();
        let pushes = parse_pushes(&read_from(&folder.join("logs/istiod.log"), self.istiod)?);
        let writes = match system {
            PeersSystem::Emcee(_) => BindingWrites::of(&audit::read_writes(folder, self.audit)?, name),
            PeersSystem::MultiPrimary(_) => None,
        };
        Ok(split_time(begun, answered, writes, &pushes))
    }
}

fn read_from(path: &Path, position: u64) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("no log {}", path.display()))?;
    file.seek(SeekFrom::Start(position))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// When the writes for a binding were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BindingWrites {
    /// The ServiceBinding was received.
    binding: u64,
    /// The first object for the proxies was received.
    first: u64,
    /// The last of them was written.
    last: u64,
}

impl BindingWrites {
    /// Finds the writes of an import in the audit log.
    fn of(writes: &[RecordedWrite], name: &str) -> Option<Self> {
        let is_for = |write: &&RecordedWrite| mentions_binding(write, name);
        let mut own = writes.iter().filter(is_for);
        let binding =
            own.find(|write| write.uri.contains("/servicebindings") && !write.uri.contains("/status"))?;
        let objects: Vec<&RecordedWrite> =
            writes.iter().filter(is_for).filter(|write| is_for_proxies(&write.uri)).collect();
        let first = objects.iter().filter_map(|write| parse_time(&write.at)).min()?;
        let last = objects.iter().filter_map(|write| parse_time(&write.done)).max()?;
        Some(Self { binding: parse_time(&binding.at)?, first, last })
    }
}

fn is_for_proxies(uri: &str) -> bool {
    OBJECTS.iter().any(|kind| uri.contains(kind))
}

/// Whether the write is for the binding: its own, or that of an object with its owner's label.
fn mentions_binding(write: &RecordedWrite, name: &str) -> bool {
    let metadata = &write.body["metadata"];
    let path = write.uri.split('?').next().unwrap_or_default();
    path.ends_with(&format!("/{name}"))
        || metadata["name"] == name
        || metadata["labels"]["emcee.io/owner-name"] == name
}

/// When istiod began its pushes.
fn parse_pushes(log: &str) -> Vec<u64> {
    let begun = log.lines().filter(|line| line.contains("Push debounce stable"));
    begun.filter_map(|line| parse_time(line.split_whitespace().next()?)).collect()
}

/// Microseconds since 1970.
fn parse_time(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1000).ok()
}

fn split_time(begun: u64, answered: u64, writes: Option<BindingWrites>, pushes: &[u64]) -> CallParts {
    let before_answer = pushes.iter().filter(|push| (begun..answered).contains(*push));
    let push = before_answer.clone().max().copied().unwrap_or(answered);
    let writes = writes.unwrap_or(BindingWrites { binding: begun, first: begun, last: begun });
    // The call may be answered before the last object is there. The parts then end with the answer.
    let marks = [writes.binding, writes.first, writes.last, push, answered];
    let mut at = begun;
    let [announcement, binding, objects, istiod, proxy] = marks.map(|mark| {
        let from = at;
        at = at.max(mark.min(answered));
        Duration::from_micros(at - from)
    });
    CallParts { announcement, binding, objects, istiod, proxy, pushes: before_answer.count() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn write(uri: &str, body: Value, at: &str, done: &str) -> RecordedWrite {
        let time = |second: &str| format!("2026-01-01T00:00:0{second}Z");
        RecordedWrite { verb: "patch".to_owned(), uri: uri.to_owned(), body, at: time(at), done: time(done) }
    }

    #[test]
    fn the_writes_of_a_binding_are_found_by_name_and_owner() {
        let owned = |name: &str| json!({"metadata": {"name": "x", "labels": {"emcee.io/owner-name": name}}});
        let writes = [
            write("/apis/a/v1/namespaces/apps/servicebindings/s-1?x", Value::Null, "1.1", "1.2"),
            write("/apis/n/v1/namespaces/apps/serviceentries/x?f", owned("s-1"), "1.4", "1.5"),
            write("/apis/n/v1/namespaces/apps/serviceentries/y?f", owned("s-10"), "1.3", "1.9"),
            write("/api/v1/namespaces/apps/services/s-1?f", Value::Null, "1.6", "1.7"),
            write("/apis/a/v1/namespaces/apps/servicebindings/s-1/status?x", Value::Null, "1.8", "1.9"),
        ];
        let found = BindingWrites::of(&writes, "s-1").expect("writes");
        let base = parse_time("2026-01-01T00:00:00Z").expect("a time");
        let [binding, first, last] = [1_100_000, 1_400_000, 1_700_000].map(|after| base + after);
        assert_eq!(found, BindingWrites { binding, first, last });
        assert_eq!(BindingWrites::of(&writes, "s-2"), None);
    }

    #[test]
    fn the_parts_are_as_long_as_the_whole() {
        let writes = BindingWrites { binding: 10, first: 15, last: 30 };
        let parts = split_time(0, 200, Some(writes), &[5, 130, 250]);
        let times = [parts.announcement, parts.binding, parts.objects, parts.istiod, parts.proxy];
        assert_eq!(times.map(|time| time.as_micros()), [10, 5, 15, 100, 70]);
        assert_eq!(parts.pushes, 2);
        let early = split_time(0, 20, Some(writes), &[17]);
        let times = [early.announcement, early.binding, early.objects, early.istiod, early.proxy];
        assert_eq!(times.map(|time| time.as_micros()), [10, 5, 5, 0, 0]);
    }

    #[test]
    fn pushes_are_read_from_the_log() {
        let log = "2026-01-01T00:00:00.000001Z\tinfo\tads\tPush debounce stable[3] 1 for config x: 100ms\n\
                   2026-01-01T00:00:00.5Z\tinfo\tads\tXDS: Pushing Services:1\nnot a line";
        assert_eq!(parse_pushes(log).len(), 1);
    }
}
