//! Reads resources of a cluster once, without watches.

use std::fmt::Debug;

use anyhow::Context as _;
use emcee_api::{GROUP, VERSION};
use emcee_core::key::ObjectKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, GroupVersionKind, ListParams};
use kube::core::{ApiResource, Resource};
use kube::{Api, Client};

/// Largest number of objects in one page of a list.
const PAGE_SIZE: u32 = 500;

/// Lists the objects of one of Emcee's own kinds, in one namespace or in all.
///
/// The objects are not parsed into typed resources, so objects that an older version accepted are included too.
///
/// # Errors
/// The API server does not answer, does not know the kind, or forbids the request.
pub(crate) async fn list_resources<K>(
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
    list_all_pages(&api).await.map_err(|error| match error {
        // Without the definition of the kind, the answer is plain text or a status that names nothing.
        kube::Error::Api(status) if status.code == 404 && !is_web_page(&status.message) => {
            anyhow::Error::new(UnknownKindError(resource.kind.clone()))
        }
        kube::Error::Api(status) if status.code == 403 => {
            // A type of its own, for `list_if_allowed` to recognise.
            anyhow::Error::new(ForbiddenError(status.message.clone()))
                .context(format!("failed to read {} in {place}", resource.plural))
        }
        error => anyhow::Error::new(error).context(format!("failed to read {} in {place}", resource.plural)),
    })
}

/// Lists the objects of one of Emcee's own kinds in all namespaces. `None` if the user is not allowed to read them.
///
/// # Errors
/// As [`list_resources`], except for missing permissions.
pub(crate) async fn list_if_allowed<K>(client: &Client) -> anyhow::Result<Option<Vec<DynamicObject>>>
where
    K: Resource<DynamicType = ()> + Debug,
{
    match list_resources::<K>(client, None).await {
        Ok(objects) => Ok(Some(objects)),
        Err(error) if error.downcast_ref::<ForbiddenError>().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an answer is a page for people, so that a proxy and not an API server has answered.
fn is_web_page(message: &str) -> bool {
    message.trim_start().starts_with('<')
}

/// Kind of Emcee's that the API server does not know.
#[derive(Debug, thiserror::Error)]
#[error("the cluster does not know the kind {0} (emcee crds | kubectl apply --server-side -f -)")]
pub(crate) struct UnknownKindError(String);

/// Request that the API server forbids, with the server's message.
#[derive(Debug, thiserror::Error)]
#[error("{0} (403)")]
pub(crate) struct ForbiddenError(String);

/// Lists all objects, page by page.
async fn list_all_pages(api: &Api<DynamicObject>) -> kube::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE_SIZE);
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        // The last page has an empty token or none.
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// Reads the metadata of one of Emcee's own resources. `None` if it does not exist.
///
/// # Errors
/// The API server does not answer, or forbids the request.
pub(crate) async fn get_metadata(
    client: &Client,
    kind: &str,
    key: &ObjectKey,
) -> anyhow::Result<Option<ObjectMeta>> {
    let gvk = GroupVersionKind::gvk(GROUP, VERSION, kind);
    let resource = ApiResource::from_gvk(&gvk);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &key.namespace, &resource);
    let existing = api.get_metadata_opt(&key.name).await;
    Ok(existing.with_context(|| format!("failed to read {kind} {key}"))?.map(|existing| existing.metadata))
}

/// Runs the asynchronous part of a command on a runtime of its own.
///
/// # Errors
/// `talk` fails, or the runtime cannot be started.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(future)
}
