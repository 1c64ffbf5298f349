//! Converts an [`Announcement`] to EndpointSlices and back.
//!
//! There is one resource for each address type, named `<namespace>/<exposed name>/<IPv4, IPv6 or FQDN>`. All endpoints
//! of a slice share its ports. If the endpoints of one address type have several ports (style FLAT: pods whose target
//! port has a name), the lowest port is in that resource, and each further port is in `…/<address type>-<port>`. An
//! announcement without endpoints is one IPv4 slice that has neither endpoints nor a port number.
//!
//! The encoding depends on the announcement alone. So every replica announces the same names and versions.

mod decode;
mod encode;
mod slice_name;

#[cfg(test)]
mod tests;

use emcee_api::labels::SERVICE_NAME as SERVICE_NAME_LABEL;
use emcee_core::catalogue::Announcement;
pub use emcee_core::catalogue::discovery_announcement_key;
pub use emcee_core::catalogue::{MAX_ENDPOINTS, MAX_IDENTITIES};
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;

pub use decode::{SliceDecodeError, decode_slice};
pub(crate) use encode::split_into_slices;
pub use encode::{EncodedResource, SliceEncodeError, encode_announcement};
pub use slice_name::{AddressType, SliceName};

const STYLE_ANNOTATION: &str = "emcee.io/style";
const SERVER_NAME_ANNOTATION: &str = "emcee.io/server-name";
const SERVICE_PORT_ANNOTATION: &str = "emcee.io/service-port";
/// Names separated by commas, which neither a DNS name nor a SPIFFE ID contains.
const SUBJECT_ALT_NAMES_ANNOTATION: &str = "emcee.io/subject-alt-names";
const TRUST_DOMAIN_ANNOTATION: &str = "emcee.io/trust-domain";
const ROOT_HASH_ANNOTATION: &str = "emcee.io/root-hash";

/// One EndpointSlice of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSlice {
    /// Service and address type, as in the name of the resource.
    pub name: SliceName,
    /// Attributes of the service, equal in all its slices.
    pub attributes: ServiceAttributes,
    /// Endpoints of the service, sorted and without duplicates.
    pub endpoints: Vec<Endpoint>,
}

/// Everything in an announcement except its key and endpoints. The fields are those of [`Announcement`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of Announcement")]
pub struct ServiceAttributes {
    pub mode: Mode,
    pub server_name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub identities: Vec<String>,
    pub trust_domain: String,
    pub root_hash: Option<String>,
}

impl ServiceAttributes {
    /// Copies the attributes of an announcement.
    pub fn from_announcement(announcement: &Announcement) -> Self {
        Self {
            mode: announcement.mode,
            server_name: announcement.server_name.clone(),
            protocol: announcement.protocol,
            port: announcement.port,
            identities: announcement.identities.clone(),
            trust_domain: announcement.trust_domain.clone(),
            root_hash: announcement.root_hash.clone(),
        }
    }

    /// Builds the announcement with these attributes, reachable at `endpoints`.
    pub fn to_announcement(
        &self,
        key: ObjectKey,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Announcement {
        let Self { mode, server_name, protocol, port, identities, trust_domain, root_hash } = self.clone();
        let mut endpoints: Vec<_> = endpoints.into_iter().collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        Announcement {
            key,
            mode,
            server_name,
            protocol,
            port,
            endpoints,
            identities,
            trust_domain,
            root_hash,
        }
    }
}
