//! An [`Offer`] as EndpointSlices, and back.
//!
//! One resource for each address type, `<namespace>/<exposed name>/<IPv4, IPv6 or FQDN>`. The endpoints of a slice
//! share its ports, so where endpoints of a type have several ports (FLAT: pods whose target port has a name), the
//! lowest port is in that resource, and each further one in `…/<address type>-<port>`. An offer that can be reached
//! nowhere for now is one IPv4 slice without endpoints, and without a number in its port.
//!
//! What is announced depends on the offer alone: every replica gives it the same names and versions.

mod decode;
mod encode;
mod name;

#[cfg(test)]
mod tests;

use emcee_core::catalogue::Offer;
pub use emcee_core::catalogue::discovery_key;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::Key;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;

pub use decode::{DecodeError, decode};
pub(crate) use encode::split;
pub use encode::{EncodeError, Encoded, encode};
pub use name::{AddressType, SliceName};

/// Endpoints of one service; one that has more announces the first of them.
pub const MAX_ENDPOINTS: usize = 1_000;
/// Identities of one service.
pub const MAX_IDENTITIES: usize = 100;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const STYLE: &str = "emcee.io/style";
const SERVER_NAME: &str = "emcee.io/server-name";
const SERVICE_PORT: &str = "emcee.io/service-port";
/// Separated by commas, which neither a DNS name nor a SPIFFE ID contains.
const SUBJECT_ALT_NAMES: &str = "emcee.io/subject-alt-names";
const TRUST_DOMAIN: &str = "emcee.io/trust-domain";
const ROOT_HASH: &str = "emcee.io/root-hash";

/// One EndpointSlice of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Whose, and which.
    pub name: SliceName,
    /// What the other slices of the service say too.
    pub facts: Facts,
    /// Where the service can be reached, sorted, each once.
    pub endpoints: Vec<Endpoint>,
}

/// All that an offer says but its endpoints. The fields are [`Offer`]'s.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of Offer")]
pub struct Facts {
    pub mode: Mode,
    pub server_name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub identities: Vec<String>,
    pub trust_domain: String,
    pub root_hash: Option<String>,
}

impl Facts {
    /// Those of an offer.
    pub fn of(offer: &Offer) -> Self {
        Self {
            mode: offer.mode,
            server_name: offer.server_name.clone(),
            protocol: offer.protocol,
            port: offer.port,
            identities: offer.identities.clone(),
            trust_domain: offer.trust_domain.clone(),
            root_hash: offer.root_hash.clone(),
        }
    }

    /// The offer of this, reachable there.
    pub fn offer(&self, key: Key, endpoints: impl IntoIterator<Item = Endpoint>) -> Offer {
        let Self { mode, server_name, protocol, port, identities, trust_domain, root_hash } = self.clone();
        let mut endpoints: Vec<_> = endpoints.into_iter().collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        Offer { key, mode, server_name, protocol, port, endpoints, identities, trust_domain, root_hash }
    }
}
