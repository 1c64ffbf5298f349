//! Names that two meshes must compute in the same way, and names of generated objects.

use std::net::Ipv4Addr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::text::truncate_to_chars;

/// Domain of all host names that Emcee generates.
pub const EMCEE_DOMAIN: &str = "emcee.internal";

/// The relationship name that is reserved for [`binding_host`].
pub const RESERVED_RELATIONSHIP: &str = "binding";

/// First label of [`discovery_server_name`].
const DISCOVERY_LABEL: &str = "discovery";
/// Prefix of [`relay_host`].
const RELAY_PREFIX: &str = "relay.";

const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;
/// Length of the longest server name that [`relay_host`] turns into a DNS name.
pub(crate) const MAX_SERVER_NAME: usize = MAX_NAME - RELAY_PREFIX.len();
/// Prefix of a hash that replaces a text too long for a label's value.
const HASH_PREFIX: &str = "sha256-";
/// Maximum length of the owner's name in a base name. With `emcee-`, `-` and 12 hex digits it leaves room in a DNS
/// label for `-<part>`.
const MAX_OWNER_NAME: usize = 26;

/// Returns the inter-mesh server name of an exposed service: the SNI, and in BOUNDARY also the authority between the
/// gateways.
///
/// ```
/// use emcee_core::names::{parse_server_name, server_name};
///
/// let name = server_name("reviews", "default", "blue");
/// assert_eq!(name, "reviews.default.blue.emcee.internal");
/// assert_eq!(parse_server_name(&name), Some(["reviews", "default", "blue"]));
/// ```
pub fn server_name(exposed_name: &str, namespace: &str, relationship: &str) -> String {
    [exposed_name, namespace, relationship, EMCEE_DOMAIN].join(".")
}

/// Returns the three labels of a server name that [`server_name`] made: exposed name, namespace and relationship.
/// `None` for any other name. Other names below [`EMCEE_DOMAIN`], such as those of discovery and binding hosts, do
/// not belong to a service.
pub fn parse_server_name(name: &str) -> Option<[&str; 3]> {
    let labels: Vec<&str> = name.strip_suffix(EMCEE_DOMAIN)?.strip_suffix('.')?.split('.').collect();
    let [exposed, namespace, relationship] = *labels.as_slice() else { return None };
    let parts = [exposed, namespace, relationship];
    // A binding host has three labels as well. The reserved relationship tells it apart.
    (relationship != RESERVED_RELATIONSHIP && parts.into_iter().all(is_dns_label)).then_some(parts)
}

/// Returns whether a name is [`EMCEE_DOMAIN`] or lies below it. All of these belong to Emcee.
pub fn is_emcee_name(name: &str) -> bool {
    is_in_domain(EMCEE_DOMAIN, name)
}

/// Returns whether a name is `domain` or lies below it.
pub fn is_in_domain(domain: &str, name: &str) -> bool {
    // The dot makes sure that the suffix is whole labels.
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Returns the server name (SNI) under which a mesh serves discovery to the peers of a relationship, both at its ingress
/// gateway and in Emcee.
pub fn discovery_server_name(relationship: &str) -> String {
    [DISCOVERY_LABEL, relationship, EMCEE_DOMAIN].join(".")
}

/// Returns the relationship of a name that [`discovery_server_name`] made; `None` for any other name.
///
/// ```
/// use emcee_core::names::{discovery_server_name, parse_discovery_server_name};
///
/// assert_eq!(parse_discovery_server_name(&discovery_server_name("blue")), Some("blue"));
/// ```
pub fn parse_discovery_server_name(name: &str) -> Option<&str> {
    let labels = name.strip_suffix(EMCEE_DOMAIN)?.strip_suffix('.')?;
    let relationship = labels.strip_prefix(DISCOVERY_LABEL)?.strip_prefix('.')?;
    (!relationship.is_empty() && !relationship.contains('.')).then_some(relationship)
}

/// Returns the binding host: the consuming mesh's own host for a remote service.
pub fn binding_host(binding: &str, namespace: &str) -> String {
    [binding, namespace, RESERVED_RELATIONSHIP, EMCEE_DOMAIN].join(".")
}

/// Returns the first label of a [`shared_host`].
pub(crate) fn shared_host_label(identity: &[&str]) -> String {
    short_hash(identity)
}

/// Returns the host that bindings share. It has one label less than a [`binding_host`], so that no binding has the same.
/// Each sidecar has the name many times, so it is short.
pub(crate) fn shared_host(label: &str) -> String {
    [label, RESERVED_RELATIONSHIP, EMCEE_DOMAIN].join(".")
}

/// Returns the identifier of a binding among those that share a host: the name of its subset, and the value of its
/// endpoints' label. A DNS label. It is collision resistant, because users of other namespaces choose names too.
pub(crate) fn binding_subset(binding: &str, namespace: &str) -> String {
    // 80 bits: no one can construct another binding with the same hash. Each sidecar has the name many times, so it is short.
    HEXLOWER.encode(&hash_parts(&[namespace, binding])[..10])
}

/// Returns which of `count` shared hosts a binding uses. Names decide, so a binding never moves because of others.
pub(crate) fn shared_host_number(binding: &str, namespace: &str, count: u8) -> u8 {
    // The modulus is smaller than `count`, which fits.
    hash_parts(&[namespace, binding])[16] % count
}

/// Returns the fully qualified host of a Kubernetes Service.
pub fn service_host(service: &str, namespace: &str, cluster_domain: &str) -> String {
    [service, namespace, "svc", cluster_domain].join(".")
}

/// Returns whether `text` is a DNS label as Kubernetes defines it (RFC 1123): at most 63 of a-z, 0-9 and `-`.
pub fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=MAX_LABEL).contains(&bytes.len())
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

