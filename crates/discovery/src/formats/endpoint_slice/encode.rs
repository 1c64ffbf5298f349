//! Encodes an announcement as resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    AddressType, MAX_ENDPOINTS, ROOT_HASH_ANNOTATION, SERVER_NAME_ANNOTATION, SERVICE_NAME_LABEL,
    SERVICE_PORT_ANNOTATION, STYLE_ANNOTATION, SUBJECT_ALT_NAMES_ANNOTATION, ServiceAttributes, ServiceSlice,
    SliceDecodeError, SliceName, TRUST_DOMAIN_ANNOTATION, decode_slice,
};
use crate::wire;

/// Bytes of SHA-256 in a version: 128 bits.
const VERSION_HASH_BYTES: usize = 16;

/// A resource that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedResource {
    /// Name of the resource, as [`SliceName`] displays it.
    pub name: Arc<str>,
    /// Hash of the content, in hexadecimal.
    pub version: Box<str>,
    /// The resource as an encoded [`wire::XdsResource`].
    pub bytes: Bytes,
}

/// Why an announcement cannot be encoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SliceEncodeError {
    /// An identity contains a comma, so it would be decoded as two.
    #[error("cannot be announced: the identity {0:?} contains a comma")]
    Comma(String),
    /// Peers would reject the resource.
    #[error("cannot be announced: {0}")]
    Unacceptable(#[from] SliceDecodeError),
}

/// Encodes an announcement as resources, in the order of their [`SliceName`]s. [`decode_slice`] accepts each of them.
///
/// ```
/// use emcee_discovery::formats::endpoint_slice::{decode_slice, encode_announcement};
/// use emcee_discovery::wire::XdsResource;
/// use prost::Message as _;
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
/// // One resource for each address type.
/// let resources = encode_announcement(&announcement)?;
/// assert_eq!(&*resources[0].name, "shop/reviews/IPv4");
///
/// let resource = XdsResource::decode(resources[0].bytes.clone()).expect("a resource");
/// let slice = decode_slice(&resource)?;
/// assert_eq!(slice.attributes.to_announcement(slice.name.key, slice.endpoints), announcement);
/// # Ok::<(), emcee_discovery::formats::endpoint_slice::SliceEncodeError>(())
/// ```
pub fn encode_announcement(announcement: &Announcement) -> Result<Vec<EncodedResource>, SliceEncodeError> {
    if let Some(identity) = announcement.identities.iter().find(|identity| identity.contains(',')) {
        return Err(SliceEncodeError::Comma(identity.clone()));
    }
    let annotations = build_annotations(announcement);
    let encoded = split_into_slices(announcement).into_iter().map(|slice| {
        let resource = build_resource(&slice, &annotations);
        // Runs the same checks as a peer, so that what peers reject is reported on this side, where the cause is.
        decode_slice(&resource)?;
        let bytes = into_shared_bytes(resource.encode_to_vec());
        Ok(EncodedResource { name: resource.name.into(), version: resource.version.into(), bytes })
    });
    encoded.collect()
}

/// Converts the buffer so that its reference count is allocated now. [`Bytes`] otherwise allocates it at the first
/// clone. The cache keeps one for each resource. If they were allocated when the first peer is sent everything, they
/// would lie between the buffers of that response and keep their pages in use.
fn into_shared_bytes(encoded: Vec<u8>) -> Bytes {
    let bytes = Bytes::from(encoded);
    // The first clone allocates the reference count.
    drop(bytes.clone());
    bytes
}

/// Splits an announcement into slices, whether or not they can be encoded.
pub(crate) fn split_into_slices(announcement: &Announcement) -> Vec<ServiceSlice> {
    let attributes = ServiceAttributes::from_announcement(announcement);
    let slice = |address_type, port, endpoints| {
        let name = SliceName { key: announcement.key.clone(), address_type, port };
        ServiceSlice { name, attributes: attributes.clone(), endpoints }
    };
    // The keys are sorted by type and then port, so the lowest port of each type comes first.
    let mut groups: BTreeMap<(AddressType, u16), Vec<Endpoint>> = BTreeMap::new();
    for endpoint in announcement.endpoints.iter().take(MAX_ENDPOINTS) {
        groups
            .entry((AddressType::from_host(&endpoint.host), endpoint.port))
            .or_default()
            .push(endpoint.clone());
    }
    if groups.is_empty() {
        return vec![slice(AddressType::Ipv4, None, Vec::new())];
    }
    let mut before = None;
    let slices = groups.into_iter().map(|((kind, port), endpoints)| {
        // Only further ports of the same type are in the name. So the usual name does not depend on the port.
        let is_lowest = before.replace(kind) != Some(kind);
        slice(kind, (!is_lowest).then_some(port), endpoints)
    });
    slices.collect()
}

fn build_resource(slice: &ServiceSlice, annotations: &BTreeMap<String, String>) -> wire::XdsResource {
    let value = build_slice(slice, annotations).encode_to_vec();
    wire::XdsResource {
        name: slice.name.to_string(),
        version: hash_content(&value),
        resource: Some(wire::Any { type_url: wire::ENDPOINT_SLICE.to_owned(), value: value.into() }),
    }
}

fn build_slice(slice: &ServiceSlice, annotations: &BTreeMap<String, String>) -> wire::EndpointSlice {
    let key = &slice.name.key;
    let metadata = wire::ObjectMeta {
        name: Some(slice.name.object_name()),
        namespace: Some(key.namespace.to_string()),
        labels: [(SERVICE_NAME_LABEL.to_owned(), key.name.to_string())].into(),
        annotations: annotations.clone(),
    };
    let protocol = slice.attributes.protocol.as_str();
    let port = wire::EndpointPort {
        name: Some(protocol.to_owned()),
        protocol: Some("TCP".to_owned()),
        port: slice.endpoints.first().map(|endpoint| endpoint.port.into()),
        app_protocol: Some(protocol.to_owned()),
    };
    let endpoint = |endpoint: &Endpoint| wire::SliceEndpoint {
        addresses: vec![endpoint.host.to_string()],
        conditions: Some(wire::EndpointConditions { ready: Some(true) }),
    };
    wire::EndpointSlice {
        metadata: Some(metadata),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
        ports: vec![port],
        address_type: Some(slice.name.address_type.as_str().to_owned()),
    }
}

fn build_annotations(announcement: &Announcement) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: String| annotations.insert(name.to_owned(), value);
    set(STYLE_ANNOTATION, announcement.mode.to_string());
    set(SERVER_NAME_ANNOTATION, announcement.server_name.clone());
    set(SERVICE_PORT_ANNOTATION, announcement.port.to_string());
    set(TRUST_DOMAIN_ANNOTATION, announcement.trust_domain.clone());
    if !announcement.identities.is_empty() {
        set(SUBJECT_ALT_NAMES_ANNOTATION, announcement.identities.join(","));
    }
    if let Some(hash) = &announcement.root_hash {
        set(ROOT_HASH_ANNOTATION, hash.clone());
    }
    annotations
}

fn hash_content(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content)[..VERSION_HASH_BYTES])
}
