//! Leader election: of several replicas, the holder of the Lease writes.
//!
//! A holder that cannot renew stops leading before the Lease expires for the others, even while a request
//! hangs. At shutdown it releases the Lease after its last write.

mod election;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::deadline::sleep_until_deadline;
use election::{ElectionAction, LEASE_DURATION, LeaseElection, LeaseRecord};

/// Name of the Lease object.
pub const NAME: &str = "emcee";

/// Time between two attempts to acquire or renew.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Time between two attempts of a candidate without permission.
const FORBIDDEN_RETRY_PERIOD: Duration = Duration::from_secs(8);
/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Membership in the leader election, as candidate or as leader.
#[derive(Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    release_signal: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Joins the leader election as a candidate.
    pub fn acquire(client: Client, namespace: &str, identity: &str) -> Self {
        let (tell, leads) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let candidate = LeaseCandidate {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            election: LeaseElection::new(identity),
            lease: None,
            failure_logged: false,
            leads: tell,
        };
        Self { leads, release_signal: end, task: tokio::spawn(candidate.run_election(ended)) }
    }

    /// Returns whether this replica leads, and its changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Releases the Lease if this replica holds it. Call it after the last write.
    pub async fn release(self) {
        let _ended_already = self.release_signal.send(());
        if timeout(REQUEST_TIMEOUT * 2, self.task).await.is_err() {
            warn!("cannot release the lease in time; other replicas wait until it expires");
        }
    }
}

struct LeaseCandidate {
    api: Api<Object>,
    identity: String,
    election: LeaseElection,
    /// The Lease as last read or written.
    lease: Option<Object>,
    /// Whether the last request failed. Only the first failure in a row is logged as a warning.
    failure_logged: bool,
    leads: watch::Sender<bool>,
}

impl LeaseCandidate {
    async fn run_election(mut self, mut ended: oneshot::Receiver<()>) {
        let mut pause = Duration::ZERO;
        loop {
            // Computed in each iteration: each renewal moves it.
            let deadline = self.election.renew_deadline();
            tokio::select! {
                _ = &mut ended => break,
                // At the deadline, a request in flight is cancelled. The next read shows whether it
                // succeeded.
                () = sleep_until_deadline(deadline) => self.stop_leading("renew deadline exceeded"),
                next = self.attempt_after(pause) => pause = next,
            }
        }
        self.release().await;
    }

    /// Waits, then acquires or renews. Returns the time to wait before the next attempt.
    async fn attempt_after(&mut self, pause: Duration) -> Duration {
        sleep(pause).await;
        match self.try_acquire_or_renew().await {
            Ok(()) => {
                self.failure_logged = false;
                RETRY_PERIOD
            }
            Err(error) => self.on_request_error(&error),
        }
    }

    /// Logs a failure. Returns the time to wait before the next attempt.
    fn on_request_error(&mut self, error: &kube::Error) -> Duration {
        // A conflict means that the known version is outdated.
        self.lease = None;
        if std::mem::replace(&mut self.failure_logged, true) {
            debug!(%error, lease = NAME, "lease request failed; retrying");
        } else {
            warn!(%error, lease = NAME, "cannot read or write the lease; retrying");
        }
        // Without permission, a candidate tries less often. A leader must not: its deadline is near.
        let forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
        if forbidden && !*self.leads.borrow() { FORBIDDEN_RETRY_PERIOD } else { RETRY_PERIOD / 2 }
    }

    async fn try_acquire_or_renew(&mut self) -> kube::Result<()> {
        // The leader knows the Lease: it wrote it last. If another replica did, the update fails with a
        // conflict.
        if self.lease.is_none() || !*self.leads.borrow() {
            self.lease = with_timeout(self.api.get_opt(NAME)).await?;
        }
        let seen = self.lease.as_ref().map(lease_record);
        // The time before the request, as the API server may have processed it at any time since.
        let begun = Instant::now();
        let written = match self.election.next_action(seen.as_ref(), begun) {
            ElectionAction::Wait => {
                self.stop_leading("another replica holds the lease");
                return Ok(());
            }
            ElectionAction::Create => {
                with_timeout(self.api.create(&PostParams::default(), &self.build_lease(true))).await?
            }
            ElectionAction::Acquire => {
                with_timeout(self.api.replace(NAME, &PostParams::default(), &self.build_lease(true))).await?
            }
            ElectionAction::Renew => {
                with_timeout(self.api.replace(NAME, &PostParams::default(), &self.build_lease(false))).await?
            }
        };
        self.lease = Some(written);
        self.election.record_renewal(begun);
        if self.leads.send_if_modified(|leads| !std::mem::replace(leads, true)) {
            info!(identity = self.identity, "became leader");
        }
        Ok(())
    }

    /// Builds the Lease with this replica as holder. `taken` is whether the holder changes.
    fn build_lease(&self, taken: bool) -> Object {
        let now = MicroTime(jiff::Timestamp::now());
        let existed = self.lease.is_some();
        let old = self.lease.clone().unwrap_or_default();
        let spec = old.spec.unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default();
        // Keep the labels that others have set.
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), managed_fields: None, ..old.metadata };
        Object {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: if taken { Some(now.clone()) } else { spec.acquire_time },
                renew_time: Some(now),
                // As client-go: the creation of the Lease is no transition.
                lease_transitions: Some(transitions.saturating_add(i32::from(taken && existed))),
                ..LeaseSpec::default()
            }),
        }
    }

    fn stop_leading(&mut self, why: &str) {
        self.election.record_loss();
        if self.leads.send_if_modified(std::mem::take) {
            warn!(identity = self.identity, reason = why, "lost leadership");
        }
    }

    async fn release(&mut self) {
        self.election.record_loss();
        self.leads.send_if_modified(std::mem::take);
        // A renewal that was cancelled may still arrive in between and cause a conflict. Then the second
        // attempt succeeds.
        for _ in 0..2 {
            match self.clear_holder().await {
                Ok(()) => return,
                Err(error) => warn!(%error, "cannot release the lease"),
            }
        }
    }

    /// Removes this replica as holder from the Lease, as it is in the cluster.
    async fn clear_holder(&mut self) -> kube::Result<()> {
        self.lease = with_timeout(self.api.get_opt(NAME)).await?;
        let holder = self.lease.as_ref().and_then(|lease| lease_record(lease).holder);
        if holder.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        let mut lease = self.build_lease(false);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        with_timeout(self.api.replace(NAME, &PostParams::default(), &lease)).await?;
        info!("released the lease");
        Ok(())
    }
}

fn lease_record(lease: &Object) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let term = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    LeaseRecord {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        // Some clients release with an empty identity instead of none.
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: term.filter(|seconds| *seconds > 0).map_or(LEASE_DURATION, Duration::from_secs),
    }
}

async fn with_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
}