/// Returns whether `text` is dot-separated DNS labels of at most 253 characters in total.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('.').all(is_dns_label)
}

/// Returns whether `key` is valid as the key of a label: a name, or a DNS name, `/` and a name.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_dns_name)
}

/// Returns whether `value` is valid as the value of a label: at most 63 of a-z, A-Z, 0-9, `-`, `_` and `.`. It may be
/// empty.
pub fn is_label_value(value: &str) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
}

/// Returns whether `text` is valid as the name of a container port (RFC 6335): at most 15 of a-z, 0-9 and `-`, with a
/// letter.
pub fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dns_label(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Returns 32 hex digits of a hash over the parts and their boundaries. It is collision resistant: no one can
/// construct other parts with the same hash.
pub fn long_hash(parts: &[&str]) -> String {
    HEXLOWER.encode(&hash_parts(parts)[..16])
}

/// Returns whether resolvers may read a name as an IPv4 address: its last label is a decimal or hexadecimal number.
/// No top-level domain is a number.
pub fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    last.bytes().all(|b| b.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(hexadecimal)
}

/// Returns the base name of the objects of one owner: `emcee-<name, truncated>-<12 hex>`, a DNS label with room for
/// `-<part>`.
///
/// `identity` is hashed in order, with separators: kind, namespace and name of the owner, and the MeshFedConfig.
pub fn owner_base_name(owner_name: &str, identity: &[&str]) -> String {
    let cut = truncate_to_chars(owner_name, MAX_OWNER_NAME);
    // Truncation may leave a trailing separator.
    let cut = cut.trim_end_matches(['-', '.']);
    let name = ["emcee-", cut, "-", &short_hash(identity)].concat();
    // An owner's name may be a DNS name, but a base name is a single label. The hash keeps `a.b` and `a-b` distinct.
    if cut.contains('.') { name.replace('.', "-") } else { name }
}

/// Returns `name` if it has the length of a DNS label. Otherwise returns its beginning, and a hash of the whole.
pub(crate) fn shorten_to_label(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.to_owned();
    }
    let hash = short_hash(&[name]);
    // Truncation may leave a trailing separator.
    let cut = truncate_to_chars(name, MAX_LABEL - hash.len() - 1).trim_end_matches(['-', '.']);
    [cut, "-", &hash].concat()
}

/// Returns the host by which an egress gateway reaches the remote endpoints of a server name or a binding host.
pub(crate) fn relay_host(host: &str) -> String {
    [RELAY_PREFIX, host].concat()
}

/// Returns the host by which a gateway passes the TLS of a server name through to workloads of this mesh.
pub(crate) fn passthrough_host(server_name: &str) -> String {
    format!("raw.{server_name}")
}

/// Returns a placeholder address for a host: one of 240.241.0.0 to 240.255.255.255. That range is reserved (RFC
/// 1112), and lies above the range from which Istio takes such addresses (240.240.0.0/16).
pub(crate) fn placeholder_address(host: &str) -> Ipv4Addr {
    let hash = Sha256::digest(host.as_bytes());
    Ipv4Addr::new(240, 241 + hash[0] % 15, hash[1], hash[2])
}

