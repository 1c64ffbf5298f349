//! Health and introspection, read from outside the control loop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use emcee_core::catalogue::CatalogueReport;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Time without an iteration after which the loop counts as stalled. It iterates every second when nothing
/// happens.
const STALL_THRESHOLD: Duration = Duration::from_secs(30);

/// Health of a controller. Clones share the same controller.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<Mutex<HealthState>>,
    requests: mpsc::Sender<AdminRequest>,
}

/// Announcements between this mesh and its peers, as a controller knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueState {
    /// Whether this replica leads, and so connects to peers. Another replica knows of peers only what the
    /// statuses of resources say.
    pub follows_peers: bool,
    /// Announcements of each relationship, in both directions.
    pub reports: Vec<CatalogueReport>,
}

/// A request to the control loop, and where to send the answer.
#[derive(Debug)]
pub(crate) enum AdminRequest {
    /// Known and desired state.
    ConfigDump(oneshot::Sender<Value>),
    /// Announcements; `None` before the initial sync is complete.
    Catalogue(oneshot::Sender<Option<CatalogueState>>),
}

#[derive(Debug)]
struct HealthState {
    blockers: Vec<String>,
    last_tick: Instant,
}

/// The loop's end of a [`Health`].
#[derive(Debug)]
pub(crate) struct Heartbeat {
    state: Arc<Mutex<HealthState>>,
    requests: mpsc::Receiver<AdminRequest>,
}

/// Creates both ends: for callers, and for the loop.
pub(crate) fn health_pair() -> (Health, Heartbeat) {
    let blockers = vec!["the watches have not started".to_owned()];
    let shared = Arc::new(Mutex::new(HealthState { blockers, last_tick: Instant::now() }));
    let (sender, questions) = mpsc::channel(4);
    (
        Health { state: Arc::clone(&shared), requests: sender },
        Heartbeat { state: shared, requests: questions },
    )
}

impl Health {
    /// Returns what keeps the controller from being ready, a line each. Empty after the initial sync.
    pub fn blockers(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).blockers.clone()
    }

    /// Returns a message if the loop is stalled, with the time since its last iteration.
    pub fn stall_message(&self) -> Option<String> {
        let turned = self.state.lock().unwrap_or_else(PoisonError::into_inner).last_tick;
        let since = turned.elapsed();
        (since > STALL_THRESHOLD).then(|| format!("control loop stalled for {} s", since.as_secs()))
    }

    /// Returns the known and desired state. Leaves the contents of Secrets out.
    pub async fn config_dump(&self) -> Value {
        let none = || json!({"error": "the controller is not running"});
        self.send_request(AdminRequest::ConfigDump).await.unwrap_or_else(none)
    }

    /// Returns the announcements between this mesh and its peers. `None` if the controller is not running, or
    /// the initial sync is not complete.
    pub async fn catalogue_state(&self) -> Option<CatalogueState> {
        self.send_request(AdminRequest::Catalogue).await?
    }

    async fn send_request<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> AdminRequest) -> Option<T> {
        let (asker, answered) = oneshot::channel();
        self.requests.send(question(asker)).await.ok()?;
        answered.await.ok()
    }
}

impl Heartbeat {
    /// Records an iteration of the loop.
    pub(crate) fn tick(&self, blockers: impl FnOnce() -> Vec<String>) {
        let mut shared = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        shared.last_tick = Instant::now();
        shared.blockers = blockers();
    }

    /// Returns the next request. Never completes if all callers are gone.
    pub(crate) async fn next_request(&mut self) -> AdminRequest {
        match self.requests.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_blocked_until_its_first_iteration() {
        let (health, heartbeat) = health_pair();
        assert_eq!(health.blockers(), ["the watches have not started"]);
        heartbeat.tick(|| vec!["watch of Pod: no answer yet".to_owned()]);
        assert_eq!(health.blockers(), ["watch of Pod: no answer yet"]);
        heartbeat.tick(Vec::new);
        assert_eq!(health.clone().blockers(), [""; 0]);
    }

    #[test]
    fn a_loop_is_stalled_after_the_threshold_and_until_its_next_iteration() {
        let (health, heartbeat) = health_pair();
        let set_age = |age: Duration| {
            let then = Instant::now().checked_sub(age).expect("the machine runs for longer");
            heartbeat.state.lock().expect("no panic").last_tick = then;
        };
        set_age(STALL_THRESHOLD.saturating_sub(Duration::from_secs(5)));
        assert_eq!(health.stall_message(), None);
        set_age(STALL_THRESHOLD + Duration::from_secs(5));
        assert_eq!(health.stall_message().as_deref(), Some("control loop stalled for 35 s"));
        heartbeat.tick(Vec::new);
        assert_eq!(health.stall_message(), None);
    }

    #[tokio::test]
    async fn each_request_is_answered_by_the_loop() {
        let (health, mut heartbeat) = health_pair();
        let answer_two = async {
            for _ in 0..2 {
                match heartbeat.next_request().await {
                    AdminRequest::ConfigDump(asker) => asker.send(json!({"writes": true})).expect("it waits"),
                    AdminRequest::Catalogue(asker) => asker.send(None).expect("it waits"),
                }
            }
        };
        let (dump, catalogue, ()) = tokio::join!(health.config_dump(), health.catalogue_state(), answer_two);
        assert_eq!((dump, catalogue), (json!({"writes": true}), None));
    }

    #[tokio::test]
    async fn a_request_to_a_controller_that_has_ended_is_answered() {
        let (health, mut heartbeat) = health_pair();
        // It ends before it answers.
        let end = async { drop(heartbeat.next_request().await) };
        let error = json!({"error": "the controller is not running"});
        assert_eq!(tokio::join!(health.config_dump(), end).0, error);
        drop(heartbeat);
        assert_eq!(health.config_dump().await, error);
        assert_eq!(health.catalogue_state().await, None);
    }
}
