//! Of several replicas one writes: the one that holds the Lease.
//!
//! A holder that cannot renew stops leading before its term ends for the others, also while a request hangs. At the
//! end it gives the Lease back, after its last write.

mod election;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use election::{Election, Seen, Step, TERM};

/// Name of the Lease.
pub const NAME: &str = "emcee";

/// Between two looks at the Lease.
const RETRY: Duration = Duration::from_secs(2);
/// Until a candidate that was forbidden to look tries again.
const REFUSED: Duration = Duration::from_secs(8);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(4);

/// A candidate for the Lease, or its holder.
#[derive(Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Stands as a candidate from now on.
    pub fn seek(client: Client, namespace: &str, identity: &str) -> Self {
        let (tell, leads) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let candidate = Candidate {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            election: Election::new(identity),
            object: None,
            refused: false,
            tell,
        };
        Self { leads, end, task: tokio::spawn(candidate.stand(ended)) }
    }

    /// Whether this replica leads, as it changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Gives the Lease back, if it is held. To be called after the last write.
    pub async fn give_back(self) {
        let _ended_already = self.end.send(());
        if timeout(REQUEST * 2, self.task).await.is_err() {
            warn!("the Lease could not be given back; others wait for the end of its term");
        }
    }
}

struct Candidate {
    api: Api<Object>,
    identity: String,
    election: Election,
    /// The Lease as it was seen or written last.
    object: Option<Object>,
    /// Whether the last request failed, and that was said.
    refused: bool,
    tell: watch::Sender<bool>,
}

impl Candidate {
    async fn stand(mut self, mut ended: oneshot::Receiver<()>) {
        let mut pause = Duration::ZERO;
        loop {
            // Asked for after each write: a renewal moves it.
            let deadline = self.election.until();
            tokio::select! {
                _ = &mut ended => break,
                // Dropped where it stands when the deadline comes: whether it succeeded is seen at the next look.
                () = reached(deadline) => self.stop_leading("it could not be renewed in time"),
                next = self.turn(pause) => pause = next,
            }
        }
        self.release().await;
    }

    /// After a pause one look at the Lease, and one write if it is due; then how long to pause.
    async fn turn(&mut self, pause: Duration) -> Duration {
        sleep(pause).await;
        match self.act().await {
            Ok(()) => {
                self.refused = false;
                RETRY
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Says once that requests fail, and how long to pause.
    fn failed(&mut self, error: &kube::Error) -> Duration {
        // A conflict means that what was seen is old.
        self.object = None;
        if std::mem::replace(&mut self.refused, true) {
            debug!(%error, "the Lease");
        } else {
            warn!(%error, "the Lease {NAME} can not be read or written; trying again");
        }
        let forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
        if forbidden && !*self.tell.borrow() { REFUSED } else { RETRY / 2 }
    }

    async fn act(&mut self) -> kube::Result<()> {
        if self.object.is_none() || !*self.tell.borrow() {
            self.object = limited(self.api.get_opt(NAME)).await?;
        }
        let seen = self.object.as_ref().map(seen);
        let begun = Instant::now();
        let written = match self.election.step(seen.as_ref(), begun) {
            Step::Wait => {
                self.stop_leading("another replica holds it");
                return Ok(());
            }
            Step::Create => limited(self.api.create(&PostParams::default(), &self.lease(true))).await?,
            Step::Take => limited(self.api.replace(NAME, &PostParams::default(), &self.lease(true))).await?,
            Step::Renew => {
                limited(self.api.replace(NAME, &PostParams::default(), &self.lease(false))).await?
            }
        };
        self.object = Some(written);
        self.election.renewed(begun);
        if self.tell.send_if_modified(|leads| !std::mem::replace(leads, true)) {
            info!(identity = self.identity, "this replica leads");
        }
        Ok(())
    }

    /// The Lease as it is to be: held from now on, or still.
    fn lease(&self, taken: bool) -> Object {
        let now = MicroTime(jiff::Timestamp::now());
        let existed = self.object.is_some();
        let old = self.object.clone().unwrap_or_default();
        let spec = old.spec.unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default();
        // Labels of others stay.
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), managed_fields: None, ..old.metadata };
        Object {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(TERM.as_secs()).ok(),
                acquire_time: if taken { Some(now.clone()) } else { spec.acquire_time },
                renew_time: Some(now),
                lease_transitions: Some(transitions.saturating_add(i32::from(taken && existed))),
                ..LeaseSpec::default()
            }),
        }
    }

    fn stop_leading(&mut self, why: &str) {
        self.election.lost();
        if self.tell.send_if_modified(std::mem::take) {
            warn!(identity = self.identity, why, "this replica leads no more");
        }
    }

    async fn release(&mut self) {
        self.election.lost();
        self.tell.send_if_modified(std::mem::take);
        // Twice: a renewal that was cut off may still arrive in between.
        for _ in 0..2 {
            match self.empty().await {
                Ok(()) => return,
                Err(error) => warn!(%error, "the Lease could not be given back"),
            }
        }
    }

    /// Takes this replica's name out of the Lease, as it is now.
    async fn empty(&mut self) -> kube::Result<()> {
        self.object = limited(self.api.get_opt(NAME)).await?;
        let holder = self.object.as_ref().and_then(|lease| seen(lease).holder);
        if holder.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        let mut lease = self.lease(false);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        limited(self.api.replace(NAME, &PostParams::default(), &lease)).await?;
        info!("the Lease is given back");
        Ok(())
    }
}

fn seen(lease: &Object) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let term = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        term: term.filter(|seconds| *seconds > 0).map_or(TERM, Duration::from_secs),
    }
}

async fn limited<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    timeout(REQUEST, request).await.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
