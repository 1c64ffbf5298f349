//! Objects of any kind, by server-side apply.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::Mesh;

const MANAGER: &str = "emcee-testbed";
/// A new definition serves its kind a moment later, and a webhook may still be starting.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// Parses a stream of YAML documents.
pub fn parse_documents(text: &str) -> Result<Vec<Value>> {
    // Istio's definitions alone are larger than the limits that protect against hostile YAML.
    let options = serde_saphyr::options! { budget: None };
    let all: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).context("not YAML")?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

type KindCache = HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>;

/// The objects of one cluster.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    kinds: Arc<Mutex<KindCache>>,
}

impl Objects {
    /// Objects, accessed with an administrator's client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, kinds: Arc::default() }
    }

    /// Applies objects in their order.
    pub async fn apply(&self, objects: Vec<Value>) -> Result<()> {
        for object in objects {
            let what = describe_object(&object);
            self.apply_one(object).await.with_context(|| format!("cannot apply {what}"))?;
        }
        Ok(())
    }

    async fn apply_one(&self, object: Value) -> Result<()> {
        let (api, name) = self.api_for(&object).await?;
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        retry_while_unavailable(|| api.patch(&name, &params, &patch)).await?;
        Ok(())
    }

    /// Applies an object as a dry run: only the API server and its webhooks check it.
    pub async fn dry_run_apply(&self, object: &Value) -> Result<()> {
        let (api, name) = self.api_for(object).await?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        api.patch(&name, &params, &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Deletes objects in reverse order; an object that is already gone is not an error.
    pub async fn delete(&self, objects: Vec<Value>) -> Result<()> {
        for object in objects.iter().rev() {
            let (api, name) = self.api_for(object).await?;
            let parameters = DeleteParams::default();
            match retry_while_unavailable(|| api.delete(&name, &parameters)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => drop(other.with_context(|| format!("cannot delete {}", describe_object(object)))?),
            }
        }
        Ok(())
    }

    /// Reads an object, by a reference with `apiVersion`, `kind` and `metadata`.
    pub async fn get(&self, reference: &Value) -> Result<Option<Value>> {
        let (api, name) = self.api_for(reference).await?;
        let found = retry_while_unavailable(|| api.get_opt(&name)).await?;
        Ok(found.map(|found| serde_json::to_value(found).unwrap_or_default()))
    }

    async fn api_for(&self, object: &Value) -> Result<(Api<DynamicObject>, String)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&object["metadata"]["name"]).context("an object without a name")?;
        let (resource, capabilities) = self.resolve_kind(object).await?;
        let namespace = text(&object["metadata"]["namespace"]).unwrap_or_else(|| "default".to_owned());
        let api = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &namespace, &resource),
        };
        Ok((api, name))
    }

    async fn resolve_kind(&self, object: &Value) -> Result<(ApiResource, ApiCapabilities)> {
        let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
        let version = version.context("an object without apiVersion")?.parse::<kube::core::GroupVersion>()?;
        let gvk = version.with_kind(kind.context("an object without kind")?);
        let mut kinds = self.kinds.lock().await;
        if let Some(known) = kinds.get(&gvk) {
            return Ok(known.clone());
        }
        let found = self.discover_kind(&gvk).await?;
        kinds.insert(gvk, found.clone());
        Ok(found)
    }

    async fn discover_kind(&self, gvk: &GroupVersionKind) -> Result<(ApiResource, ApiCapabilities)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match pinned_kind(&self.client, gvk).await {
                Ok(found) => return Ok(found),
                Err(error) if Instant::now() > deadline => {
                    bail!("the cluster has no {}: {error}", gvk.kind)
                }
                // The discovery API has no watch, so it has to be polled.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Retries while the API server, or a webhook behind it, is too busy to answer.
pub(crate) async fn retry_while_unavailable<T, F: Future<Output = kube::Result<T>>>(
    attempt: impl Fn() -> F,
) -> kube::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if is_transient(&error) && Instant::now() < deadline => {
                sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

fn describe_object(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

impl Mesh {
    /// Applies the objects of a YAML text in their order.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let (objects, all) = (self.objects(), parse_documents(yaml)?);
        self.run(async move { objects.apply(all).await })
    }

    /// Applies an object as a dry run: only the API server and its webhooks check it.
    pub fn dry_run_apply(&self, object: &Value) -> Result<()> {
        let (objects, object) = (self.objects(), object.clone());
        self.run(async move { objects.dry_run_apply(&object).await })
    }

    /// Waits until the API server refuses an object, with all of these words. Nothing tells when the API server starts to
    /// call a new webhook.
    pub fn wait_until_refused(&self, object: &Value, words: &[&str]) -> Result<()> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            match self.dry_run_apply(object) {
                Err(error) if words.iter().all(|word| format!("{error:#}").contains(word)) => return Ok(()),
                tried if std::time::Instant::now() > deadline => {
                    bail!("the object is not refused: {tried:?}")
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Deletes the objects of a YAML text.
    pub fn delete(&self, yaml: &str) -> Result<()> {
        let (objects, all) = (self.objects(), parse_documents(yaml)?);
        self.run(async move { objects.delete(all).await })
    }

    /// Reads an object, for instance `mesh.get("v1", "Service", "default", "helloworld")`.
    pub fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let metadata = serde_json::json!({"namespace": namespace, "name": name});
        let reference = serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        let objects = self.objects();
        self.run(async move { objects.get(&reference).await })
    }
}
