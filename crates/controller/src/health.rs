//! How a controller is, for those who ask from outside its loop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// A loop that has not turned for so long hangs: it turns each second when nothing happens.
const STALLED: Duration = Duration::from_secs(30);

/// How a controller is. Clones are of the same controller.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Mutex<Shared>>,
    questions: mpsc::Sender<oneshot::Sender<Value>>,
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
    questions: mpsc::Receiver<oneshot::Sender<Value>>,
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
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.send(answer).await.is_ok();
        let none = json!({"error": "the controller does not run"});
        if asked { answered.await.unwrap_or(none) } else { none }
    }
}

impl Pulse {
    /// The loop has turned.
    pub(crate) fn beat(&self, blockers: impl FnOnce() -> Vec<String>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.turned = Instant::now();
        shared.blockers = blockers();
    }

    /// The next one who asks what the controller knows.
    pub(crate) async fn question(&mut self) -> oneshot::Sender<Value> {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}
