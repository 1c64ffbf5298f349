//! Decodes a resource into a slice, or returns the reason to reject it. All content is chosen by the peer: nothing
//! here relies on it being short, sorted, or printable.

use std::str::FromStr;

use emcee_core::endpoint::{Endpoint, EndpointError};
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_core::text::quote_value;
use prost::Message;
use thiserror::Error;

use super::{
    AddressType, MAX_ENDPOINTS, MAX_IDENTITIES, ROOT_HASH_ANNOTATION, SERVER_NAME_ANNOTATION,
    SERVICE_NAME_LABEL, SERVICE_PORT_ANNOTATION, STYLE_ANNOTATION, SUBJECT_ALT_NAMES_ANNOTATION,
    ServiceAttributes, ServiceSlice, SliceName, TRUST_DOMAIN_ANNOTATION,
};
use crate::wire;

/// Maximum length of a SPIFFE ID, according to its specification.
const MAX_IDENTITY_BYTES: usize = 2_048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;
const MAX_ROOT_HASH_BYTES: usize = 128;
const MAX_VERSION_BYTES: usize = 64;

/// Why a resource is rejected. Each message is one line of bounded length and ends with what is allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SliceDecodeError {
    /// The resource has no content.
    #[error("the resource has no content (removals are listed in removed_resources)")]
    Empty,
    /// A field has a value that is not allowed.
    #[error("{field}: {value} is not allowed ({allowed})")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// The value, quoted and truncated.
        value: String,
        /// What is allowed in the field.
        allowed: &'static str,
    },
    /// The bytes are no EndpointSlice message.
    #[error("the content is not a protobuf message of that type")]
    Malformed,
    /// A required field is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A list is too long.
    #[error("{count} {what} are too many ({limit} are allowed)")]
    TooMany {
        /// What the list contains.
        what: &'static str,
        /// Number of items in the list.
        count: usize,
        /// Maximum number of items.
        limit: usize,
    },
    /// An endpoint has no valid address.
    #[error("endpoints: {0}")]
    Endpoint(#[from] EndpointError),
}

/// Decodes the slice in a resource and checks all of it.
pub fn decode_slice(resource: &wire::XdsResource) -> Result<ServiceSlice, SliceDecodeError> {
    let field = "name";
    let name = parse_field(
        field,
        &resource.name,
        "<namespace>/<service>/<IPv4, IPv6 or FQDN>, or that with -<port>",
    )?;
    if resource.version.len() > MAX_VERSION_BYTES {
        // The version is opaque, but the client keeps it for each resource, so its length is bounded.
        return Err(not_allowed("version", &resource.version, "at most 64 bytes"));
    }
    let any = resource.resource.as_ref().ok_or(SliceDecodeError::Empty)?;
    if any.type_url != wire::ENDPOINT_SLICE {
        return Err(not_allowed("resource.type_url", &any.type_url, wire::ENDPOINT_SLICE));
    }
    let slice = wire::EndpointSlice::decode(any.value.clone()).map_err(|_| SliceDecodeError::Malformed)?;
    parse_slice(name, &slice)
}

/// Checks a decoded message and converts it.
fn parse_slice(name: SliceName, slice: &wire::EndpointSlice) -> Result<ServiceSlice, SliceDecodeError> {
    let metadata = slice.metadata.as_ref().ok_or(SliceDecodeError::Missing("metadata"))?;
    check_matches_name(&name, metadata, slice)?;
    let [port] = &*slice.ports else {
        let what = "ports";
        return Err(SliceDecodeError::TooMany { what, count: slice.ports.len(), limit: 1 });
    };
    let attributes = parse_attributes(metadata, port)?;
    let endpoints = parse_endpoints(&name, slice, port)?;
    Ok(ServiceSlice { name, attributes, endpoints })
}

