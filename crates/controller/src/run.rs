//! The control loop: watches in, writes out.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::apply::{Fault, Written, carry_out};
use crate::engine::{Engine, Task};
use crate::events::Announcer;
use crate::exchange::{Counterpart, Exchange, exchange};
use crate::health::{self, Health, Pulse};
use crate::metrics::Metrics;
use crate::observe::fact::Fact;
use crate::observe::{Observation, Source, Watches, What};
use crate::options::Options;
use crate::report::Transition;

/// Maximum number of watch events that are processed at once.
const BATCH: usize = 1024;
/// Time between iterations when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// Time that one iteration works on changes, before everything else has its turn.
const SLICE: Duration = Duration::from_millis(100);
/// Time that writes in flight have at shutdown.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Why a controller has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All watches have ended, which they never do by themselves.
    #[error("all watches of the API server have ended")]
    WatchesEnded,
}

/// Watches, translates and, as the leader, writes.
pub struct Controller {
    client: Client,
    options: Options,
    engine: Engine,
    inputs: Inbox,
    generated: Option<Inbox>,
    writes: JoinSet<(Task, Result<Written, Fault>)>,
    health: Health,
    pulse: Pulse,
    metrics: Metrics,
    announcer: Announcer,
    exchange: Exchange,
    /// Discovery's end of the channels, until it is taken.
    counterpart: Option<Counterpart>,
}

/// A set of watches and their events.
struct Inbox {
    watches: Watches,
    observations: mpsc::Receiver<Observation>,
    /// Watches that have not completed their list, each with its last error.
    blockers: BTreeMap<usize, Option<String>>,
    metrics: Metrics,
}

impl Inbox {
    fn new(metrics: &Metrics, watch: impl FnOnce(&mpsc::Sender<Observation>) -> Watches) -> Self {
        let (sender, observations) = mpsc::channel(BATCH * 4);
        let watches = watch(&sender);
        let blockers = (0..watches.sources().len()).map(|number| (number, None)).collect();
        Self { watches, observations, blockers, metrics: metrics.clone() }
    }

    /// Returns what keeps the initial sync from being complete, a line each.
    fn blockers(&self) -> Vec<String> {
        let named = self.blockers.iter().filter_map(|(number, why)| Some((self.source(*number)?, why)));
        let line = |(source, why): (&Source, &Option<String>)| match why {
            Some(why) => format!("{source}: {why}"),
            None => format!("{source}: no answer yet"),
        };
        named.map(line).collect()
    }

    fn source(&self, number: usize) -> Option<&Source> {
        self.watches.sources().get(number)
    }

    /// Splits events into updates, which it returns, and the state of the watches, which it records.
    fn sort(&mut self, batch: Vec<Observation>) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(batch.len());
        for Observation { source, what } in batch {
            match what {
                What::Fact(fact) => facts.push(*fact),
                What::Synced => drop(self.blockers.remove(&source)),
                What::Failed(why) => {
                    if let Some(source) = self.source(source) {
                        self.metrics.watch_failed(source.kind());
                        warn!(watch = %source, error = why, "watch failed; retrying");
                    }
                    if let Some(blocker) = self.blockers.get_mut(&source) {
                        *blocker = Some(why);
                    }
                }
            }
        }
        facts
    }
}

impl Controller {
    /// Creates a controller. It watches immediately, and writes nothing before it runs. Requires a Tokio
    /// runtime.
    pub fn new(client: Client, options: Options, metrics: Metrics) -> Self {
        let engine = Engine::new(&options, metrics.clone());
        let inputs = Inbox::new(&metrics, |out| Watches::of_inputs(&client, &options, out));
        let announcer = Announcer::start(client.clone(), &options.identity);
        let (health, pulse) = health::health();
        let (exchange, counterpart) = exchange();
        Self {
            client,
            options,
            engine,
            inputs,
            generated: None,
            writes: JoinSet::new(),
            health,
            pulse,
            metrics,
            announcer,
            exchange,
            counterpart: Some(counterpart),
        }
    }

    /// Takes discovery's end of the channels. `None` if it was taken before.
    pub fn counterpart(&mut self) -> Option<Counterpart> {
        self.counterpart.take()
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
    ) -> Result<(), Error> {
        let mut end = std::pin::pin!(end);
        let mut ticks = tokio::time::interval(TICK);
        let mut batch = Vec::new();
        loop {
            self.learn_when_planned();
            self.begin_writes();
            self.tell_counterpart();
            self.pulse.beat(|| self.inputs.blockers());
            // Computed in each iteration, because each event can add an earlier retry.
            let retry = self.engine.deadline().map(tokio::time::Instant::from_std);
            let accepts = self.engine.accepts();
            tokio::select! {
                () = &mut end => break,
                // Backpressure: what the engine does not accept waits in the channels, and so do the watches.
                count = self.inputs.observations.recv_many(&mut batch, BATCH), if accepts => {
                    if count == 0 {
                        return Err(Error::WatchesEnded);
                    }
                    let facts = self.inputs.sort(std::mem::take(&mut batch));
                    self.engine.see(facts);
                    self.start_when_synced(*leads.borrow());
                }
                changes = self.exchange.hear(), if accepts => self.engine.hear(changes),
                // Always accepted: without them, the first write could wait forever.
                observations = next_of(&mut self.generated) => self.see_generated(observations),
                Some(done) = self.writes.join_next() => self.done(done),
                changed = leads.changed() => {
                    // A closed channel means that the election has ended.
                    let leads = changed.is_ok() && *leads.borrow();
                    self.lead(leads).await;
                }
                () = until(retry) => {}
                // Ready immediately, so the loop works in slices. `select!` picks at random among the ready
                // branches.
                () = tokio::task::yield_now(), if self.engine.is_busy() => self.engine.work(within(SLICE)),
                question = self.pulse.question() => question.answer(&self.engine),
                _ = ticks.tick() => self.engine.set_time(Timestamp::now()),
            }
        }
        self.last_writes().await;
        Ok(())
    }

