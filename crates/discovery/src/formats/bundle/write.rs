//! Writes a bundle as EndpointSlices.

use std::collections::BTreeMap;

use emcee_core::catalogue::Announcement;
use prost::Message;
use serde_json::{Map, Value, json};

use super::{
    API_VERSION, Bundle, BundleWriteError, EXPORTED_AT_ANNOTATION, KIND, MESH_ANNOTATION,
    RELATIONSHIP_ANNOTATION, SERVICE_NAME_LABEL,
};
use crate::formats::endpoint_slice::{discovery_announcement_key, encode_announcement};
use crate::wire;

/// Converts a bundle to EndpointSlices, in the order of its announcements.
///
/// ```
/// use emcee_discovery::formats::bundle::{Bundle, read, write};
/// # use emcee_core::catalogue::Announcement;
/// # use emcee_core::key::ObjectKey;
/// # use emcee_core::mode::Mode;
/// # use emcee_core::protocol::Protocol;
/// let announcement = Announcement {
///     key: ObjectKey::new("shop", "reviews"),
///     mode: Mode::Boundary,
///     server_name: "reviews.shop.blue.emcee.internal".to_owned(),
///     protocol: Protocol::Http,
///     port: 9080,
///     endpoints: vec!["203.0.113.7:15443".parse().expect("an endpoint")],
///     identities: Vec::new(),
///     trust_domain: "m2.example".to_owned(),
///     root_hash: None,
/// };
/// let bundle = Bundle {
///     relationship: "blue".to_owned(),
///     mesh: Some("m2".to_owned()),
///     exported_at: "2026-11-25T08:00:00Z".parse().expect("a time"),
///     announcements: vec![announcement],
/// };
/// let slices = write(&bundle).expect("every mesh accepts it");
/// assert_eq!(slices[0]["kind"], "EndpointSlice");
/// assert_eq!(read(&slices), Ok(bundle));
/// ```
///
/// # Errors Returns an error for each announcement that every mesh would reject.
pub fn write(bundle: &Bundle) -> Result<Vec<Value>, Vec<BundleWriteError>> {
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    // The announcement of this Emcee's own discovery server is of no use in a relationship without a stream.
    for announcement in
        bundle.announcements.iter().filter(|announcement| announcement.key != discovery_announcement_key())
    {
        match encode_slices(announcement) {
            Ok(slices) => {
                objects.extend(slices.iter().map(|slice| slice_object(bundle, announcement, slice)));
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

fn encode_slices(announcement: &Announcement) -> Result<Vec<wire::EndpointSlice>, BundleWriteError> {
    // Encoding and decoding again keeps one definition of the content: the one on the wire.
    let encoded = encode_announcement(announcement)
        .map_err(|reason| BundleWriteError { key: announcement.key.clone(), reason })?;
    let slice = |bytes| {
        let resource = wire::XdsResource::decode(bytes).ok()?;
        wire::EndpointSlice::decode(resource.resource?.value).ok()
    };
    let slices = encoded.into_iter().map(|resource| slice(resource.bytes));
    Ok(slices.map(|slice| slice.expect("what was encoded just now can be decoded")).collect())
}

fn slice_object(bundle: &Bundle, announcement: &Announcement, slice: &wire::EndpointSlice) -> Value {
    let metadata = slice.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations;
    annotations.extend(metadata_annotations(bundle));
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "labels": { SERVICE_NAME_LABEL: &*announcement.key.name },
            "annotations": annotations,
        },
        "addressType": slice.address_type,
        "endpoints": slice.endpoints.iter().map(endpoint_json).collect::<Vec<_>>(),
        "ports": slice.ports.iter().map(port_json).collect::<Vec<_>>(),
    })
}

fn metadata_annotations(bundle: &Bundle) -> BTreeMap<String, String> {
    let mesh = bundle.mesh.iter().map(|mesh| (MESH_ANNOTATION.to_owned(), mesh.clone()));
    let always = [
        (RELATIONSHIP_ANNOTATION.to_owned(), bundle.relationship.clone()),
        (EXPORTED_AT_ANNOTATION.to_owned(), bundle.exported_at.to_string()),
    ];
    mesh.chain(always).collect()
}

fn endpoint_json(endpoint: &wire::SliceEndpoint) -> Value {
    let ready = endpoint.conditions.and_then(|conditions| conditions.ready);
    json!({"addresses": endpoint.addresses, "conditions": {"ready": ready}})
}

fn port_json(port: &wire::EndpointPort) -> Value {
    let fields = [
        ("name", port.name.clone().map(Value::from)),
        ("appProtocol", port.app_protocol.clone().map(Value::from)),
        ("protocol", port.protocol.clone().map(Value::from)),
        ("port", port.port.map(Value::from)),
    ];
    let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect::<Map<_, _>>())
}
