//! Reading from a cluster, for commands that look once.

use std::fmt::Debug;

use anyhow::{Context as _, anyhow};
use emcee_api::{GROUP, VERSION};
use emcee_core::key::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, GroupVersionKind, ListParams};
use kube::core::{ApiResource, Resource};
use kube::{Api, Client};

/// How many objects an answer has at most.
const PAGE: u32 = 500;

/// All objects of one of Emcee's own kinds, in one namespace or all. Read loosely: an object that an older version
/// let in is one of them.
///
/// # Errors
/// The API server does not answer, does not know the kind, or does not allow it.
pub(crate) async fn resources<K>(
    client: &Client,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<DynamicObject>>
where
    K: Resource<DynamicType = ()> + Debug,
{
    let resource = ApiResource::erase::<K>(&());
    let api = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    all(&api).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => anyhow!(
            "the cluster does not know the kind {} (emcee crds | kubectl apply --server-side -f -)",
            resource.kind
        ),
        kube::Error::Api(status) if status.code == 403 => {
            anyhow::Error::new(Forbidden(status.message.clone()))
                .context(format!("failed to read {} in {place}", resource.plural))
        }
        kube::Error::Api(status) => anyhow!("{} ({})", status.message, status.code)
            .context(format!("failed to read {} in {place}", resource.plural)),
        error => anyhow::Error::new(error).context(format!("failed to read {} in {place}", resource.plural)),
    })
}

/// All objects of one of Emcee's own kinds, of all namespaces; none, if they may not be read.
///
/// # Errors
/// As [`resources`], but for that.
pub(crate) async fn readable<K>(client: &Client) -> anyhow::Result<Option<Vec<DynamicObject>>>
where
    K: Resource<DynamicType = ()> + Debug,
{
    match resources::<K>(client, None).await {
        Ok(objects) => Ok(Some(objects)),
        Err(error) if error.downcast_ref::<Forbidden>().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the API server does not allow, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{0} (403)")]
struct Forbidden(String);

async fn all(api: &Api<DynamicObject>) -> kube::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// The metadata of one of Emcee's own resources, if it is there.
///
/// # Errors
/// The API server does not answer, or does not allow it.
pub(crate) async fn metadata(client: &Client, kind: &str, key: &Key) -> anyhow::Result<Option<ObjectMeta>> {
    let gvk = GroupVersionKind::gvk(GROUP, VERSION, kind);
    let resource = ApiResource::from_gvk(&gvk);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &key.namespace, &resource);
    let there = api.get_metadata_opt(&key.name).await;
    Ok(there.with_context(|| format!("failed to read {kind} {key}"))?.map(|there| there.metadata))
}

/// Runs one command's conversation with a cluster.
///
/// # Errors
/// What `talk` says, or that no runtime could be started.
pub(crate) fn converse<T>(talk: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start")?.block_on(talk)
}