    fn start_when_synced(&mut self, leads: bool) {
        if !self.engine.is_started() && self.inputs.blockers.is_empty() {
            info!("initial sync complete");
            self.engine.start();
            if leads {
                self.begin_writing();
            }
        }
    }

    fn tell_counterpart(&mut self) {
        self.exchange.publish(self.engine.published());
        if let Some(objects) = self.engine.changed_objects() {
            self.exchange.show(objects);
        }
    }

    async fn lead(&mut self, leads: bool) {
        if leads && !self.engine.is_writing() && self.engine.is_started() {
            self.begin_writing();
        }
        if !leads {
            // Ends the watches. If this replica leads again, it lists everything again.
            self.generated = None;
            self.engine.end_writing();
            // A write in flight must not arrive after a write of the next leader.
            self.writes.shutdown().await;
        }
    }

    fn begin_writing(&mut self) {
        info!("became leader, starting writes");
        self.engine.begin_writing();
    }

    /// Starts the watches of generated objects, to compare them before the first write.
    fn learn_when_planned(&mut self) {
        if !self.engine.begins_to_learn() {
            return;
        }
        let (client, options) = (&self.client, &self.options);
        self.generated = Some(Inbox::new(&self.metrics, |out| Watches::of_generated(client, options, out)));
    }

    fn see_generated(&mut self, observations: Vec<Observation>) {
        let Some(inbox) = &mut self.generated else { return };
        let was_blocked = !inbox.blockers.is_empty();
        let facts = inbox.sort(observations);
        // Only once for each leadership: later lists are relists.
        let open = was_blocked && inbox.blockers.is_empty();
        self.engine.see(facts);
        if open {
            info!("compared with cluster, applying");
            self.engine.open();
        }
    }

    fn begin_writes(&mut self) {
        let mut goes_on = within(SLICE);
        while self.writes.len() < self.options.concurrency {
            let Some((task, write)) = self.engine.next(Instant::now(), &mut goes_on) else { break };
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            self.writes.spawn(async move {
                debug!(?task, "starting write");
                let (begun, (step, kind)) = (Instant::now(), write.labels());
                // A cancelled request may still have been processed. The retry finds out.
                let outcome = deadline(carry_out(&client, write)).await;
                metrics.written(step, kind, outcome.is_ok(), begun.elapsed().as_secs_f64());
                (task, outcome)
            });
        }
        for transition in self.engine.transitions() {
            self.tell(transition);
        }
        self.metrics.set_waiting(self.engine.waiting());
    }

    fn done(&mut self, done: Result<(Task, Result<Written, Fault>), tokio::task::JoinError>) {
        match done {
            Ok((task, outcome)) => {
                if let Err(fault) = &outcome {
                    debug!(?task, error = ?fault, "write failed");
                }
                if let Some(transition) = self.engine.done(task, outcome, Instant::now()) {
                    self.tell(transition);
                }
            }
            Err(error) => warn!(%error, "write task failed"),
        }
    }

    fn tell(&mut self, transition: Transition) {
        let Transition { unit, ready, reason, message, .. } = &transition;
        info!(resource = %unit, ready, reason, detail = message, "readiness changed");
        self.announcer.tell(transition);
    }

    async fn last_writes(&mut self) {
        let all = async { while self.writes.join_next().await.is_some() {} };
        // The Lease is released after this, so nothing may be written later.
        if tokio::time::timeout(LAST_WRITES, all).await.is_err() {
            self.writes.shutdown().await;
        }
    }
}

/// Returns a function that reports whether less than this time has passed.
fn within(time: Duration) -> impl FnMut() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() < time
}

/// Limits the time of a write. A write that hangs counts as failed and is retried.
async fn deadline(write: impl Future<Output = Result<Written, Fault>>) -> Result<Written, Fault> {
    const MOST: Duration = Duration::from_secs(30);
    let late = || Err(Fault::Transient(format!("no answer within {} s", MOST.as_secs())));
    tokio::time::timeout(MOST, write).await.unwrap_or_else(|_| late())
}

async fn next_of(inbox: &mut Option<Inbox>) -> Vec<Observation> {
    let Some(inbox) = inbox else { return pending().await };
    let mut batch = Vec::new();
    if inbox.observations.recv_many(&mut batch, BATCH).await == 0 {
        return pending().await;
    }
    batch
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
