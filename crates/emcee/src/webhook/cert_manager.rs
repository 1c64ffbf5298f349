//! Manages the webhook's certificate: renews it in its Secret, serves it, and adds its CA to the webhook configuration.
//!
//! All replicas do this at the same time. After a conflict, a replica reads the objects again. CAs remain in the
//! configuration until they expire: another replica may have added one for a certificate that it is about to write.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::{Stream, StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::certificate::{self, RenewalDecision, WebhookCertificate, decide_renewal, merge_ca_bundle};
use super::tls::{self, ServedCertificate};
use super::{WebhookOptions, ca_bundle};

/// Period of checks without any change.
const RESYNC_PERIOD: Duration = Duration::from_hours(1);
/// Timeout of one reconciliation.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay of the first retry. It doubles with each failure.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);
/// Maximum number of attempts in one reconciliation. A conflict is usually resolved at the second one.
const MAX_ATTEMPTS: usize = 4;

/// Keeps Secret, served certificate and webhook configuration in sync.
pub(super) struct CertManager {
    secrets: Api<Secret>,
    configurations: Api<DynamicObject>,
    options: WebhookOptions,
    served: Arc<ServedCertificate>,
    /// The problem that was logged last. It is not logged again while it lasts.
    last_problem: Option<String>,
}

impl CertManager {
    pub(super) fn new(client: Client, options: WebhookOptions, served: Arc<ServedCertificate>) -> Self {
        let resource = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
        Self {
            secrets: Api::namespaced(client.clone(), &options.namespace),
            configurations: Api::all_with(client, &resource),
            options,
            served,
            last_problem: None,
        }
    }

    /// Reconciles after each change of the objects, after each [`RESYNC_PERIOD`], and with backoff after an error.
    pub(super) async fn run(mut self) -> Infallible {
        // The watches only trigger: `reconcile` reads the objects itself, so their state is current.
        let secrets = watch_changes(self.secrets.clone(), &self.options.secret);
        let configurations = watch_changes(self.configurations.clone(), &self.options.configuration);
        let mut changes = stream::select(secrets, configurations).boxed();
        let delays = ExponentialBuilder::new()
            .with_min_delay(MIN_RETRY_DELAY)
            .with_max_delay(MAX_RETRY_DELAY)
            .without_max_times();
        let mut retries = delays.build();
        loop {
            let pause = match timeout(RECONCILE_TIMEOUT, self.reconcile())
                .await
                .context("the API server does not answer")
            {
                Ok(Ok(problem)) => {
                    self.log_problem(problem);
                    retries = delays.build();
                    RESYNC_PERIOD
                }
                // The inner error is from the API server or the certificate, the outer one is the timeout.
                Ok(Err(error)) | Err(error) => {
                    self.log_problem(Some(format!("{error:#}")));
                    retries.next().unwrap_or(MAX_RETRY_DELAY)
                }
            };
            wait_for_change(&mut changes, pause).await;
        }
    }

    fn log_problem(&mut self, problem: Option<String>) {
        if problem != self.last_problem {
            if let Some(problem) = &problem {
                warn!(error = %problem, "webhook certificate check failed");
            }
            self.last_problem = problem;
        }
    }

    /// Brings all objects into the desired state. Returns a problem that Emcee cannot fix itself.
    async fn reconcile(&self) -> anyhow::Result<Option<String>> {
        for _ in 0..MAX_ATTEMPTS {
            let (name, now) = (self.options.dns_name(), OffsetDateTime::now_utc());
            let held = self.secrets.get_opt(&self.options.secret).await.context("Secret")?;
            // Serve what is there before anything else: a renewal may fail or take long.
            let decision = decide_renewal(held.as_ref(), &name, now);
            if let Some(held) = &held {
                self.serve_certificate(held, decision);
            }
            match held {
                Some(held) if decision == RenewalDecision::Keep => {
                    return self.publish_ca(ca_certificate(&held), now).await;
                }
                // Next attempt: read back the new certificate, or the one of the replica that was faster.
                held => self.renew_certificate(held, now).await?,
            }
        }
        bail!("Secret {}: another client keeps overwriting it", self.options.secret)
    }

