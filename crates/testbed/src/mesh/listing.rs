//! Lists the objects of a cluster.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::discovery::{ApiGroup, Discovery, Scope, verbs};

use super::Mesh;

/// An object, with its kind.
#[derive(Debug, Clone)]
pub struct ListedObject {
    /// The kind, in the version that the API server recommends.
    pub resource: ApiResource,
    /// Whether the kind is namespaced.
    pub is_namespaced: bool,
    /// The object itself, with all fields.
    pub object: DynamicObject,
}

impl Mesh {
    /// Lists every object of all kinds that can be listed and for which `wanted` returns true.
    pub fn list_all(
        &self,
        params: ListParams,
        is_included: impl Fn(&ApiResource) -> bool + Send + 'static,
    ) -> Result<Vec<ListedObject>> {
        let client = self.client();
        self.run(async move {
            let mut all = Vec::new();
            let discovery = Discovery::new(client.clone()).run().await.context("cannot list the kinds")?;
            for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::recommended_resources) {
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
