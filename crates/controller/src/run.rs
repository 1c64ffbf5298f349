//! The control loop: watches in, writes out.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument as _, debug, info, warn};

use crate::convert::WatchUpdate;
use crate::deadline::sleep_until_deadline;
use crate::discovery_link::{DiscoveryHandle, DiscoveryLink, create_link};
use crate::engine::{Engine, WriteTask};
use crate::events::EventRecorder;
use crate::health::{self, AdminRequest, Health, Heartbeat};
use crate::metrics::Metrics;
use crate::options::ControllerOptions;
use crate::reconcile::{WriteError, WriteOutcome, execute_write};
use crate::status::ReadinessTransition;
use crate::watch::failures::{FailureReport, WatchFailures};
use crate::watch::{KIND_MISSING, WatchEvent, WatchEventKind, WatchSet, WatchSource};

/// Maximum number of watch events that are processed at once.
const MAX_EVENTS: usize = 1024;
/// Time between iterations when nothing happens.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that one iteration works on changes, before everything else has its turn.
const WORK_SLICE: Duration = Duration::from_millis(100);
/// Time that writes in flight have at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a controller has ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// All watches have ended, which they never do by themselves.
    #[error("all watches of the API server have ended")]
    WatchesEnded,
}

/// Watches, translates and, as the leader, writes.
pub struct Controller {
    client: Client,
    options: ControllerOptions,
    engine: Engine,
    inputs: WatchInbox,
    generated: Option<WatchInbox>,
    watch_failures: Failures,
    writes: JoinSet<(WriteTask, Result<WriteOutcome, WriteError>)>,
    health: Health,
    heartbeat: Heartbeat,
    metrics: Metrics,
    events: EventRecorder,
    discovery: DiscoveryLink,
    /// Discovery's end of the channels, until it is taken.
    discovery_handle: Option<DiscoveryHandle>,
}

/// Failures of all watches, by set and number.
type Failures = WatchFailures<(WatchSetKind, usize)>;

/// What a set of watches is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WatchSetKind {
    Inputs,
    Generated,
}

/// A set of watches and their events.
struct WatchInbox {
    set: WatchSetKind,
    watches: WatchSet,
    events: mpsc::Receiver<WatchEvent>,
    /// Watches that have not completed their list, each with its last error.
    blockers: BTreeMap<usize, Option<String>>,
    metrics: Metrics,
}

impl WatchInbox {
    fn new(
        set: WatchSetKind,
        metrics: &Metrics,
        watch: impl FnOnce(&mpsc::Sender<WatchEvent>) -> WatchSet,
    ) -> Self {
        let (sender, observations) = mpsc::channel(MAX_EVENTS * 4);
        let watches = watch(&sender);
        let blockers = (0..watches.sources().len()).map(|number| (number, None)).collect();
        Self { set, watches, events: observations, blockers, metrics: metrics.clone() }
    }

    /// Returns what keeps the initial sync from being complete, a line each.
    fn blocker_lines(&self) -> Vec<String> {
        let named = self.blockers.iter().filter_map(|(number, why)| Some((self.source(*number)?, why)));
        let line = |(source, why): (&WatchSource, &Option<String>)| match why {
            Some(why) => format!("{source}: {why}"),
            None => format!("{source}: no answer yet"),
        };
        named.map(line).collect()
    }

    fn source(&self, number: usize) -> Option<&WatchSource> {
        self.watches.sources().get(number)
    }

    /// Splits events into updates, which it returns, and the state of the watches, which it records.
    fn process_events(&mut self, batch: Vec<WatchEvent>, failures: &mut Failures) -> Vec<WatchUpdate> {
        let mut facts = Vec::with_capacity(batch.len());
        for WatchEvent { source, kind: what } in batch {
            match what {
                WatchEventKind::Update(fact) => {
                    failures.record_success(&(self.set, source));
                    facts.push(*fact);
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
                    if let Some(blocker) = self.blockers.get_mut(&source) {
                        *blocker = Some(why);
                    }
                }
            }
        }
        facts
    }

    fn record_failure(&self, number: usize, why: &str, failures: &mut Failures) {
        let Some(source) = self.source(number) else { return };
        self.metrics.record_watch_failure(source.kind());
        if failures.record_failure((self.set, number), Instant::now()) {
            warn!(watch = %source, error = why, "watch failed; retrying");
        } else {
            debug!(watch = %source, error = why, "watch failed; retrying");
        }
    }
}

