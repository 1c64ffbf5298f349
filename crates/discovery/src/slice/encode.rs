//! Encodes an announcement as resources.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    AddressType, DecodeError, Facts, MAX_ENDPOINTS, ROOT_HASH, SERVER_NAME, SERVICE_NAME, SERVICE_PORT,
    STYLE, SUBJECT_ALT_NAMES, Slice, SliceName, TRUST_DOMAIN, decode,
};
use crate::wire;

/// Bytes of SHA-256 in a version: 128 bits.
const HASH_BYTES: usize = 16;

/// A resource that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Name of the resource, as [`SliceName`] displays it.
    pub name: Arc<str>,
    /// Hash of the content, in hexadecimal.
    pub version: Box<str>,
    /// The resource as an encoded [`wire::XdsResource`].
    pub bytes: Bytes,
}

/// Why an announcement cannot be encoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// An identity contains a comma, so it would be decoded as two.
    #[error("cannot be announced: the identity {0:?} contains a comma")]
    Comma(String),
    /// Peers would reject the resource.
    #[error("cannot be announced: {0}")]
    Unacceptable(#[from] DecodeError),
}

/// Encodes an announcement as resources, in the order of their [`SliceName`]s. [`decode_slice`] accepts each of them.
pub fn encode(announcement: &Announcement) -> Result<Vec<Encoded>, EncodeError> {
    if let Some(identity) = announcement.identities.iter().find(|identity| identity.contains(',')) {
        return Err(EncodeError::Comma(identity.clone()));
    }
    let annotations = annotations(announcement);
    let encoded = split(announcement).into_iter().map(|slice| {
        let resource = resource(&slice, &annotations);
        // Runs the same checks as a peer, so that what peers reject is reported on this side, where the cause is.
        decode(&resource)?;
        let bytes = shared(resource.encode_to_vec());
        Ok(Encoded { name: resource.name.into(), version: resource.version.into(), bytes })
    });
    encoded.collect()
}

/// Converts the buffer so that its reference count is allocated now. [`Bytes`] otherwise allocates it at the first
/// clone. The cache keeps one for each resource. If they were allocated when the first peer is sent everything, they
/// would lie between the buffers of that response and keep their pages in use.
fn shared(encoded: Vec<u8>) -> Bytes {
    let bytes = Bytes::from(encoded);
    // The first clone allocates the reference count.
    drop(bytes.clone());
    bytes
}

/// Splits an announcement into slices, whether or not they can be encoded.
pub(crate) fn split(announcement: &Announcement) -> Vec<Slice> {
    let attributes = Facts::of(announcement);
    let slice = |address_type, port, endpoints| {
        let name = SliceName { key: announcement.key.clone(), address_type, port };
        Slice { name, facts: attributes.clone(), endpoints }
    };
    // The keys are sorted by type and then port, so the lowest port of each type comes first.
    let mut groups: BTreeMap<(AddressType, u16), Vec<Endpoint>> = BTreeMap::new();
    for endpoint in announcement.endpoints.iter().take(MAX_ENDPOINTS) {
        groups.entry((AddressType::of(&endpoint.host), endpoint.port)).or_default().push(endpoint.clone());
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

fn resource(slice: &Slice, annotations: &BTreeMap<String, String>) -> wire::Resource {
    let value = content(slice, annotations).encode_to_vec();
    wire::Resource {
        name: slice.name.to_string(),
        version: version(&value),
        resource: Some(wire::Any { type_url: wire::ENDPOINT_SLICE.to_owned(), value: value.into() }),
    }
}

fn content(slice: &Slice, annotations: &BTreeMap<String, String>) -> wire::EndpointSlice {
    let key = &slice.name.key;
    let metadata = wire::ObjectMeta {
        name: Some(slice.name.object()),
        namespace: Some(key.namespace.to_string()),
        labels: [(SERVICE_NAME.to_owned(), key.name.to_string())].into(),
        annotations: annotations.clone(),
    };
    let protocol = slice.facts.protocol.as_str();
    let port = wire::EndpointPort {
        name: Some(protocol.to_owned()),
        protocol: Some("TCP".to_owned()),
        port: slice.endpoints.first().map(|endpoint| endpoint.port.into()),
        app_protocol: Some(protocol.to_owned()),
    };
    let endpoint = |endpoint: &Endpoint| wire::Endpoint {
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

fn annotations(announcement: &Announcement) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: String| annotations.insert(name.to_owned(), value);
    set(STYLE, announcement.mode.to_string());
    set(SERVER_NAME, announcement.server_name.clone());
    set(SERVICE_PORT, announcement.port.to_string());
    set(TRUST_DOMAIN, announcement.trust_domain.clone());
    if !announcement.identities.is_empty() {
        set(SUBJECT_ALT_NAMES, announcement.identities.join(","));
    }
    if let Some(hash) = &announcement.root_hash {
        set(ROOT_HASH, hash.clone());
    }
    annotations
}

fn version(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().take(HASH_BYTES).fold(String::with_capacity(2 * HASH_BYTES), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
