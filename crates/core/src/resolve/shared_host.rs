//! Hosts that bindings share.
//!
//! For every host and port that it sees, a sidecar has a cluster without a subset. With a host for each binding, that
//! cluster, which no call uses, takes as much memory as the one that calls use. So bindings share a host, and each has a
//! subset of it with its own TLS settings: if the rule of a binding is missing or hidden, its subset is gone, and calls
//! fail.

use std::sync::Arc;

use super::binding::BoundService;
use super::remote::RemoteService;
use super::{ResolvedGateway, ResolvedRelationship};
use crate::endpoint::{Endpoint, Host};
use crate::key::ObjectKey;
use crate::names;
use crate::parse::{Binding, ExportScope};
use crate::plan::{ObjectOwner, OwnerKind};
use crate::protocol::Protocol;

/// Subset of a binding that has its own host. Routes name it, so a missing or hidden rule causes an error (503) and
/// never plaintext.
pub(crate) const TLS_SUBSET: &str = "emcee";

/// Number of hosts among which the bindings of one relationship and gateway are divided. Istio copies the rules of one
/// host once for each other rule of that host, so a host must not have too many. The hosts cost one cluster each.
const EGRESS_HOSTS: u8 = 128;
/// Number of hosts among which the bindings of one relationship, peer and namespace are divided. Their ServiceEntries
/// contain the endpoints of all of their bindings, so there are several, and changes are small.
const DIRECT_HOSTS: u8 = 32;
/// A binding without an egress gateway and with more endpoints routes to its own host. This bounds the size of the
/// ServiceEntry of a shared host.
const MAX_SHARED_ENDPOINTS: usize = 64;

/// A host that bindings share: those of one relationship with the same visibility and kind of port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedHostKey {
    /// MeshFedConfig of the relationship. Relationships share nothing.
    pub fed_config: ObjectKey,
    /// Namespace of the ServiceEntry, and of the DestinationRules: that of the egress gateway or else of the bindings.
    pub namespace: Arc<str>,
    /// Value of `exportTo` of these objects.
    pub export_to: Arc<str>,
    /// Source of the endpoints, without an egress gateway: a peer, or `None` for the specs of the bindings. Peers share
    /// nothing: one with many endpoints does not delay another.
    pub peer: Option<Arc<str>>,
    /// Whether the bindings are reached through an egress gateway.
    pub through_egress: bool,
    /// Whether the protocol is one of HTTP.
    pub is_http: bool,
    /// Port of the host.
    pub port: u16,
    /// Whether endpoints are host names, which sidecars resolve.
    pub has_host_names: bool,
    /// Which of the hosts with these properties.
    pub number: u8,
}

/// A shared host with its bindings.
#[derive(Debug)]
pub struct SharedHost<'a> {
    /// Owner of the ServiceEntry.
    pub owner: Arc<ObjectOwner>,
    /// What the bindings have in common.
    pub key: &'a SharedHostKey,
    /// The egress gateway, if there is one.
    pub egress: Option<&'a ResolvedGateway>,
    /// The endpoints of the bindings. Empty with an egress gateway.
    pub members: Vec<&'a SharedHostMember>,
}

/// Endpoints of a binding in the ServiceEntry of its shared host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedHostMember {
    /// Value of the label of the endpoints, by which the subset of the binding selects them.
    pub subset: String,
    /// Endpoints of the binding.
    pub endpoints: Vec<Endpoint>,
}

impl SharedHostKey {
    /// Returns the shared host of a binding, or `None` if it has no facade.
    pub(super) fn choose_for(
        binding: &Binding,
        relationship: &ResolvedRelationship,
        egress: Option<&ResolvedGateway>,
        remote: &RemoteService,
        (protocol, port): (Protocol, u16),
    ) -> Option<Self> {
        let through_egress = egress.is_some();
        // Users' own routes name the binding host.
        if binding.subset.is_some() {
            return None;
        }
        let key = &binding.identity.key;
        let namespace = egress.map_or(&key.namespace, |gateway| &gateway.namespace);
        let is_name = |endpoint: &Endpoint| matches!(endpoint.host, Host::Name(_));
        let count = if through_egress { EGRESS_HOSTS } else { DIRECT_HOSTS };
        Some(Self {
            fed_config: relationship.key().clone(),
            namespace: Arc::clone(namespace),
            export_to: export_to(binding, namespace).into(),
            peer: remote.peer.clone().filter(|_| !through_egress && !remote.endpoints_given),
            through_egress,
            is_http: protocol.is_http(),
            port,
            has_host_names: !through_egress && remote.endpoints.iter().any(is_name),
            number: names::shared_host_number(&key.name, &key.namespace, count),
        })
    }