impl Controller {
    /// Creates a controller. It watches immediately, and writes nothing before it runs. Requires a Tokio
    /// runtime.
    pub fn new(client: Client, options: ControllerOptions, metrics: Metrics) -> Self {
        let engine = Engine::new(&options, metrics.clone());
        let inputs = WatchInbox::new(WatchSetKind::Inputs, &metrics, |out| {
            WatchSet::for_inputs(&client, &options, out)
        });
        let announcer = EventRecorder::start(client.clone(), &options.identity);
        let (health, pulse) = health::health_pair();
        let (exchange, counterpart) = create_link();
        Self {
            client,
            options,
            engine,
            inputs,
            generated: None,
            watch_failures: Failures::default(),
            writes: JoinSet::new(),
            health,
            heartbeat: pulse,
            metrics,
            events: announcer,
            discovery: exchange,
            discovery_handle: Some(counterpart),
        }
    }

    /// Takes discovery's end of the channels. `None` if it was taken before.
    pub fn take_discovery_handle(&mut self) -> Option<DiscoveryHandle> {
        self.discovery_handle.take()
    }

    /// Returns a handle to query the controller while it runs.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Runs until `end` completes. Writes only while `leads` is true. When this returns, no write is in
    /// flight.
    ///
    /// # Errors
    /// All watches have ended.
    pub async fn run(
        &mut self,
        mut leads: watch::Receiver<bool>,
        end: impl Future<Output = ()>,
    ) -> Result<(), ControllerError> {
        let mut end = std::pin::pin!(end);
        let mut ticks = tokio::time::interval(TICK_INTERVAL);
        let mut batch = Vec::new();
        loop {
            self.watch_generated_when_planned();
            self.start_writes();
            self.publish_to_discovery();
            self.heartbeat.tick(|| self.inputs.blocker_lines());
            // Computed in each iteration, because each event can add an earlier retry.
            let retry = self.engine.next_retry().map(tokio::time::Instant::from_std);
            let accepts = self.engine.accepts_updates();
            tokio::select! {
                () = &mut end => break,
                // Backpressure: what the engine does not accept waits in the channels, and so do the watches.
                count = self.inputs.events.recv_many(&mut batch, MAX_EVENTS), if accepts => {
                    if count == 0 {
                        return Err(ControllerError::WatchesEnded);
                    }
                    let facts = self.inputs.process_events(std::mem::take(&mut batch), &mut self.watch_failures);
                    self.engine.on_watch_updates(facts);
                    self.start_when_synced(*leads.borrow());
                }
                changes = self.discovery.next_peer_changes(), if accepts => self.engine.on_peer_changes(changes),
                // Always accepted: without them, the first write could wait forever.
                observations = next_events(&mut self.generated) => self.on_generated_events(observations),
                Some(done) = self.writes.join_next() => self.on_write_done(done),
                changed = leads.changed() => {
                    // A closed channel means that the election has ended.
                    let leads = changed.is_ok() && *leads.borrow();
                    self.on_leadership_change(leads).await;
                }
                () = sleep_until_deadline(retry) => {}
                // Ready immediately, so the loop works in slices. `select!` picks at random among the ready
                // branches.
                () = tokio::task::yield_now(), if self.engine.is_busy() => self.engine.work(time_budget(WORK_SLICE)),
                question = self.heartbeat.next_request() => answer_request(question, &self.engine),
                _ = ticks.tick() => self.on_tick(),
            }
        }
        self.finish_writes().await;
        Ok(())
    }

    fn start_when_synced(&mut self, leads: bool) {
        if !self.engine.is_started() && self.inputs.blockers.is_empty() {
            info!("initial sync complete");
            self.engine.start();
            if leads {
                self.become_leader();
            }
        }
    }

    fn on_tick(&mut self) {
        self.engine.set_time(Timestamp::now());
        match self.watch_failures.due_report(Instant::now()) {
            Some(FailureReport::Failing { watches, attempts }) => {
                warn!(watches, attempts, "watches fail; retrying");
            }
            Some(FailureReport::Recovered { attempts }) => info!(attempts, "all watches work again"),
            None => {}
        }
    }

    fn publish_to_discovery(&mut self) {
        self.discovery.publish(self.engine.take_catalogue_updates());
        if let Some(objects) = self.engine.take_changed_objects() {
            self.discovery.set_mcp_objects(objects);
        }
    }

    async fn on_leadership_change(&mut self, leads: bool) {
        if leads && !self.engine.is_leader() && self.engine.is_started() {
            self.become_leader();
        }
        if !leads {
            // Ends the watches. If this replica leads again, it lists everything again.
            self.generated = None;
            self.watch_failures.retain(|(set, _)| *set != WatchSetKind::Generated);
            self.engine.stop_leading();
            // A write in flight must not arrive after a write of the next leader.
            self.writes.shutdown().await;
        }
    }

