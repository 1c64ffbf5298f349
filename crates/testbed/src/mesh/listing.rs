//! Lists the objects of a cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::discovery::{ApiGroup, Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt as _};

use tokio::time::{Instant, sleep};

use super::Mesh;
use super::objects::PATIENCE;

/// An object, with its kind.
#[derive(Debug, Clone)]
pub struct ListedObject {
    /// The kind, in its most stable version.
    pub resource: ApiResource,
    /// Whether the kind is namespaced.
    pub is_namespaced: bool,
    /// The object itself, with all fields.
    pub object: DynamicObject,
}

impl Mesh {
    /// Lists every object of all kinds that can be listed and for which `is_included` returns true. Waits while the API
    /// server adds a kind: its list of kinds is incomplete then.
    pub fn list_all(
        &self,
        params: ListParams,
        is_included: impl Fn(&ApiResource) -> bool + Send + 'static,
    ) -> Result<Vec<ListedObject>> {
        let client = self.client();
        self.run(async move {
            let mut all = Vec::new();
            let discovery = discover_all_kinds(&client).await?;
            for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::resources_by_stability) {
                if !capabilities.supports_operation(verbs::LIST) || !is_included(&resource) {
                    continue;
                }
                let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
                let is_namespaced = capabilities.scope == Scope::Namespaced;
                let objects =
                    api.list(&params).await.with_context(|| format!("cannot list {}", resource.plural))?;
                all.extend(objects.into_iter().map(|object| ListedObject {
                    resource: resource.clone(),
                    is_namespaced,
                    object,
                }));
            }
            Ok(all)
        })
    }
}

/// Polls, because the discovery API has no watch.
async fn discover_all_kinds(client: &Client) -> Result<Discovery> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let discovery = Discovery::new(client.clone()).run().await.context("cannot list the kinds")?;
        let definitions =
            Api::<CustomResourceDefinition>::all(client.clone()).list(&ListParams::default()).await?;
        let Some(missing) =
            definitions.items.iter().find(|definition| !is_discovered(definition, &discovery))
        else {
            return Ok(discovery);
        };
        ensure!(Instant::now() < deadline, "the API server does not list the kind {}", missing.name_any());
        sleep(Duration::from_millis(200)).await;
    }
}

fn is_discovered(definition: &CustomResourceDefinition, discovery: &Discovery) -> bool {
    let group = discovery.get(&definition.spec.group);
    let kinds = group.map(ApiGroup::resources_by_stability).unwrap_or_default();
    kinds.iter().any(|(resource, _)| resource.plural == definition.spec.names.plural)
}
