//! Condition types, and the list of reasons that status, events, metrics and the command line share.

use serde::{Deserialize, Serialize};

/// Condition: the resource is valid.
pub const ACCEPTED: &str = "Accepted";
/// Condition: the Istio objects are in place.
pub const PROGRAMMED: &str = "Programmed";
/// Condition: accepted, programmed, and the gateway has an address.
pub const READY: &str = "Ready";
/// Condition of a MeshFedConfig: its certificate is complete, fits its key and CA, and is in force.
pub const CERTIFICATE_VALID: &str = "CertificateValid";

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Reason of a condition. If the condition is true, or is a warning, the reason is the condition's type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the reason as written in a condition, an event or a metric.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// Condition `Accepted` is true: the resource is valid.
    Accepted,
    /// Condition `Programmed` is true: all objects are in place.
    Programmed,
    /// Condition `Ready` is true: the resource can be reached.
    Ready,
    /// Condition `CertificateValid` is true: the relationship's certificate is complete and in force.
    CertificateValid,
    /// A field is missing or has an invalid value.
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
    /// A listed peer is not a peer of the relationship.
    UnknownPeer,
    /// An older exposition has the same server name, or an older binding relays that name to another
    /// destination.
    ServerNameConflict,
    /// A Service of that name is not managed by Emcee, or an older binding has that port.
    FacadeConflict,
    /// There are more items than allowed: the oldest ones are kept. As a warning: some items are left out.
    LimitExceeded,
    /// The Service does not exist.
    ServiceNotFound,
    /// The Service has no such port.
    PortNotFound,
    /// The Service, or the DestinationRule for its subset, is not exported to the gateway's namespace.
    NotExported,
    /// A named target port does not have the same number in all pods.
    TargetPortUnknown,
    /// No DestinationRule for the Service defines that subset.
    SubsetNotFound,
    /// The port also accepts plaintext, which an unauthenticated client could send through the gateway.
    NotStrict,
    /// The Service has an address that does not belong to its namespace.
    ForeignAddress,
    /// A DestinationRule would make the ingress gateway use TLS settings of the rule's choice for the exposed
    /// host.
    ForeignCredential,
    /// A pod has no sidecar that would require a client certificate.
    NoSidecar,
    /// The binding gives no endpoints, and no peer announces the remote service.
    NotDiscovered,
    /// The peer no longer announces the remote service.
    Withdrawn,
    /// Several peers announce the remote service, and the binding names none of them.
    AmbiguousPeer,
    /// The style of an announcement differs from the style of the relationship.
    StyleMismatch,
    /// An announcement has content that Emcee never announces, or exceeds a limit.
    AnnouncementInvalid,
    /// An announced address is outside the addresses that the peer may announce.
    AddressNotAllowed,
    /// An endpoint in a ServiceBinding is outside the endpoints that the MeshFedConfig allows.
    EndpointNotAllowed,
    /// The MeshFedConfig does not allow the server name in a ServiceBinding.
    ServerNameNotAllowed,
    /// An announced identity is outside the identities that the peer may announce.
    IdentityNotAllowed,
    /// The style requires the identities of the remote service.
    IdentityNeeded,
    /// No Secret, or more than one, has the labels of `tls_context_selector`.
    NoSecret,
    /// The certificate, key or CA cannot be used.
    CertificateInvalid,
    /// A Secret with the credential's name and a CA suffix replaces the credential's CA at a gateway.
    ShadowedCA,
    /// The gateway pods are in a namespace that the operator did not allow.
    GatewayNamespaceNotAllowed,
    /// Gateway pods with these labels are in more than one namespace.
    GatewayAmbiguous,
    /// No Service of the gateway has that port.
    GatewayPortClosed,
    /// The relationship cannot be used.
    RelationshipNotReady,
    /// The gateway has no address yet.
    NoAddress,
    /// An object of that name exists and is not managed by Emcee.
    Conflict,
    /// The API server or a webhook rejected an object, or was unable to process it.
    ApplyFailed,
    /// The API server does not know an Istio kind: its CRD is not installed.
    KindMissing,
    /// Emcee does not have permission to write an object.
    Forbidden,
    /// Warning: no gateway pods have the selected labels, so Emcee creates a gateway.
    GatewayCreated,
    /// Warning: no peers are listed, so any certificate of the CA is accepted.
    AnyPeer,
    /// Warning: the relationship does not list the namespaces that may use it, so users of every namespace may.
    AnyNamespace,
    /// Warning: the networks of a peer contain every address.
    AnyNetwork,
    /// Warning: this mesh's certificate has a name that the MeshFedConfig lists for a peer.
    PeerCertificate,
    /// Warning: services are imported automatically, but no namespace is listed for them.
    NoImportNamespace,
    /// Warning: several roots can each issue any peer's name.
    SharedTrust,
    /// Warning: an end-to-end peer shares this mesh's trust domain and could use a BOUNDARY egress.
    SharedTrustDomain,
    /// Warning: this mesh's sidecars reject the callers of an end-to-end peer, because its trust domain is
    /// not an alias of this mesh's own.
    TrustDomainNotAccepted,
    /// Warning: no gateway controls access; any client that can reach a pod's address can call it.
    NotConfined,
    /// Warning: another relationship has its Secret or gateways in the same namespace.
    SharedNamespace,
    /// Warning: a gateway that Emcee did not create holds the relationship's key.
    SharedGateway,
    /// Warning: discovery does not go through the egress gateway.
    DiscoveryDirect,
    /// Warning: calls from peers are sent to addresses that are not known pods.
    Unguarded,
    /// Warning: in this style `peers` limits the announcement, not who can call.
    CallersNotLimited,
    /// Warning: the remote service's identity is unknown, so any identity of the root of trust is accepted.
    AnyIdentity,
    /// Warning: no port was given or announced, so 5000 is used.
    DefaultPort,
    /// Warning: the peer's workloads have different root certificates than this mesh's workloads.
    RootsDiffer,
    /// Warning: the peer is unreachable, and its last announcements stay in use.
    PeerLost,
    /// Warning: this mesh rejects some of the announcements of a peer.
    AnnouncementRefused,
    /// Warning: a peer rejects some of the announcements of this mesh.
    RefusedByPeer,
    /// Warning: some announced services are not imported, because their name is already in use.
    NameHeld,
    /// Warning: services are announced for a namespace that is configured for automatic import but does not
    /// exist.
    NamespaceMissing,
    /// Warning: more services are announced than the import limit allows.
    ImportLimit,
    /// Warning: a Service that points to a discovery server does not say to which peer it belongs.
    DiscoveryIgnored,
    /// Warning: this cluster's own networks are unknown.
    OwnNetworksUnknown,
    /// Warning: a field of the first prototype is set and ignored.
    FieldIgnored,
    /// Warning: an object is not among the files, so Emcee makes an assumption about it.
    Assumed,
    /// Warning: the certificate expires soon.
    CertificateExpiring,
    /// Warning: a CRL in the Secret is past its `nextUpdate`, so gateways refuse the certificates of its CA.
    CrlExpired,
    /// Warning: the Secret has CRLs, but none for one of its CAs, so gateways refuse the certificates of that
    /// CA.
    CrlMissing,
    /// Warning: the certificate has a wildcard name, which gateways accept as any name that it covers.
    WildcardName,
    /// Warning: a peer announces another port or protocol for an import than the one in use.
    AnnouncementChanged,
}
