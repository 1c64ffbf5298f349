//! How a controller is, for those who ask from outside its loop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use emcee_core::catalogue::Listing;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Engine;

/// A loop that has not turned for so long hangs: it turns each second when nothing happens.
const STALLED: Duration = Duration::from_secs(30);

/// How a controller is. Clones are of the same controller.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Mutex<Shared>>,
    questions: mpsc::Sender<Question>,
}

/// What is offered between this mesh and its peers, as a controller knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Offers {
    /// Whether this is the replica that writes, and so the one that follows peers. Another one knows nothing of peers but
    /// what the statuses of resources say.
    pub follows: bool,
    /// What is offered in each relationship, each way.
    pub listings: Vec<Listing>,
}

/// What is asked, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Question {
    /// What is known and wanted.
    Dump(oneshot::Sender<Value>),
    /// What is offered; nothing is to be said of it before everything has been seen once.
    Offers(oneshot::Sender<Option<Offers>>),
}

impl Question {
    /// Answers it. Perhaps nobody waits any more.
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

/// The two ends.
pub(crate) fn health() -> (Health, Pulse) {
    let blockers = vec!["the watches have not begun".to_owned()];
    let shared = Arc::new(Mutex::new(Shared { blockers, turned: Instant::now() }));
    let (asked, questions) = mpsc::channel(4);
    (Health { shared: Arc::clone(&shared), questions: asked }, Pulse { shared, questions })
}

impl Health {
    /// What keeps the controller from being ready, a line each; none: everything has been seen once.
    pub fn blockers(&self) -> Vec<String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).blockers.clone()
    }

    /// Since when the loop has not turned, if it should have.
    pub fn stalled(&self) -> Option<String> {
        let turned = self.shared.lock().unwrap_or_else(PoisonError::into_inner).turned;
        let since = turned.elapsed();
        (since > STALLED).then(|| format!("the controller has not moved for {} s", since.as_secs()))
    }

    /// What the controller knows and wants. No Secret's content is in it.
    pub async fn config_dump(&self) -> Value {
        let none = || json!({"error": "the controller does not run"});
        self.ask(Question::Dump).await.unwrap_or_else(none)
    }

    /// What is offered between this mesh and its peers; none: the controller does not run, or has not seen everything.
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
    /// The loop has turned.
    pub(crate) fn beat(&self, blockers: impl FnOnce() -> Vec<String>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.turned = Instant::now();
        shared.blockers = blockers();
    }

    /// The next question.
    pub(crate) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}
