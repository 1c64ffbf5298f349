//! Keeps the certificate in its Secret, what is served equal to it, and its CA in the webhook configuration.
//!
//! All replicas do so; a conflict is settled by looking again. CAs are only added to the configuration until they
//! expire: what another replica has just put there for a certificate to come is left there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
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

use super::certificate::{self, Decision, Issued, bundle, decide};
use super::tls::{self, Served};
use super::{WebhookOptions, trust};

/// How often certificates are looked at when nothing happens.
const LOOK: Duration = Duration::from_hours(1);
/// How long a look may take.
const REQUESTS: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_mins(1);
/// A conflict settles at the next look, unless somebody else writes again and again.
const LOOKS: usize = 4;

pub(super) struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<DynamicObject>,
    options: WebhookOptions,
    served: Arc<Served>,
    /// What was said last: the same is not said again.
    said: Option<String>,
}

impl Keeper {
    pub(super) fn new(client: Client, options: WebhookOptions, served: Arc<Served>) -> Self {
        let resource = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
        Self {
            secrets: Api::namespaced(client.clone(), &options.namespace),
            configurations: Api::all_with(client, &resource),
            options,
            served,
            said: None,
        }
    }

    pub(super) async fn keep(mut self) -> Infallible {
        let secrets = changes(self.secrets.clone(), &self.options.secret);
        let configurations = changes(self.configurations.clone(), &self.options.configuration);
        let mut changes = stream::select(secrets, configurations).boxed();
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match timeout(REQUESTS, self.look()).await.context("the API server does not answer") {
                Ok(Ok(words)) => {
                    self.say(words);
                    retry = FIRST_RETRY;
                    LOOK
                }
                Ok(Err(error)) | Err(error) => {
                    self.say(Some(format!("{error:#}")));
                    retry = (retry * 2).min(LAST_RETRY);
                    retry
                }
            };
            wait(&mut changes, pause).await;
        }
    }

    fn say(&mut self, words: Option<String>) {
        if words != self.said {
            if let Some(words) = &words {
                warn!("the webhook: {words}");
            }
            self.said = words;
        }
    }

    /// What is amiss, but mended by nobody here.
    async fn look(&self) -> anyhow::Result<Option<String>> {
        for _ in 0..LOOKS {
            let (name, now) = (self.options.dns_name(), OffsetDateTime::now_utc());
            let held = self.secrets.get_opt(&self.options.secret).await.context("Secret")?;
            let decision = decide(held.as_ref(), &name, now);
            if let Some(held) = &held {
                self.serve(held, decision);
            }
            match held {
                Some(held) if decision == Decision::Keep => return self.publish(ca_of(&held), now).await,
                held => self.renew(held, now).await?,
            }
        }
        bail!("Secret {}: somebody else writes it again and again", self.options.secret)
    }

    /// One that is to be renewed is better than none.
    fn serve(&self, held: &Secret, decision: Decision) {
        if (decision == Decision::Keep || self.served.is_empty())
            && let Ok(key) = tls::certified(held)
        {
            self.served.set(key);
        }
    }

    /// The CA is trusted before anything is served that it has signed.
    async fn renew(&self, held: Option<Secret>, now: OffsetDateTime) -> anyhow::Result<()> {
        let issued = certificate::issue(&self.options.dns_name(), now)?;
        self.publish(&issued.ca, now).await?;
        let name = self.options.secret.as_str();
        let params = PostParams::default();
        let written = match held {
            Some(held) => self.secrets.replace(name, &params, &renewed(held, &issued)).await,
            None => self.secrets.create(&params, &created(name, &issued)).await,
        };
        match written {
            Ok(_) => info!("the webhook has a new certificate, in the Secret {name}"),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("Secret {name} (delete it if it is not Emcee's)"));
            }
        }
        Ok(())
    }

    async fn publish(&self, ca: &str, now: OffsetDateTime) -> anyhow::Result<Option<String>> {
        let name = self.options.configuration.as_str();
        let context = || format!("ValidatingWebhookConfiguration {name}");
        let Some(found) = self.configurations.get_opt(name).await.with_context(context)? else {
            return Ok(Some(format!("{} is missing: nothing is checked until it is applied", context())));
        };
        let webhooks = found.data.get("webhooks").cloned().unwrap_or_default();
        let wanted = trust::with_ca(&webhooks, &self.options, |old| bundle(old, ca, now));
        if wanted != webhooks {
            let metadata = json!({"resourceVersion": found.metadata.resource_version});
            let patch = Patch::Merge(json!({"metadata": metadata, "webhooks": wanted}));
            let params = PatchParams::default();
            self.configurations.patch(name, &params, &patch).await.with_context(context)?;
            info!("{} trusts the webhook's CA", context());
        }
        Ok(None)
    }
}

fn ca_of(secret: &Secret) -> &str {
    let ca = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
    ca.and_then(|ca| std::str::from_utf8(&ca.0).ok()).unwrap_or_default()
}

fn created(name: &str, issued: &Issued) -> Secret {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let kind = Some("kubernetes.io/tls".to_owned());
    renewed(Secret { metadata, type_: kind, ..Secret::default() }, issued)
}

/// Its type stays: it cannot be changed.
fn renewed(held: Secret, issued: &Issued) -> Secret {
    let fields = [("tls.crt", &issued.certificate), ("tls.key", &issued.key), ("ca.crt", &issued.ca)];
    let data = fields.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())));
    Secret { data: Some(data.into()), ..held }
}

/// An item each time that the object may have changed.
fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff();
    events.filter_map(async |event| {
        use watcher::Event::{Apply, Delete, InitDone};
        matches!(event, Ok(Apply(_) | Delete(_) | InitDone)).then_some(())
    })
}

async fn wait(changes: &mut (impl Stream<Item = ()> + Unpin), pause: Duration) {
    tokio::select! {
        Some(()) = changes.next() => {}
        () = sleep(pause) => {}
    }
}
