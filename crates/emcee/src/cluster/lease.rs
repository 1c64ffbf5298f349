//! Emcee's Lease: finds out whether a controller runs in a cluster, and stops it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use emcee_controller::lease;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

/// Duration of a Lease that does not specify one, in seconds.
const DEFAULT_LEASE_SECONDS: i32 = 15;
/// Pause between two reads of the Lease.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Returns the identity of the replica that holds Emcee's Lease. `None` if it is not held or has expired.
///
/// # Errors
/// The Lease cannot be read.
pub(crate) async fn lease_holder(client: &Client, namespace: &str) -> anyhow::Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = leases.get_opt(lease::NAME).await;
    let lease = lease.with_context(|| format!("failed to read the Lease {namespace}/{}", lease::NAME))?;
    Ok(lease.and_then(|lease| current_holder(&lease.spec.unwrap_or_default(), Timestamp::now())))
}

/// Scales a Deployment of Emcee to 0, and waits until the Lease is not held.
///
/// # Errors
/// The Deployment cannot be scaled, or the Lease is still held after `patience`.
pub(crate) async fn stop_controller(
    client: &Client,
    namespace: &str,
    deployment: &str,
    patience: Duration,
) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match deployments.patch(deployment, &PatchParams::default(), &none).await {
        // The Deployment is gone already; the Lease below still decides whether a replica runs.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        scaled => {
            scaled.with_context(|| format!("failed to scale Deployment {namespace}/{deployment} to 0"))?;
        }
    }
    let end = Instant::now() + patience;
    while let Some(holder) = lease_holder(client, namespace).await? {
        // Do not sleep past the deadline.
        if Instant::now() + POLL_INTERVAL > end {
            bail!("{holder} still holds the Lease {namespace}/{}", lease::NAME);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Returns the holder if the Lease has not expired at `now`.
fn current_holder(spec: &LeaseSpec, now: Timestamp) -> Option<String> {
    let term = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(DEFAULT_LEASE_SECONDS).into());
    let renewed = spec.renew_time.as_ref()?.0;
    // A replica that releases the Lease empties the holder.
    let holder = spec.holder_identity.as_ref().filter(|holder| !holder.is_empty())?;
    (now.duration_since(renewed) < term).then(|| holder.clone())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn lease_spec(holder: &str, renewed: &str, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(renewed.parse().expect("a time"))),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_held_until_it_expires() {
        let now = "2026-01-01T00:00:20Z".parse().expect("a time");
        let held = |spec: &LeaseSpec| current_holder(spec, now);
        assert_eq!(held(&lease_spec("pod", "2026-01-01T00:00:06Z", None)).as_deref(), Some("pod"));
        assert_eq!(held(&lease_spec("pod", "2026-01-01T00:00:05Z", None)), None, "15 s ago");
        assert_eq!(held(&lease_spec("pod", "2026-01-01T00:00:05Z", Some(30))).as_deref(), Some("pod"));
        assert_eq!(held(&lease_spec("", "2026-01-01T00:00:19Z", None)), None, "released");
        assert_eq!(held(&LeaseSpec::default()), None);
    }
}