    /// Returns the owner of the objects that the bindings share.
    pub(crate) fn to_owner(&self) -> Arc<ObjectOwner> {
        let key = ObjectKey { namespace: Arc::clone(&self.namespace), name: self.to_string().into() };
        ObjectOwner::new(OwnerKind::SharedHost, key, Some(self.fed_config.clone()))
    }

    /// Returns the name of the host.
    pub(crate) fn to_host(&self) -> String {
        names::shared_host(&self.to_label())
    }

    /// Returns the first label of the host. Unique: it covers all properties.
    pub(crate) fn to_label(&self) -> String {
        let fed_config = &self.fed_config;
        names::shared_host_label(&[
            &self.namespace,
            &self.to_string(),
            &fed_config.namespace,
            &fed_config.name,
        ])
    }
}

/// Names all properties but MeshFedConfig and namespace. Valid as a label's value, unless it is too long.
impl std::fmt::Display for SharedHostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = if self.is_http { "http" } else { "tls" };
        write!(f, "{protocol}-{}", self.port)?;
        match &*self.export_to {
            "*" => f.write_str(".mesh")?,
            "." => f.write_str(".own")?,
            namespace => write!(f, ".ns-{namespace}")?,
        }
        match (self.through_egress, &self.peer) {
            (true, _) => f.write_str(".egress")?,
            (false, None) => f.write_str(".spec")?,
            (false, Some(peer)) => write!(f, ".peer-{peer}")?,
        }
        write!(f, ".{}.{}", if self.has_host_names { "dns" } else { "static" }, self.number)
    }
}

/// Returns the `exportTo` value of objects in `namespace`: elsewhere than in the binding's namespace, `.` would export
/// to the wrong one.
pub(crate) fn export_to(binding: &Binding, namespace: &str) -> String {
    let own = &binding.identity.key.namespace;
    match binding.export_scope {
        ExportScope::Mesh => "*".to_owned(),
        ExportScope::Namespace if **own == *namespace => ".".to_owned(),
        ExportScope::Namespace => own.to_string(),
    }
}

impl BoundService<'_> {
    /// Returns the shared host if calls use it, or `None` if the binding has the binding host for itself.
    pub(crate) fn used_shared_host(&self) -> Option<&SharedHostKey> {
        let shared = self.shared_host.as_deref().filter(|_| !self.binding.has_own_host())?;
        let fits = shared.through_egress || self.endpoints.len() <= MAX_SHARED_ENDPOINTS;
        fits.then_some(shared)
    }

    /// Returns the host and the subset to which the facade routes.
    pub(crate) fn route_destination(&self) -> (String, String) {
        match self.used_shared_host() {
            Some(shared) => (shared.to_host(), self.shared_subset()),
            None => (self.host.clone(), TLS_SUBSET.to_owned()),
        }
    }

    /// Returns the name of the subset of the shared host.
    pub(crate) fn shared_subset(&self) -> String {
        let key = &self.binding.identity.key;
        names::binding_subset(&key.name, &key.namespace)
    }

    /// Returns what the binding contributes to the ServiceEntry of its shared host. It does so even while it uses its own
    /// host: if the number of its endpoints changes back and forth, the shared host always has endpoints for the routes
    /// that sidecars still have.
    pub(crate) fn shared_member(&self) -> Option<SharedHostMember> {
        let shared = self.shared_host.as_deref()?;
        // The egress gateway's pods are the endpoints of all bindings.
        let endpoints = if shared.through_egress { &[] } else { &self.endpoints[..] };
        let endpoints = endpoints.iter().take(MAX_SHARED_ENDPOINTS).cloned().collect();
        Some(SharedHostMember { subset: self.shared_subset(), endpoints })
    }
}
