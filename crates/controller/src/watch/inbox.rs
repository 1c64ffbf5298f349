//! The events of a set of watches, and what is missing from its initial sync.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::failures::WatchFailures;
use super::{KIND_MISSING, WatchEvent, WatchEventKind, WatchSet, WatchSource};
use crate::convert::WatchUpdate;
use crate::metrics::Metrics;

/// Maximum number of watch events that are processed at once.
const MAX_EVENTS: usize = 1024;
/// Time without any answer to a watch after which [`WatchInbox::collect_until_synced`] gives up.
pub(crate) const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// Failures of all watches, by set and number.
pub(crate) type Failures = WatchFailures<(WatchSetKind, usize)>;

/// What a set of watches is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchSetKind {
    /// What is translated.
    Inputs,
    /// What Emcee has written.
    Generated,
}

/// Why a watch has not completed its first list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SyncBlocker {
    NoAnswer,
    /// The last attempt failed, and the next may succeed.
    Failed(String),
    /// Permissions are missing.
    Forbidden(String),
}

impl fmt::Display for SyncBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer yet"),
            Self::Failed(why) | Self::Forbidden(why) => f.write_str(why),
        }
    }
}

/// A set of watches and their events.
pub(crate) struct WatchInbox {
    set: WatchSetKind,
    watches: WatchSet,
    events: mpsc::Receiver<WatchEvent>,
    /// Watches that have not completed their first list.
    blockers: BTreeMap<usize, SyncBlocker>,
    metrics: Metrics,
}

impl WatchInbox {
    /// Starts the watches that `watch` adds.
    pub(crate) fn new(
        set: WatchSetKind,
        metrics: &Metrics,
        watch: impl FnOnce(&mpsc::Sender<WatchEvent>) -> WatchSet,
    ) -> Self {
        let (sender, events) = mpsc::channel(MAX_EVENTS * 4);
        let watches = watch(&sender);
        let blockers = (0..watches.sources().len()).map(|number| (number, SyncBlocker::NoAnswer)).collect();
        Self { set, watches, events, blockers, metrics: metrics.clone() }
    }

    /// Reports whether every watch has completed its first list.
    pub(crate) fn is_synced(&self) -> bool {
        self.blockers.is_empty()
    }

    /// Returns what keeps the initial sync from being complete, a line each.
    pub(crate) fn blocker_lines(&self) -> Vec<String> {
        let named = self.blockers.iter().filter_map(|(number, why)| Some((self.source(*number)?, why)));
        named.map(|(source, why)| format!("{source}: {why}")).collect()
    }

    fn source(&self, number: usize) -> Option<&WatchSource> {
        self.watches.sources().get(number)
    }

