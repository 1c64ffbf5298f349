//! What was imported earlier.

use emcee_api::ServiceBinding;
use emcee_core::key::Key;
use emcee_discovery::parcel::Parcel;
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{EXPORTED_AT, IMPORTED_FROM};
use crate::cluster::read;

/// A ServiceBinding of an earlier parcel.
pub(super) struct Earlier {
    key: Key,
    exported_at: Option<Timestamp>,
}

/// The ServiceBindings of earlier parcels from there.
///
/// # Errors
/// They cannot be read.
pub(super) async fn of(client: &Client, source: &str) -> anyhow::Result<Vec<Earlier>> {
    let objects = read::resources::<ServiceBinding>(client, None).await?;
    let annotation = |object: &DynamicObject, name: &str| {
        object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(name)).cloned()
    };
    let ours = objects.iter().filter(|object| annotation(object, IMPORTED_FROM).as_deref() == Some(source));
    let earlier = |object: &DynamicObject| Earlier {
        key: Key::new(
            object.metadata.namespace.as_deref().unwrap_or_default(),
            object.metadata.name.as_deref().unwrap_or_default(),
        ),
        exported_at: annotation(object, EXPORTED_AT).and_then(|time| time.parse().ok()),
    };
    Ok(ours.map(earlier).collect())
}

/// Why the parcel is not imported: what is there is newer.
pub(super) fn newer(earlier: &[Earlier], parcel: &Parcel) -> Option<String> {
    let newest = earlier.iter().max_by_key(|earlier| earlier.exported_at)?;
    let newest_at = newest.exported_at.filter(|at| *at > parcel.exported_at)?;
    Some(format!(
        "the file was exported at {}, and what is imported already at {newest_at} (ServiceBinding {}; export it again, \
         or delete what is there)",
        parcel.exported_at, newest.key
    ))
}

/// What is not offered any more, as far as the parcel says. That a file leaves out something is no withdrawal.
pub(super) fn left(earlier: &[Earlier], bindings: &[Value]) -> Vec<String> {
    let is_wanted = |key: &Key| {
        bindings.iter().any(|binding| {
            let metadata = &binding["metadata"];
            metadata["namespace"] == *key.namespace && metadata["name"] == *key.name
        })
    };
    let left = earlier.iter().map(|earlier| &earlier.key).filter(|key| !is_wanted(key));
    left.map(|Key { namespace, name }| {
        format!(
            "warning: ServiceBinding {namespace}/{name} is of an earlier file, and not in this one: it stays (kubectl -n \
             {namespace} delete servicebinding {name})"
        )
    })
    .collect()
}