    /// Serves the certificate of the Secret. A certificate that is due for renewal is served only if there is no other.
    fn serve_certificate(&self, held: &Secret, decision: RenewalDecision) {
        if (decision == RenewalDecision::Keep || self.served.is_empty())
            && let Ok(key) = tls::parse_certified_key(held)
        {
            self.served.set(key);
        }
    }

    /// Issues a certificate and writes it into the Secret.
    async fn renew_certificate(&self, held: Option<Secret>, now: OffsetDateTime) -> anyhow::Result<()> {
        let issued = certificate::issue(&self.options.dns_name(), now)?;
        // First the CA: as soon as the Secret is written, other replicas serve the certificate, and the API server must
        // already trust it. If the write below loses a race, the CA remains in the bundle, which does no harm.
        self.publish_ca(&issued.ca, now).await?;
        let name = self.options.secret.as_str();
        let params = PostParams::default();
        // `replace` sends the resourceVersion that was read, so only one of several replicas succeeds.
        let written = match held {
            Some(held) => self.secrets.replace(name, &params, &with_certificate(held, &issued)).await,
            None => self.secrets.create(&params, &new_secret(name, &issued)).await,
        };
        match written {
            Ok(_) => info!(secret = name, "webhook certificate renewed"),
            // 409: another replica was faster. 404: the Secret was deleted meanwhile. The caller tries again.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("Secret {name} (delete it if it is not Emcee's)"));
            }
        }
        Ok(())
    }

    /// Adds a CA to the bundle of the webhook configuration. Returns a problem if there is no configuration.
    async fn publish_ca(&self, ca: &str, now: OffsetDateTime) -> anyhow::Result<Option<String>> {
        let name = self.options.configuration.as_str();
        let context = || format!("ValidatingWebhookConfiguration {name}");
        let Some(found) = self.configurations.get_opt(name).await.with_context(context)? else {
            return Ok(Some(format!(
                "{} is missing: resources are not validated until it is applied",
                context()
            )));
        };
        let webhooks = found.data.get("webhooks").cloned().unwrap_or_default();
        let desired =
            ca_bundle::with_ca_bundle(&webhooks, &self.options, |old| merge_ca_bundle(old, ca, now));
        if desired != webhooks {
            // A merge patch replaces the whole list of webhooks. With the resourceVersion, it fails if the object has
            // changed since it was read.
            let metadata = json!({"resourceVersion": found.metadata.resource_version});
            let patch = Patch::Merge(json!({"metadata": metadata, "webhooks": desired}));
            let params = PatchParams::default();
            self.configurations.patch(name, &params, &patch).await.with_context(context)?;
            info!(configuration = name, "webhook CA bundle updated");
        }
        Ok(None)
    }
}

fn ca_certificate(secret: &Secret) -> &str {
    let ca = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
    ca.and_then(|ca| std::str::from_utf8(&ca.0).ok()).unwrap_or_default()
}

fn new_secret(name: &str, issued: &WebhookCertificate) -> Secret {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let kind = Some("kubernetes.io/tls".to_owned());
    with_certificate(Secret { metadata, type_: kind, ..Secret::default() }, issued)
}

/// Returns the Secret with new data. Its type does not change, because it is immutable.
fn with_certificate(held: Secret, issued: &WebhookCertificate) -> Secret {
    let fields = [("tls.crt", &issued.certificate), ("tls.key", &issued.key), ("ca.crt", &issued.ca)];
    let data = fields.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())));
    Secret { data: Some(data.into()), ..held }
}

/// Returns a stream with an item each time that the object may have changed.
fn watch_changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff();
    // `InitDone` ends each list, also after a lost connection, when changes may have been missed.
    events.filter_map(async |event| {
        use watcher::Event::{Apply, Delete, InitDone};
        matches!(event, Ok(Apply(_) | Delete(_) | InitDone)).then_some(())
    })
}

/// Waits for a change, at most for `pause`. If the stream of changes ends, waits for the whole `pause`.
async fn wait_for_change(changes: &mut (impl Stream<Item = ()> + Unpin), pause: Duration) {
    tokio::select! {
        Some(()) = changes.next() => {}
        () = sleep(pause) => {}
    }
}
