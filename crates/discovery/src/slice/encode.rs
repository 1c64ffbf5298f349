//! An offer becomes resources.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use emcee_core::catalogue::Offer;
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

/// 128 bits of SHA-256.
const HASH_BYTES: usize = 16;

/// A resource, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its name.
    pub name: Arc<str>,
    /// Hash of its content.
    pub version: Box<str>,
    /// An encoded [`wire::Resource`].
    pub bytes: Bytes,
}

/// Why an offer cannot be announced.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// It would be read as two.
    #[error("cannot be announced: the identity {0:?} has a comma in it")]
    Comma(String),
    /// No peer would take it.
    #[error("cannot be announced: {0}")]
    Unacceptable(#[from] DecodeError),
}

/// The resources of an offer, in the order of [`SliceName`]s. Each is such that [`decode()`] takes it.
pub fn encode(offer: &Offer) -> Result<Vec<Encoded>, EncodeError> {
    if let Some(identity) = offer.identities.iter().find(|identity| identity.contains(',')) {
        return Err(EncodeError::Comma(identity.clone()));
    }
    let annotations = annotations(offer);
    let encoded = split(offer).into_iter().map(|slice| {
        let resource = resource(&slice, &annotations);
        decode(&resource)?;
        let bytes = shared(resource.encode_to_vec());
        Ok(Encoded { name: resource.name.into(), version: resource.version.into(), bytes })
    });
    encoded.collect()
}

/// Bytes that have their count of references already, which [`Bytes`] else allocates at the first clone. It is the shelf's
/// memory, one for each resource; made when the first peer is sent everything, it would lie among the buffers of that,
/// and hold their pages.
fn shared(encoded: Vec<u8>) -> Bytes {
    let bytes = Bytes::from(encoded);
    drop(bytes.clone());
    bytes
}

/// The slices of an offer, whether or not they can be announced.
pub(crate) fn split(offer: &Offer) -> Vec<Slice> {
    let facts = Facts::of(offer);
    let slice = |address_type, port, endpoints| {
        let name = SliceName { key: offer.key.clone(), address_type, port };
        Slice { name, facts: facts.clone(), endpoints }
    };
    let mut groups: BTreeMap<(AddressType, u16), Vec<Endpoint>> = BTreeMap::new();
    for endpoint in offer.endpoints.iter().take(MAX_ENDPOINTS) {
        groups.entry((AddressType::of(&endpoint.host), endpoint.port)).or_default().push(endpoint.clone());
    }
    if groups.is_empty() {
        return vec![slice(AddressType::Ipv4, None, Vec::new())];
    }
    let mut before = None;
    let slices = groups.into_iter().map(|((kind, port), endpoints)| {
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

fn annotations(offer: &Offer) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: String| annotations.insert(name.to_owned(), value);
    set(STYLE, offer.mode.to_string());
    set(SERVER_NAME, offer.server_name.clone());
    set(SERVICE_PORT, offer.port.to_string());
    set(TRUST_DOMAIN, offer.trust_domain.clone());
    if !offer.identities.is_empty() {
        set(SUBJECT_ALT_NAMES, offer.identities.join(","));
    }
    if let Some(hash) = &offer.root_hash {
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
