//! An offer becomes resources.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use emcee_core::catalogue::Offer;
use emcee_core::endpoint::{Endpoint, Host};
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    AddressType, DecodeError, MAX_ENDPOINTS, ROOT_HASH, SERVER_NAME, SERVICE_NAME, SERVICE_PORT, STYLE,
    SUBJECT_ALT_NAMES, SliceName, TRUST_DOMAIN, decode,
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

/// The resources of an offer, in the order of [`SliceName`]s. Each is such that [`decode`] takes it.
pub fn encode(offer: &Offer) -> Result<Vec<Encoded>, EncodeError> {
    if let Some(identity) = offer.identities.iter().find(|identity| identity.contains(',')) {
        return Err(EncodeError::Comma(identity.clone()));
    }
    let annotations = annotations(offer);
    let slices = split(offer).into_iter().map(|(name, (port, hosts))| {
        let slice = slice(offer, &name, &annotations, port, &hosts);
        let resource = resource(&name, &slice);
        decode(&resource)?;
        let bytes = resource.encode_to_vec().into();
        Ok(Encoded { name: resource.name.into(), version: resource.version.into(), bytes })
    });
    slices.collect()
}

type Slices<'a> = BTreeMap<SliceName, (Option<u16>, BTreeSet<&'a Host>)>;

fn split(offer: &Offer) -> Slices<'_> {
    let name = |address_type, port| SliceName { key: offer.key.clone(), address_type, port };
    let mut groups: BTreeMap<(AddressType, u16), BTreeSet<&Host>> = BTreeMap::new();
    for Endpoint { host, port } in offer.endpoints.iter().take(MAX_ENDPOINTS) {
        groups.entry((AddressType::of(host), *port)).or_default().insert(host);
    }
    if groups.is_empty() {
        return [(name(AddressType::Ipv4, None), (None, BTreeSet::new()))].into();
    }
    let mut before = None;
    let slices = groups.into_iter().map(|((kind, port), hosts)| {
        let lowest = before.replace(kind) != Some(kind);
        (name(kind, (!lowest).then_some(port)), (Some(port), hosts))
    });
    slices.collect()
}

fn slice(
    offer: &Offer,
    name: &SliceName,
    annotations: &BTreeMap<String, String>,
    port: Option<u16>,
    hosts: &BTreeSet<&Host>,
) -> wire::EndpointSlice {
    let metadata = wire::ObjectMeta {
        name: Some(name.object()),
        namespace: Some(offer.key.namespace.to_string()),
        labels: [(SERVICE_NAME.to_owned(), offer.key.name.to_string())].into(),
        annotations: annotations.clone(),
    };
    let endpoint = |host: &&Host| wire::Endpoint {
        addresses: vec![host.to_string()],
        conditions: Some(wire::EndpointConditions { ready: Some(true) }),
    };
    let port = wire::EndpointPort {
        name: Some(offer.protocol.as_str().to_owned()),
        protocol: Some("TCP".to_owned()),
        port: port.map(i32::from),
        app_protocol: Some(offer.protocol.as_str().to_owned()),
    };
    wire::EndpointSlice {
        metadata: Some(metadata),
        endpoints: hosts.iter().map(endpoint).collect(),
        ports: vec![port],
        address_type: Some(name.address_type.as_str().to_owned()),
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

fn resource(name: &SliceName, slice: &wire::EndpointSlice) -> wire::Resource {
    let value = slice.encode_to_vec();
    wire::Resource {
        name: name.to_string(),
        version: version(&value),
        resource: Some(wire::Any { type_url: wire::ENDPOINT_SLICE.to_owned(), value: value.into() }),
    }
}

fn version(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().take(HASH_BYTES).fold(String::with_capacity(2 * HASH_BYTES), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