    fn become_leader(&mut self) {
        info!("became leader, starting writes");
        self.engine.become_leader();
    }

    /// Starts the watches of generated objects, to compare them before the first write.
    fn watch_generated_when_planned(&mut self) {
        if !self.engine.start_watching_generated() {
            return;
        }
        let (client, options) = (&self.client, &self.options);
        let watch = |out: &mpsc::Sender<WatchEvent>| WatchSet::for_generated(client, options, out);
        self.generated = Some(WatchInbox::new(WatchSetKind::Generated, &self.metrics, watch));
    }

    fn on_generated_events(&mut self, observations: Vec<WatchEvent>) {
        let Some(inbox) = &mut self.generated else { return };
        let was_blocked = !inbox.blockers.is_empty();
        let facts = inbox.process_events(observations, &mut self.watch_failures);
        // Only once for each leadership: later lists are relists.
        let open = was_blocked && inbox.blockers.is_empty();
        self.engine.on_watch_updates(facts);
        if open {
            info!("compared with cluster, applying");
            self.engine.on_generated_synced();
        }
    }

    fn start_writes(&mut self) {
        let mut goes_on = time_budget(WORK_SLICE);
        while self.writes.len() < self.options.concurrency {
            let Some((task, write)) = self.engine.next_write(Instant::now(), &mut goes_on) else { break };
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            self.writes.spawn(async move {
                debug!(?task, "starting write");
                let (begun, (operation, kind)) = (Instant::now(), write.metric_labels());
                let span = write.span();
                // A cancelled request may still have been processed. The retry finds out.
                let outcome = with_timeout(execute_write(&client, write)).instrument(span).await;
                metrics.record_write(operation, kind, outcome.is_ok(), begun.elapsed().as_secs_f64());
                (task, outcome)
            });
        }
        for transition in self.engine.take_transitions() {
            self.record_transition(transition);
        }
        self.metrics.set_write_queue_depth(self.engine.waiting_writes());
    }

    fn on_write_done(
        &mut self,
        done: Result<(WriteTask, Result<WriteOutcome, WriteError>), tokio::task::JoinError>,
    ) {
        match done {
            Ok((task, outcome)) => {
                if let Err(fault) = &outcome {
                    debug!(?task, error = ?fault, "write failed");
                }
                if let Some(transition) = self.engine.on_write_done(task, outcome, Instant::now()) {
                    self.record_transition(transition);
                }
            }
            Err(error) => warn!(%error, "write task failed"),
        }
    }

    fn record_transition(&mut self, transition: ReadinessTransition) {
        let ReadinessTransition { unit, ready, reason, message, .. } = &transition;
        info!(resource = %unit, ready, reason, detail = message, "readiness changed");
        self.events.record_transition(transition);
    }

    async fn finish_writes(&mut self) {
        let all = async { while self.writes.join_next().await.is_some() {} };
        // The Lease is released after this, so nothing may be written later.
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await.is_err() {
            self.writes.shutdown().await;
        }
    }
}

/// Answers a request. The caller may have gone away.
fn answer_request(request: AdminRequest, engine: &Engine) {
    match request {
        AdminRequest::ConfigDump(asker) => drop(asker.send(engine.config_dump())),
        AdminRequest::Catalogue(asker) => drop(asker.send(engine.catalogue_state())),
    }
}

/// Returns a function that reports whether less than this time has passed.
fn time_budget(time: Duration) -> impl FnMut() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() < time
}

/// Limits the time of a write. A write that hangs counts as failed and is retried.
async fn with_timeout(
    write: impl Future<Output = Result<WriteOutcome, WriteError>>,
) -> Result<WriteOutcome, WriteError> {
    const MOST: Duration = Duration::from_secs(30);
    let late = || Err(WriteError::Transient(format!("no answer within {} s", MOST.as_secs())));
    tokio::time::timeout(MOST, write).await.unwrap_or_else(|_| late())
}

async fn next_events(inbox: &mut Option<WatchInbox>) -> Vec<WatchEvent> {
    let Some(inbox) = inbox else { return pending().await };
    let mut batch = Vec::new();
    if inbox.events.recv_many(&mut batch, MAX_EVENTS).await == 0 {
        return pending().await;
    }
    batch
}

#[cfg(test)]
mod tests {
    use emcee_testkit::apiserver::ApiServer;

    use super::*;
    use crate::tests::options;

    #[tokio::test]
    async fn every_list_after_the_first_is_a_relist() {
        let (client, metrics) = (ApiServer::new().client(), Metrics::unregistered());
        let mut inbox = WatchInbox::new(WatchSetKind::Inputs, &metrics, |out| {
            WatchSet::for_inputs(&client, &options(), out)
        });
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