/// Returns `value` if it fits into a label's value, or else a hash of it.
pub fn label_value(value: &str) -> String {
    if value.len() <= MAX_LABEL { value.to_owned() } else { format!("{HASH_PREFIX}{}", short_hash(&[value])) }
}

/// Returns whether a label's value may be a hash that [`label_value`] made.
pub fn is_hashed_label_value(value: &str) -> bool {
    value.starts_with(HASH_PREFIX)
}

/// Returns 12 hex digits of a hash over the parts and their boundaries.
pub(crate) fn short_hash(parts: &[&str]) -> String {
    HEXLOWER.encode(&hash_parts(parts)[..6])
}

fn hash_parts(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        // No name contains NUL, so ("a", "bc") and ("ab", "c") have different hashes.
        hash.update(b"\0");
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names_are_labels_with_room_for_a_part() {
        let long = "a.".repeat(126) + "a";
        for name in ["reviews", "x", long.as_str(), "a.b"] {
            let base = owner_base_name(name, &["ServiceBinding", "default", name, "blue", "blue"]);
            assert!(is_dns_label(&base), "{base}");
            assert!(base.len() <= 63 - "-egress-relay".len(), "{base}");
        }
    }

    #[test]
    fn owners_that_differ_in_any_part_differ_in_name() {
        let one = owner_base_name("a", &["Kind", "ab", "c"]);
        assert_ne!(one, owner_base_name("a", &["Kind", "a", "bc"]));
        assert_ne!(one, owner_base_name("a", &["Kind", "ab/c"]));
    }

    #[test]
    fn long_label_values_are_recognised_as_hashed() {
        let long = "x".repeat(64);
        assert!(
            is_hashed_label_value(&label_value(&long)) && !is_hashed_label_value(&label_value(&long[1..]))
        );
    }

    #[test]
    fn port_names() {
        assert!(is_port_name("http-web") && is_port_name("a") && is_port_name("p2p"));
        for bad in ["", "80", "a--b", "-a", "a-", "HTTP", "a.b", "sixteen-letters-", "a234567890123456"] {
            assert!(!is_port_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_server_names_of_services_are_parsed() {
        assert_eq!(parse_server_name("reviews.shop.blue.emcee.internal"), Some(["reviews", "shop", "blue"]));
        for bad in [
            "emcee.internal",
            "discovery.blue.emcee.internal",
            "near.shop.binding.emcee.internal",
            "a.reviews.shop.blue.emcee.internal",
            ".shop.blue.emcee.internal",
            "reviews.shop.Blue.emcee.internal",
            "reviews.shop.blue.emcee.internal.",
            "reviews.shop.blue.xemcee.internal",
            "reviews.shop.blue.example.com",
        ] {
            assert_eq!(parse_server_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_server_names_of_discovery_are_parsed_as_such() {
        assert_eq!(parse_discovery_server_name("discovery.blue.emcee.internal"), Some("blue"));
        for bad in [
            "discovery.emcee.internal",
            "discovery..emcee.internal",
            "discovery.a.blue.emcee.internal",
            "discovery.blue.emcee.internal.",
            "discovery.blue.xemcee.internal",
            "xdiscovery.blue.emcee.internal",
            "reviews.shop.blue.emcee.internal",
        ] {
            assert_eq!(parse_discovery_server_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn label_keys_and_values() {
        for key in ["mesh", "emcee.example/mesh", "A_b.c-d"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "ä", "A.example/x", &"x".repeat(64)] {
            assert!(!is_label_key(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("A_b.c-d") && is_label_value(&"x".repeat(63)));
        for value in ["a b", "a/b", "-", "a.", "_a", "ä", &"x".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
    }

    #[test]
    fn names_that_end_in_a_number() {
        for number in ["127.1", "10", "0x7f.0x1", "0x", "a.0xff", ""] {
            assert!(ends_in_number(number), "{number}");
        }
        for name in ["a.example", "1.a", "0xy", "x0"] {
            assert!(!ends_in_number(name), "{name}");
        }
    }

    #[test]
    fn labels_and_names() {
        assert!(is_dns_label("a") && is_dns_label("a-0") && is_dns_label(&"x".repeat(63)));
        for bad in ["", "-a", "a-", "A", "a.b", "ä", "a_b", &"x".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_dns_name("a.b.c") && !is_dns_name("a..c") && !is_dns_name(&"a.".repeat(127)));
    }
}
