//! Condition types, and the one list of reasons that status, events, metrics and the command line share.

use serde::{Deserialize, Serialize};

/// Condition: the resource makes sense.
pub const ACCEPTED: &str = "Accepted";
/// Condition: the Istio objects are in place.
pub const PROGRAMMED: &str = "Programmed";
/// Condition: accepted, programmed, and the gateway has an address.
pub const READY: &str = "Ready";
/// Condition of a MeshFedConfig: its certificate is complete, fits its key and CA, and is in force.
pub const CERTIFICATE_VALID: &str = "CertificateValid";

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition is as it is. A warning is a condition whose type is the reason itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason as it stands in a condition, an event or a metric.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// Nothing is wrong.
    Fine,
    /// A field is missing or wrong.
    Invalid,
    /// An older MeshFedConfig has the same relationship name.
    RelationshipConflict,
    /// No MeshFedConfig has the selected labels.
    NoMeshFedConfig,
    /// A binding selects more than one MeshFedConfig.
    AmbiguousMeshFedConfig,
    /// The MeshFedConfig does not allow this namespace.
    NamespaceNotAllowed,
    /// The relationship does not use the gateway that this needs.
    GatewayNotUsed,
    /// A named peer is not one of the relationship.
    UnknownPeer,
    /// An older exposition has the same server name, or an older binding relays it from elsewhere.
    ServerNameConflict,
    /// A Service of that name is somebody else's, or an older binding has that port.
    FacadeConflict,
    /// There is more of something than is taken: the oldest keep their place. As a warning: a part is left out.
    LimitExceeded,
    /// The Service does not exist.
    ServiceNotFound,
    /// The Service has no such port.
    PortNotFound,
    /// The gateway's namespace does not see the Service, or the rule for its subset.
    NotExported,
    /// A named target port is not one number in all pods.
    TargetPortUnknown,
    /// No DestinationRule for the Service defines that subset.
    SubsetNotFound,
    /// The port also accepts plaintext, which a passed-through stranger could use.
    NotStrict,
    /// The Service leads to an address that is somebody else's.
    ForeignAddress,
    /// A DestinationRule would have the ingress gateway speak TLS of the rule's choice to the exposed host.
    ForeignCredential,
    /// A pod has no sidecar to ask for a certificate.
    NoSidecar,
    /// Neither given nor announced where the remote service is.
    NotDiscovered,
    /// The peer no longer announces the remote service.
    Withdrawn,
    /// Several peers announce the remote service, and the binding names none of them.
    AmbiguousPeer,
    /// An announcement is of another style than the relationship.
    StyleMismatch,
    /// An announcement says something that no Emcee announces, or too much of it.
    AnnouncementInvalid,
    /// An announced address is none of those that the peer may announce.
    AddressNotAllowed,
    /// An endpoint in a ServiceBinding is none of those that the MeshFedConfig allows.
    EndpointNotAllowed,
    /// A server name in a ServiceBinding is none of those that the MeshFedConfig allows.
    ServerNameNotAllowed,
    /// An announced identity is none of those that the peer may announce.
    IdentityNotAllowed,
    /// The style needs the identities of the remote service.
    IdentityNeeded,
    /// No Secret, or more than one, has the labels of `tls_context_selector`.
    NoSecret,
    /// The certificate, key or CA cannot be used.
    CertificateInvalid,
    /// A Secret next to the credential replaces its CA at a gateway.
    ShadowedCA,
    /// The gateway pods are in a namespace that the operator did not allow.
    GatewayNamespaceNotAllowed,
    /// Gateway pods with these labels are in more than one namespace.
    GatewayAmbiguous,
    /// No Service of the gateway has that port.
    GatewayPortClosed,
    /// The relationship itself is not usable.
    RelationshipNotReady,
    /// The gateway has no address yet.
    NoAddress,
    /// An object of that name is somebody else's.
    Conflict,
    /// The API server, or a webhook, refused an object, or could not take it.
    ApplyFailed,
    /// The API server does not know a kind of Istio's: its CRD is not installed.
    KindMissing,
    /// Emcee has no right to write an object.
    Forbidden,
    /// Warning: no gateway pods have the selected labels, so Emcee creates a gateway.
    GatewayCreated,
    /// Warning: no peers are listed, so any certificate of the CA is accepted.
    AnyPeer,
    /// Warning: several roots can each issue any peer's name.
    SharedTrust,
    /// Warning: an end-to-end peer shares this mesh's trust domain and could use a BOUNDARY egress.
    SharedTrustDomain,
    /// Warning: this mesh's sidecars refuse the callers of an end-to-end peer, whose trust domain is no alias of its own.
    TrustDomainNotAccepted,
    /// Warning: no gateway stands between; whoever reaches a pod's address reaches it.
    NotConfined,
    /// Warning: another relationship has its Secret or gateways in the same namespace.
    SharedNamespace,
    /// Warning: a gateway that Emcee did not create holds the relationship's key.
    SharedGateway,
    /// Warning: discovery does not go through the egress gateway.
    DiscoveryDirect,
    /// Warning: calls of peers are sent to addresses that are no known pods.
    Unguarded,
    /// Warning: in this style `peers` limits the announcement, not who can call.
    CallersNotLimited,
    /// Warning: the remote service's identity is not known, so any of the root is accepted.
    AnyIdentity,
    /// Warning: no port was given or announced, so 5000 is used.
    DefaultPort,
    /// Warning: the peer's workloads have other root certificates than this mesh's.
    RootsDiffer,
    /// Warning: the peer cannot be reached, and what it last announced stays.
    PeerLost,
    /// Warning: some of what a peer announces is refused here.
    AnnouncementRefused,
    /// Warning: a peer refuses some of what is announced to it.
    RefusedByPeer,
    /// Warning: some announced services are not imported, as somebody else has the name.
    NameHeld,
    /// Warning: services are announced for a namespace of automatic import that does not exist.
    NamespaceMissing,
    /// Warning: more services are announced than may be imported.
    ImportLimit,
    /// Warning: a Service that names a discovery server does not say which peer's.
    DiscoveryIgnored,
    /// Warning: nothing is known of this cluster's own networks.
    OwnNetworksUnknown,
    /// Warning: a field of the first prototype is ignored.
    FieldIgnored,
    /// Warning: an object is not among the files, and something is assumed of it.
    Assumed,
    /// Warning: the certificate expires soon.
    CertificateExpiring,
    /// Warning: a CRL in the Secret is past its `nextUpdate`, so gateways refuse the certificates of its CA.
    CrlExpired,
    /// Warning: there are CRLs in the Secret, and none of one of its CAs, so gateways refuse the certificates of that CA.
    CrlMissing,
    /// Warning: the certificate has a wildcard name, which gateways accept as any name that it covers.
    WildcardName,
    /// Warning: a peer announces another port or protocol for an import than the one in use.
    AnnouncementChanged,
}
