//! Writes a bundle as EndpointSlices.

use std::collections::BTreeMap;

use emcee_core::catalogue::Announcement;
use prost::Message;
use serde_json::{Map, Value, json};

use super::{API_VERSION, EXPORTED_AT, KIND, MESH, Parcel, RELATIONSHIP, SERVICE_NAME, WriteError};
use crate::slice::{discovery_announcement_key, encode};
use crate::wire;

/// Converts a bundle to EndpointSlices, in the order of its announcements.
///
/// # Errors Returns an error for each announcement that every mesh would reject.
pub fn write(bundle: &Parcel) -> Result<Vec<Value>, Vec<WriteError>> {
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    // The announcement of this Emcee's own discovery server is of no use in a relationship without a stream.
    for announcement in
        bundle.offers.iter().filter(|announcement| announcement.key != discovery_announcement_key())
    {
        match slices(announcement) {
            Ok(slices) => objects.extend(slices.iter().map(|slice| object(bundle, announcement, slice))),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

fn slices(announcement: &Announcement) -> Result<Vec<wire::EndpointSlice>, WriteError> {
    // Encoding and decoding again keeps one definition of the content: the one on the wire.
    let encoded =
        encode(announcement).map_err(|reason| WriteError { key: announcement.key.clone(), reason })?;
    let slice = |bytes| {
        let resource = wire::Resource::decode(bytes).ok()?;
        wire::EndpointSlice::decode(resource.resource?.value).ok()
    };
    let slices = encoded.into_iter().map(|resource| slice(resource.bytes));
    Ok(slices.map(|slice| slice.expect("what was encoded just now can be decoded")).collect())
}

fn object(bundle: &Parcel, announcement: &Announcement, slice: &wire::EndpointSlice) -> Value {
    let metadata = slice.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations;
    annotations.extend(about(bundle));
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "labels": { SERVICE_NAME: &*announcement.key.name },
            "annotations": annotations,
        },
        "addressType": slice.address_type,
        "endpoints": slice.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": slice.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn about(bundle: &Parcel) -> BTreeMap<String, String> {
    let mesh = bundle.mesh.iter().map(|mesh| (MESH.to_owned(), mesh.clone()));
    let always = [
        (RELATIONSHIP.to_owned(), bundle.relationship.clone()),
        (EXPORTED_AT.to_owned(), bundle.exported_at.to_string()),
    ];
    mesh.chain(always).collect()
}

fn endpoint(endpoint: &wire::Endpoint) -> Value {
    let ready = endpoint.conditions.and_then(|conditions| conditions.ready);
    json!({"addresses": endpoint.addresses, "conditions": {"ready": ready}})
}

fn port(port: &wire::EndpointPort) -> Value {
    let fields = [
        ("name", port.name.clone().map(Value::from)),
        ("appProtocol", port.app_protocol.clone().map(Value::from)),
        ("protocol", port.protocol.clone().map(Value::from)),
        ("port", port.port.map(Value::from)),
    ];
    let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect::<Map<_, _>>())
}