/// Checks that namespace, service and address type agree with the name of the resource.
fn check_matches_name(
    name: &SliceName,
    metadata: &wire::ObjectMeta,
    slice: &wire::EndpointSlice,
) -> Result<(), SliceDecodeError> {
    let same = "the same as in the resource's name";
    let service = metadata.labels.get(SERVICE_NAME_LABEL).map(String::as_str);
    for (field, found, expected) in [
        ("metadata.namespace", metadata.namespace.as_deref(), &*name.key.namespace),
        ("metadata.labels[kubernetes.io/service-name]", service, &*name.key.name),
        ("addressType", slice.address_type.as_deref(), name.address_type.as_str()),
    ] {
        let found = found.ok_or(SliceDecodeError::Missing(field))?;
        if found != expected {
            return Err(not_allowed(field, found, same));
        }
    }
    Ok(())
}

fn parse_attributes(
    metadata: &wire::ObjectMeta,
    port: &wire::EndpointPort,
) -> Result<ServiceAttributes, SliceDecodeError> {
    let get = |name: &'static str| metadata.annotations.get(name).map(String::as_str);
    let need = |name: &'static str| get(name).ok_or(SliceDecodeError::Missing(name));
    let protocol = port.app_protocol.as_deref().ok_or(SliceDecodeError::Missing("ports[0].appProtocol"))?;
    Ok(ServiceAttributes {
        mode: parse_field(STYLE_ANNOTATION, need(STYLE_ANNOTATION)?, Mode::ALLOWED)?,
        server_name: check_field(
            SERVER_NAME_ANNOTATION,
            need(SERVER_NAME_ANNOTATION)?,
            names::is_dns_name,
            "a DNS name",
        )?,
        protocol: parse_field("ports[0].appProtocol", protocol, Protocol::ALLOWED)?,
        port: parse_service_port(need(SERVICE_PORT_ANNOTATION)?)?,
        identities: parse_identities(get(SUBJECT_ALT_NAMES_ANNOTATION))?,
        trust_domain: parse_trust_domain(need(TRUST_DOMAIN_ANNOTATION)?)?,
        root_hash: get(ROOT_HASH_ANNOTATION).map(parse_root_hash).transpose()?,
    })
}

fn parse_service_port(text: &str) -> Result<u16, SliceDecodeError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| not_allowed(SERVICE_PORT_ANNOTATION, text, "1 to 65535"))
}

fn parse_identities(text: Option<&str>) -> Result<Vec<String>, SliceDecodeError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    // Counted first, so that a long text is rejected without an allocation for each name.
    let count = text.split(',').count();
    if count > MAX_IDENTITIES {
        return Err(SliceDecodeError::TooMany { what: "identities", count, limit: MAX_IDENTITIES });
    }
    let allowed = "DNS names or SPIFFE IDs of at most 2048 characters, separated by commas";
    let identities =
        text.split(',').map(|name| check_field(SUBJECT_ALT_NAMES_ANNOTATION, name, is_identity, allowed));
    let mut identities: Vec<_> = identities.collect::<Result<_, _>>()?;
    identities.sort_unstable();
    identities.dedup();
    Ok(identities)
}

/// Applies the rules for `subject_alt_names` in a user's spec, as both end up in the same field.
fn is_identity(name: &str) -> bool {
    let id = name.strip_prefix("spiffe://");
    name.len() <= MAX_IDENTITY_BYTES && id.map_or_else(|| names::is_dns_name(name), is_spiffe_id)
}

/// Checks a SPIFFE ID without its scheme: <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>, section
/// 2. Trust domains have to be DNS names, as in Istio.
fn is_spiffe_id(rest: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(is_allowed);
    let parts = rest.split_once('/');
    parts.is_some_and(|(domain, path)| names::is_dns_name(domain) && path.split('/').all(segment))
}

