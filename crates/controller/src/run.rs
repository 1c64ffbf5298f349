//! The control loop: watches in, writes out.

use std::future::pending;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument as _, debug, info, warn};

use crate::deadline::sleep_until_deadline;
use crate::discovery_link::{DiscoveryHandle, DiscoveryLink, create_link};
use crate::engine::{Engine, WriteTask};
use crate::events::EventRecorder;
use crate::health::{self, AdminRequest, Health, Heartbeat};
use crate::metrics::Metrics;
use crate::options::ControllerOptions;
use crate::reconcile::{WriteError, WriteOutcome, execute_write};
use crate::status::ReadinessTransition;
use crate::watch::failures::FailureReport;
use crate::watch::{Failures, WatchEvent, WatchInbox, WatchSet, WatchSetKind};

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
        loop {
            self.watch_generated_when_planned();
            // Before the writes: peers wait for announcements, and the writes take the API server time.
            self.publish_to_discovery();
            self.start_writes();
            self.heartbeat.tick(|| self.inputs.blocker_lines());
            // Computed in each iteration, because each event can add an earlier retry.
            let retry = self.engine.next_retry().map(tokio::time::Instant::from_std);
            let accepts = self.engine.accepts_updates();
            tokio::select! {
                () = &mut end => break,
                // Backpressure: what the engine does not accept waits in the channels, and so do the watches.
                events = self.inputs.receive_events(), if accepts => {
                    if events.is_empty() {
                        return Err(ControllerError::WatchesEnded);
                    }
                    let facts = self.inputs.process_events(events, &mut self.watch_failures);
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
        if !self.engine.is_started() && self.inputs.is_synced() {
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
        self.discovery.update_mcp(self.engine.take_mcp_updates());
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
        let was_blocked = !inbox.is_synced();
        let facts = inbox.process_events(observations, &mut self.watch_failures);
        // Only once for each leadership: later lists are relists.
        let open = was_blocked && inbox.is_synced();
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
        if transition.needs_event() {
            self.events.record_transition(transition);
        }
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
    let events = inbox.receive_events().await;
    if events.is_empty() { pending().await } else { events }
}
