//! Writing users' resources for them, without taking away what they have written themselves.

use anyhow::{Context as _, anyhow};
use emcee_api::{GROUP, VERSION};
use emcee_core::diff::differences;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, Status};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The field manager of what commands write in a user's name.
const FIELD_MANAGER: &str = "emcee-cli";
/// How many differences a message lists.
const SHOWN: usize = 3;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It was not there.
    Created,
    /// It was there, and said the same.
    Unchanged,
    /// It was there, and said something else.
    Changed,
}

/// Creates a resource. One that is there is left as it is.
///
/// # Errors
/// The API server does not answer, or does not allow it. Within: it refuses this object, or another one is there.
pub(crate) async fn create(client: &Client, object: &Value) -> anyhow::Result<Result<Written, String>> {
    let (api, typed) = target(client, object)?;
    let name = called(object);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &typed).await {
        Ok(_) => Ok(Ok(Written::Created)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => compare(&api, object).await,
        Err(error) => refused(error, &name),
    }
}

/// Creates a resource, or changes what an earlier call of this has written of it, and nothing else.
///
/// # Errors
/// As [`create`]; and where somebody else has set what would change.
pub(crate) async fn apply(client: &Client, object: &Value) -> anyhow::Result<Result<Written, String>> {
    let (api, typed) = target(client, object)?;
    let name = called(object);
    let before = api.get_opt(typed.metadata.name.as_deref().unwrap_or_default()).await;
    let before = before.with_context(|| format!("failed to read {name}"))?;
    match api
        .patch(
            typed.metadata.name.as_deref().unwrap_or_default(),
            &PatchParams::apply(FIELD_MANAGER),
            &Patch::Apply(object),
        )
        .await
    {
        Ok(now) => Ok(Ok(match before {
            None => Written::Created,
            Some(before) if before.data["spec"] == now.data["spec"] => Written::Unchanged,
            Some(_) => Written::Changed,
        })),
        Err(kube::Error::Api(status)) if status.reason == "Conflict" => Ok(Err(format!(
            "{name} is there and was not imported: {} (give it up: kubectl -n {} delete servicebinding {})",
            status.message,
            typed.metadata.namespace.as_deref().unwrap_or_default(),
            typed.metadata.name.as_deref().unwrap_or_default(),
        ))),
        Err(error) => refused(error, &name),
    }
}

fn target(client: &Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, DynamicObject)> {
    let typed: DynamicObject = serde_json::from_value(object.clone()).context("no object")?;
    let kind = object["kind"].as_str().unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
    let namespace = typed.metadata.namespace.as_deref().unwrap_or_default();
    Ok((Api::namespaced_with(client.clone(), namespace, &resource), typed))
}

/// `Kind namespace/name`.
pub(crate) fn called(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

async fn compare(api: &Api<DynamicObject>, object: &Value) -> anyhow::Result<Result<Written, String>> {
    let (name, key) = (called(object), object["metadata"]["name"].as_str().unwrap_or_default());
    let there = api.get_opt(key).await.with_context(|| format!("failed to read {name}"))?;
    let there = there.ok_or_else(|| anyhow!("{name} was there and has gone meanwhile (try again)"))?;
    if there.metadata.deletion_timestamp.is_some() {
        return Ok(Err(format!("{name} is there and is being deleted (try again when it is gone)")));
    }
    let found = differences(&json!({"spec": there.data["spec"]}), &json!({"spec": object["spec"]}));
    if found.is_empty() {
        return Ok(Ok(Written::Unchanged));
    }
    let shown: Vec<_> = found.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match found.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(Err(format!(
        "{name} is there already and says something else: {}{more} (nothing was changed: kubectl edit it, or give --name)",
        shown.join(", ")
    )))
}

/// What the API server refuses of an object is that object's matter, the rest is the command's.
fn refused(error: kube::Error, name: &str) -> anyhow::Result<Result<Written, String>> {
    let kube::Error::Api(status) = error else {
        return Err(anyhow::Error::new(error).context(format!("failed to write {name}")));
    };
    match status.code {
        400 | 422 => Ok(Err(format!("{name}: {}", status.message))),
        403 if status.message.contains("admission webhook") => Ok(Err(format!("{name}: {}", status.message))),
        404 => Ok(Err(format!("{name}: {} ({})", status.message, mend(&status)))),
        _ => Err(anyhow!("{} ({})", status.message, status.code).context(format!("failed to write {name}"))),
    }
}

fn mend(status: &Status) -> &'static str {
    if status.message.starts_with("namespaces") {
        "kubectl create namespace"
    } else {
        "emcee crds | kubectl apply --server-side -f -"
    }
}
