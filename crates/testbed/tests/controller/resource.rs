//! Waits for the status of users' resources.

use anyhow::{Context, Result};
use emcee_testbed::{Mesh, mesh};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// A resource of a user, by kind and name.
pub(crate) struct Resource<'a> {
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Resource<'_> {
    /// Waits until a condition has this reason; returns the condition.
    pub(crate) fn wait(&self, mesh: &Mesh, type_: &str, reason: &str) -> Result<Value> {
        let gvk = GroupVersionKind::gvk("mm.ibm.istio.io", "v1", self.kind);
        let resource = ApiResource::from_gvk(&gvk);
        let api = Api::<DynamicObject>::namespaced_with(mesh.client(), self.namespace, &resource);
        let (name, type_, reason) = (self.name.to_owned(), type_.to_owned(), reason.to_owned());
        let what = format!("{} {}/{name}: {type_} is not {reason}", self.kind, self.namespace);
        mesh.run(async move {
            let is = |object: Option<&DynamicObject>| {
                object.and_then(|object| condition(object, &type_)).is_some_and(|c| c["reason"] == reason)
            };
            let waited = mesh::wait_until(api.clone(), &name, is).await;
            let now = api.get_opt(&name).await?;
            let now = now.map(|object| object.data["status"].clone()).unwrap_or_default();
            let found = waited.with_context(|| format!("{what}: {now}"))?;
            found.and_then(|object| condition(&object, &type_)).with_context(|| format!("{what}: {now}"))
        })
    }
}

fn condition(object: &DynamicObject, type_: &str) -> Option<Value> {
    let current = object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation;
    let conditions = object.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| current && condition["type"] == type_).cloned()
}

/// Waits until an object is as wanted. `what` describes the failure.
pub(crate) fn until(
    mesh: &Mesh,
    (api_version, kind): (&str, &str),
    (namespace, name): (&str, &str),
    what: &'static str,
    is: impl Fn(Option<&Value>) -> bool + Send + Sync + 'static,
) -> Result<()> {
    let version: kube::core::GroupVersion = api_version.parse()?;
    let resource = ApiResource::from_gvk(&version.with_kind(kind));
    let api = Api::<DynamicObject>::namespaced_with(mesh.client(), namespace, &resource);
    let awaited = name.to_owned();
    mesh.run(async move {
        let is = |object: Option<&DynamicObject>| {
            let value = object.map(|object| serde_json::to_value(object).unwrap_or_default());
            is(value.as_ref())
        };
        mesh::wait_until(api, &awaited, is).await.map(drop)
    })
    .with_context(|| format!("{kind} {namespace}/{name} of {}: {what}", mesh.name()))
}
