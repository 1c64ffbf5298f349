//! Health and introspection, read from outside the control loop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use emcee_core::catalogue::CatalogueReport;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Engine;

/// Time without an iteration after which the loop counts as stalled. It iterates every second when nothing
/// happens.
const STALLED: Duration = Duration::from_secs(30);

/// Health of a controller. Clones share the same controller.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Mutex<Shared>>,
    questions: mpsc::Sender<Question>,
}

/// Announcements between this mesh and its peers, as a controller knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Offers {
    /// Whether this replica leads, and so connects to peers. Another replica knows of peers only what the
    /// statuses of resources say.
    pub follows: bool,
    /// Announcements of each relationship, in both directions.
    pub listings: Vec<CatalogueReport>,
}

/// A request to the control loop, and where to send the answer.
#[derive(Debug)]
pub(crate) enum Question {
    /// Known and desired state.
    Dump(oneshot::Sender<Value>),
    /// Announcements; `None` before the initial sync is complete.
    Offers(oneshot::Sender<Option<Offers>>),
}

impl Question {
    /// Answers the request. The caller may have gone away.
    pub(crate) fn answer(self, engine: &Engine) {
        match self {
            Self::Dump(asker) => drop(asker.send(engine.dump())),
            Self::Offers(asker) => drop(asker.send(engine.offers())),
        }
    }
}

#[derive(Debug)]
struct Shared {
    blockers: Vec<String>,
    turned: Instant,
}

/// The loop's end of a [`Health`].
#[derive(Debug)]
pub(crate) struct Pulse {
    shared: Arc<Mutex<Shared>>,
    questions: mpsc::Receiver<Question>,
}

/// Creates both ends: for callers, and for the loop.
pub(crate) fn health() -> (Health, Pulse) {
    let blockers = vec!["the watches have not started".to_owned()];
    let shared = Arc::new(Mutex::new(Shared { blockers, turned: Instant::now() }));
    let (asked, questions) = mpsc::channel(4);
    (Health { shared: Arc::clone(&shared), questions: asked }, Pulse { shared, questions })
}

impl Health {
    /// Returns what keeps the controller from being ready, a line each. Empty after the initial sync.
    pub fn blockers(&self) -> Vec<String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).blockers.clone()
    }

    /// Returns a message if the loop is stalled, with the time since its last iteration.
    pub fn stalled(&self) -> Option<String> {
        let turned = self.shared.lock().unwrap_or_else(PoisonError::into_inner).turned;
        let since = turned.elapsed();
        (since > STALLED).then(|| format!("control loop stalled for {} s", since.as_secs()))
    }

    /// Returns the known and desired state. Leaves the contents of Secrets out.
    pub async fn config_dump(&self) -> Value {
        let none = || json!({"error": "the controller is not running"});
        self.ask(Question::Dump).await.unwrap_or_else(none)
    }

    /// Returns the announcements between this mesh and its peers. `None` if the controller is not running, or
    /// the initial sync is not complete.
    pub async fn offers(&self) -> Option<Offers> {
        self.ask(Question::Offers).await?
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (asker, answered) = oneshot::channel();
        self.questions.send(question(asker)).await.ok()?;
        answered.await.ok()
    }
}

impl Pulse {
    /// Records an iteration of the loop.
    pub(crate) fn beat(&self, blockers: impl FnOnce() -> Vec<String>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.turned = Instant::now();
        shared.blockers = blockers();
    }

    /// Returns the next request. Never completes if all callers are gone.
    pub(crate) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}
