//! ServiceBindings of earlier imports.

use emcee_api::ServiceBinding;
use emcee_api::labels::EXPORTED_AT;
use emcee_core::key::ObjectKey;
use emcee_discovery::formats::bundle::Bundle;
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::Value;

use super::IMPORTED_FROM;
use crate::cluster::read;

/// ServiceBinding that an earlier import wrote.
pub(super) struct PreviousImport {
    key: ObjectKey,
    /// `None` if the annotation is missing or invalid.
    exported_at: Option<Timestamp>,
}

/// Lists the ServiceBindings that were imported from `source`, which is `RELATIONSHIP/PEER`.
///
/// # Errors
/// ServiceBindings cannot be read.
pub(super) async fn list_previous(client: &Client, source: &str) -> anyhow::Result<Vec<PreviousImport>> {
    let objects = read::list_resources::<ServiceBinding>(client, None).await?;
    let annotation = |object: &DynamicObject, name: &str| {
        object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(name)).cloned()
    };
    let ours = objects.iter().filter(|object| annotation(object, IMPORTED_FROM).as_deref() == Some(source));
    let earlier = |object: &DynamicObject| PreviousImport {
        key: ObjectKey::new(
            object.metadata.namespace.as_deref().unwrap_or_default(),
            object.metadata.name.as_deref().unwrap_or_default(),
        ),
        exported_at: annotation(object, EXPORTED_AT).and_then(|time| time.parse().ok()),
    };
    Ok(ours.map(earlier).collect())
}

/// Returns why a bundle must not be imported: an earlier import used a newer one.
pub(super) fn newer_import(earlier: &[PreviousImport], bundle: &Bundle) -> Option<String> {
    // `None` sorts before any time, so a binding without a valid annotation never prevents an import.
    let newest = earlier.iter().max_by_key(|earlier| earlier.exported_at)?;
    let newest_at = newest.exported_at.filter(|at| *at > bundle.exported_at)?;
    Some(format!(
        "the file was exported at {}, but a file exported at {newest_at} has been imported already (ServiceBinding {}; \
         export again, or delete the existing bindings)",
        bundle.exported_at, newest.key
    ))
}

/// Returns a warning for each earlier binding that is not in this bundle. Such bindings are kept: a missing service in
/// a file is not a withdrawal.
pub(super) fn leftover_bindings(earlier: &[PreviousImport], bindings: &[Value]) -> Vec<String> {
    let is_wanted = |key: &ObjectKey| {
        bindings.iter().any(|binding| {
            let metadata = &binding["metadata"];
            metadata["namespace"] == *key.namespace && metadata["name"] == *key.name
        })
    };
    let left = earlier.iter().map(|earlier| &earlier.key).filter(|key| !is_wanted(key));
    left.map(|ObjectKey { namespace, name }| {
        format!(
            "warning: ServiceBinding {namespace}/{name} is from an earlier file and not in this one: it is kept (to remove it: \
             kubectl -n {namespace} delete servicebinding {name})"
        )
    })
    .collect()
}
