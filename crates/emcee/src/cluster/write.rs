//! Writes resources for users, without overwriting what they have written themselves.

use anyhow::{Context as _, anyhow};
use emcee_api::{GROUP, VERSION};
use emcee_controller::ApiErrorKind;
use emcee_core::diff::diff_objects;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::api_error::ServerError;

/// Field manager of resources that commands write for a user.
const FIELD_MANAGER: &str = "emcee-cli";
/// Largest number of differences in an error message.
const MAX_DIFFERENCES_SHOWN: usize = 3;

/// Effect of a write on the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceChange {
    /// The resource did not exist.
    Created,
    /// The resource existed with the same spec.
    Unchanged,
    /// The resource existed with another spec.
    Changed,
}

/// Creates a resource. An existing resource is never changed.
///
/// # Errors
/// Outer: the API server does not answer or forbids the write, so that no other object can be written either. Inner: it
/// refuses this object, or a resource with the same name and another spec exists.
pub(crate) async fn create_resource(
    client: &Client,
    object: &Value,
) -> anyhow::Result<Result<ResourceChange, String>> {
    let (api, typed) = api_for_object(client, object)?;
    let name = object_name(object);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &typed).await {
        Ok(_) => Ok(Ok(ResourceChange::Created)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            compare_existing(&api, object).await
        }
        Err(error) => classify_error(error, &name),
    }
}

/// Creates a resource, or changes the fields that an earlier call of this function has set.
///
/// # Errors
/// As [`create_resource`]; inner also if another field manager owns a field that would change.
pub(crate) async fn apply_resource(
    client: &Client,
    object: &Value,
) -> anyhow::Result<Result<ResourceChange, String>> {
    let (api, typed) = api_for_object(client, object)?;
    let name = object_name(object);
    // Server-side apply does not report whether it changed anything, so compare with the object before.
    let before = api.get_opt(typed.metadata.name.as_deref().unwrap_or_default()).await;
    let before = before.with_context(|| format!("failed to read {name}"))?;
    match api
        .patch(
            typed.metadata.name.as_deref().unwrap_or_default(),
            // Without `force`: a field that another manager owns is a conflict.
            &PatchParams::apply(FIELD_MANAGER),
            &Patch::Apply(object),
        )
        .await
    {
        Ok(now) => Ok(Ok(match before {
            None => ResourceChange::Created,
            Some(before) if before.data["spec"] == now.data["spec"] => ResourceChange::Unchanged,
            Some(_) => ResourceChange::Changed,
        })),
        Err(kube::Error::Api(status)) if status.reason == "Conflict" => Ok(Err(format!(
            "{name} exists and was not imported: {} (to replace it: kubectl -n {} delete servicebinding {})",
            status.message,
            typed.metadata.namespace.as_deref().unwrap_or_default(),
            typed.metadata.name.as_deref().unwrap_or_default(),
        ))),
        Err(error) => classify_error(error, &name),
    }
}

/// Returns the API of an object's kind and namespace, and the object in typed form.
fn api_for_object(client: &Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, DynamicObject)> {
    let typed: DynamicObject = serde_json::from_value(object.clone()).context("not a Kubernetes object")?;
    let kind = object["kind"].as_str().unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
    let namespace = typed.metadata.namespace.as_deref().unwrap_or_default();
    Ok((Api::namespaced_with(client.clone(), namespace, &resource), typed))
}

/// Returns `Kind namespace/name` of an object, for messages.
pub(crate) fn object_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Compares the spec of an existing resource with the wanted one.
async fn compare_existing(
    api: &Api<DynamicObject>,
    object: &Value,
) -> anyhow::Result<Result<ResourceChange, String>> {
    let (name, key) = (object_name(object), object["metadata"]["name"].as_str().unwrap_or_default());
    let existing = api.get_opt(key).await.with_context(|| format!("failed to read {name}"))?;
    let existing = existing.ok_or_else(|| anyhow!("{name} existed and has just been deleted (try again)"))?;
    if existing.metadata.deletion_timestamp.is_some() {
        return Ok(Err(format!("{name} is being deleted (try again when it is gone)")));
    }
    let found = diff_objects(&json!({"spec": existing.data["spec"]}), &json!({"spec": object["spec"]}));
    if found.is_empty() {
        return Ok(Ok(ResourceChange::Unchanged));
    }
    let differences: Vec<_> = found.iter().take(MAX_DIFFERENCES_SHOWN).map(ToString::to_string).collect();
    let more = match found.len().saturating_sub(MAX_DIFFERENCES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(Err(format!(
        "{name} exists already with another spec: {}{more} (not overwritten: change it with kubectl edit, or set --name)",
        differences.join(", ")
    )))
}

/// Sorts an error of the API server: inner if it concerns this object only, outer if it concerns the whole command.
fn classify_error(error: kube::Error, name: &str) -> anyhow::Result<Result<ResourceChange, String>> {
    let kube::Error::Api(status) = error else {
        return Err(anyhow::Error::new(error).context(format!("failed to write {name}")));
    };
    let fix = match ApiErrorKind::of(&status) {
        ApiErrorKind::NamespaceTerminating => "",
        ApiErrorKind::Rejected if matches!(status.code, 400 | 403 | 422) => "",
        ApiErrorKind::NamespaceMissing => " (kubectl create namespace)",
        ApiErrorKind::UnknownKind | ApiErrorKind::NotFound => {
            " (emcee crds | kubectl apply --server-side -f -)"
        }
        // Missing permissions concern the whole command, and so does an API server that fails.
        ApiErrorKind::Conflict
        | ApiErrorKind::Forbidden
        | ApiErrorKind::Rejected
        | ApiErrorKind::Internal
        | ApiErrorKind::Transient => {
            return Err(
                anyhow::Error::new(ServerError::from(&*status)).context(format!("failed to write {name}"))
            );
        }
    };
    Ok(Err(format!("{name}: {}{fix}", status.message)))
}
