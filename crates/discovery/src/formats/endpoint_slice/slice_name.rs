//! Names of resources.

use std::fmt;
use std::str::FromStr;

use emcee_core::endpoint::Host;
use emcee_core::key::ObjectKey;
use emcee_core::names;

use super::discovery_announcement_key;

/// Address type of a slice, with the same values as in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressType {
    /// The endpoints have IPv4 addresses.
    Ipv4,
    /// The endpoints have IPv6 addresses.
    Ipv6,
    /// The endpoints have DNS names.
    Fqdn,
}

impl AddressType {
    /// Returns the address type of a host.
    pub fn from_host(host: &Host) -> Self {
        match host {
            Host::Ip(address) if address.is_ipv4() => Self::Ipv4,
            Host::Ip(_) => Self::Ipv6,
            Host::Name(_) => Self::Fqdn,
        }
    }

    /// Returns the value of `addressType` in an EndpointSlice.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Fqdn => "FQDN",
        }
    }
}

impl FromStr for AddressType {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Ipv4, Self::Ipv6, Self::Fqdn].into_iter().find(|kind| kind.as_str() == word).ok_or(())
    }
}

/// Name of a slice: `<namespace>/<exposed name>/<address type>`, followed by `-<port>` for all but the lowest port of
/// the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceName {
    /// Namespace and name of the exposed service.
    pub key: ObjectKey,
    /// Type of all addresses in the slice.
    pub address_type: AddressType,
    /// Port of the endpoints, or `None` for the lowest port of the type.
    pub port: Option<u16>,
}

impl SliceName {
    /// Name of the Kubernetes object. It contains what is unique within the namespace.
    pub(super) fn object_name(&self) -> String {
        let kind = self.address_type.as_str().to_ascii_lowercase();
        match self.port {
            None => format!("{}-{kind}", self.key.name),
            Some(port) => format!("{}-{kind}-{port}", self.key.name),
        }
    }
}

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.key, self.address_type.as_str())?;
        self.port.map_or(Ok(()), |port| write!(f, "-{port}"))
    }
}

impl FromStr for SliceName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (key, last) = text.rsplit_once('/').ok_or(())?;
        let (namespace, name) = key.split_once('/').ok_or(())?;
        let key = ObjectKey::new(namespace, name);
        // The key of the discovery service is no valid namespace on purpose, so no exposed service can collide with
        // it.
        let valid = names::is_dns_label(namespace) && names::is_dns_label(name);
        if !valid && key != discovery_announcement_key() {
            return Err(());
        }
        let (kind, port) = match last.split_once('-') {
            None => (last, None),
            Some((kind, port)) => (kind, Some(port.parse().map_err(|_| ())?)),
        };
        let name = Self { key, address_type: kind.parse()?, port };
        // Each slice has exactly one name: `-080` and `-80` would be two names for one slice.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}