fn parse_trust_domain(text: &str) -> Result<String, SliceDecodeError> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let valid =
        |text: &str| (1..=MAX_TRUST_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(is_allowed);
    check_field(TRUST_DOMAIN_ANNOTATION, text, valid, "1 to 255 of a-z, 0-9, `.`, `-` and `_`")
}

fn parse_root_hash(text: &str) -> Result<String, SliceDecodeError> {
    let valid = |text: &str| {
        (1..=MAX_ROOT_HASH_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    check_field(ROOT_HASH_ANNOTATION, text, valid, "1 to 128 letters and digits")
}

fn parse_endpoints(
    name: &SliceName,
    slice: &wire::EndpointSlice,
    port: &wire::EndpointPort,
) -> Result<Vec<Endpoint>, SliceDecodeError> {
    let count = slice.endpoints.len();
    if count > MAX_ENDPOINTS {
        return Err(SliceDecodeError::TooMany { what: "endpoints", count, limit: MAX_ENDPOINTS });
    }
    if let Some(other) = port.protocol.as_deref().filter(|protocol| *protocol != "TCP") {
        return Err(not_allowed("ports[0].protocol", other, "TCP"));
    }
    // A service without endpoints has no port number. With endpoints, the number is required.
    if count == 0 && port.port.is_none() {
        return Ok(Vec::new());
    }
    let number = parse_port(name, port)?;
    // An unset condition means ready, as in Kubernetes.
    let is_ready = |endpoint: &&wire::SliceEndpoint| {
        endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let ready = slice.endpoints.iter().filter(is_ready);
    let mut endpoints: Vec<_> = ready
        .map(|endpoint| parse_endpoint(name.address_type, endpoint, number))
        .collect::<Result<_, _>>()?;
    endpoints.sort_unstable();
    endpoints.dedup();
    Ok(endpoints)
}

fn parse_port(name: &SliceName, port: &wire::EndpointPort) -> Result<u16, SliceDecodeError> {
    let number = port.port.ok_or(SliceDecodeError::Missing("ports[0].port"))?;
    let refused = |allowed| not_allowed("ports[0].port", &number.to_string(), allowed);
    let valid = u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| refused("1 to 65535"))?;
    // Otherwise two resources could claim the same endpoints under different names.
    if name.port.is_some_and(|named| named != valid) {
        return Err(refused("the same as in the resource's name"));
    }
    Ok(valid)
}

/// Converts an endpoint. Of several addresses the first counts, as everywhere in Kubernetes.
fn parse_endpoint(
    kind: AddressType,
    endpoint: &wire::SliceEndpoint,
    port: u16,
) -> Result<Endpoint, SliceDecodeError> {
    let address = endpoint.addresses.first().ok_or(SliceDecodeError::Missing("endpoints[].addresses[0]"))?;
    let text = match kind {
        AddressType::Ipv6 => format!("[{address}]:{port}"),
        AddressType::Ipv4 | AddressType::Fqdn => format!("{address}:{port}"),
    };
    let endpoint: Endpoint = text.parse()?;
    // A host parses as a DNS name if it is no IP address, so the type has to be compared too.
    if AddressType::from_host(&endpoint.host) != kind {
        return Err(not_allowed("endpoints[].addresses[0]", address, "of the slice's addressType"));
    }
    Ok(endpoint)
}

fn parse_field<T: FromStr>(
    field: &'static str,
    text: &str,
    allowed: &'static str,
) -> Result<T, SliceDecodeError> {
    text.parse().map_err(|_| not_allowed(field, text, allowed))
}

fn check_field(
    field: &'static str,
    text: &str,
    is_valid: impl Fn(&str) -> bool,
    allowed: &'static str,
) -> Result<String, SliceDecodeError> {
    if is_valid(text) { Ok(text.to_owned()) } else { Err(not_allowed(field, text, allowed)) }
}

fn not_allowed(field: &'static str, value: &str, allowed: &'static str) -> SliceDecodeError {
    SliceDecodeError::Field { field, value: quote_value(value), allowed }
}