    /// Returns the next events; none if all watches have ended. Loses no event if it is cancelled.
    pub(crate) async fn receive_events(&mut self) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        self.events.recv_many(&mut events, MAX_EVENTS).await;
        events
    }

    /// Splits events into updates, which it returns, and the state of the watches, which it records.
    pub(crate) fn process_events(
        &mut self,
        events: Vec<WatchEvent>,
        failures: &mut Failures,
    ) -> Vec<WatchUpdate> {
        let mut updates = Vec::with_capacity(events.len());
        for WatchEvent { source, kind } in events {
            match kind {
                WatchEventKind::Update(update) => {
                    failures.record_success(&(self.set, source));
                    updates.push(*update);
                }
                WatchEventKind::Synced => {
                    failures.record_success(&(self.set, source));
                    // The first list of a watch ends its blocker. All later ones are relists.
                    let is_relist = self.blockers.remove(&source).is_none();
                    if let Some(source) = self.source(source).filter(|_| is_relist) {
                        self.metrics.record_relist(source.kind());
                    }
                }
                WatchEventKind::KindMissing => {
                    self.record_failure(source, KIND_MISSING, failures);
                    self.blockers.remove(&source);
                }
                WatchEventKind::Failed(why) => {
                    self.record_failure(source, &why, failures);
                    self.set_blocker(source, SyncBlocker::Failed(why));
                }
                WatchEventKind::Forbidden(why) => {
                    self.record_failure(source, &why, failures);
                    self.set_blocker(source, SyncBlocker::Forbidden(why));
                }
            }
        }
        updates
    }

    /// Sets the blocker of a watch that has not completed its first list.
    fn set_blocker(&mut self, number: usize, why: SyncBlocker) {
        if let Some(blocker) = self.blockers.get_mut(&number) {
            *blocker = why;
        }
    }

    fn record_failure(&self, number: usize, why: &str, failures: &mut Failures) {
        let Some(source) = self.source(number) else { return };
        self.metrics.record_watch_failure(source.kind());
        if failures.record_failure((self.set, number), std::time::Instant::now()) {
            warn!(watch = %source, error = why, "watch failed; retrying");
        } else {
            debug!(watch = %source, error = why, "watch failed; retrying");
        }
    }

    /// Returns all updates until every watch has completed its first list. Watches that fail retry until
    /// nothing has answered for [`SYNC_TIMEOUT`].
    ///
    /// # Errors
    /// Returns a line for each cause that blocks watches: the time is over, permissions are missing, or every
    /// watch has failed and none has ever succeeded.
    pub(crate) async fn collect_until_synced(mut self) -> Result<Vec<WatchUpdate>, Vec<String>> {
        let mut failures = Failures::default();
        let mut updates = Vec::new();
        let mut deadline = Instant::now() + SYNC_TIMEOUT;
        while !self.is_synced() {
            if self.is_hopeless() {
                return Err(self.blocked_causes());
            }
            match timeout_at(deadline, self.receive_events()).await {
                Ok(events) if !events.is_empty() => {
                    if events.iter().any(|event| self.is_progress(event)) {
                        deadline = Instant::now() + SYNC_TIMEOUT;
                    }
                    updates.extend(self.process_events(events, &mut failures));
                }
                _ => return Err(self.blocked_causes()),
            }
        }
        Ok(updates)
    }

    /// Reports whether an event brings the initial sync nearer to its end. Otherwise the sync could take
    /// forever: a watch that has completed its list reports changes as long as the cluster is busy, and a watch
    /// that has failed may list the same objects again and again.
    fn is_progress(&self, event: &WatchEvent) -> bool {
        let blocker = self.blockers.get(&event.source);
        match event.kind {
            // A long list may take longer than the limit. Each part of it starts the time again.
            WatchEventKind::Update(_) => blocker == Some(&SyncBlocker::NoAnswer),
            WatchEventKind::Synced | WatchEventKind::KindMissing => blocker.is_some(),
            WatchEventKind::Failed(_) | WatchEventKind::Forbidden(_) => false,
        }
    }

    /// Reports whether a retry is not worth waiting for: all open watches have failed, and either permissions
    /// are missing or the API server has not completed a single list.
    fn is_hopeless(&self) -> bool {
        let all_failed = self.blockers.values().all(|why| *why != SyncBlocker::NoAnswer);
        let all_forbidden = self.blockers.values().all(|why| matches!(why, SyncBlocker::Forbidden(_)));
        all_forbidden || all_failed && self.blockers.len() == self.watches.sources().len()
    }

    /// Returns the open watches, a line for each cause: one cause often blocks all of them.
    fn blocked_causes(&self) -> Vec<String> {
        let mut causes: BTreeMap<&SyncBlocker, Vec<String>> = BTreeMap::new();
        for (number, why) in &self.blockers {
            causes.entry(why).or_default().extend(self.source(*number).map(ToString::to_string));
        }
        let line = |(why, sources): (&SyncBlocker, Vec<String>)| match sources.as_slice() {
            [first, second, _, ..] => format!("{first}, {second} and {} more: {why}", sources.len() - 2),
            sources => format!("{}: {why}", sources.join(", ")),
        };
        causes.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use emcee_testkit::apiserver::ApiServer;

    use super::*;
    use crate::tests::options;

    fn input_watches(metrics: &Metrics) -> WatchInbox {
        let client = ApiServer::new().client();
        WatchInbox::new(WatchSetKind::Inputs, metrics, |out| WatchSet::for_inputs(&client, &options(), out))
    }

    /// A busy cluster reports changes all the time. They do not extend the wait for a watch that fails.
    #[tokio::test]
    async fn only_lists_that_are_not_complete_extend_the_initial_sync() {
        let mut inbox = input_watches(&Metrics::unregistered());
        let update = |source| WatchEvent {
            source,
            kind: WatchEventKind::Update(Box::new(WatchUpdate::RootHash(None))),
        };
        assert!(inbox.is_progress(&update(0)) && inbox.is_progress(&update(1)));
        let synced = WatchEvent { source: 0, kind: WatchEventKind::Synced };
        assert!(inbox.is_progress(&synced));
        let failed = WatchEvent { source: 1, kind: WatchEventKind::Failed("no".into()) };
        assert!(!inbox.is_progress(&failed));
        inbox.process_events(vec![synced, failed], &mut Failures::default());
        assert!(!inbox.is_progress(&update(0)) && !inbox.is_progress(&update(1)));
        assert!(!inbox.is_progress(&WatchEvent { source: 0, kind: WatchEventKind::Synced }), "a relist");
        assert!(inbox.is_progress(&WatchEvent { source: 1, kind: WatchEventKind::Synced }));
    }

    #[tokio::test]
    async fn every_list_after_the_first_is_a_relist() {
        let metrics = Metrics::unregistered();
        let mut inbox = input_watches(&metrics);
        let mut failures = Failures::default();
        let kind = inbox.source(0).expect("a watch").kind();
        let mut complete_list = || {
            inbox.process_events(vec![WatchEvent { source: 0, kind: WatchEventKind::Synced }], &mut failures)
        };
        complete_list();
        assert_eq!(metrics.relist_count(kind), 0);
        complete_list();
        complete_list();
        assert_eq!(metrics.relist_count(kind), 2);
    }
}
