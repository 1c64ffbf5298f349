//! Istio kinds that Emcee writes or reads. Each is **one** struct that is a protobuf message, a serde type
//! and a Kubernetes resource, so the objects applied to Kubernetes and those pushed over MCP cannot differ.
//!
//! The types are subsets of `istio.io/api` with its field numbers: the fields that Emcee sets, and those that
//! it reads from users' objects. Unknown fields and unknown enum names in users' objects are tolerated. A
//! `oneof` of Istio would become optional fields here, which have the same encoding on the wire.
//!
//! JSON omits what Istio treats as unset, except where the default helps a reader (`mode: PASSTHROUGH`) or
//! where presence has a meaning (`retries: {attempts: 0}`).

mod authorization_policy;
mod destination_rule;
mod duration;
mod enumeration;
mod gateway;
mod peer_authentication;
mod selector;
mod service_entry;
mod virtual_service;
mod workload_entry;

#[cfg(test)]
mod tests;

pub use authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationPolicySpec, Operation, Rule, RuleCondition, RuleFrom, RuleTo,
    Source,
};
pub use destination_rule::{
    ClientTls, ClientTlsMode, ConnectionPool, DestinationRule, DestinationRuleSpec, HttpSettings,
    OutlierDetection, PortTrafficPolicy, Subset, TcpSettings, TrafficPolicy,
};
pub use duration::{Duration, ParseDurationError};
pub use enumeration::{ProtoEnum, ProtoName};
pub use gateway::{Gateway, GatewaySpec, Port, Server, ServerTls, ServerTlsMode, TlsVersion};
pub use peer_authentication::{MutualTls, MutualTlsMode, PeerAuthentication, PeerAuthenticationSpec};
pub use selector::{PortSelector, WorkloadLabels, WorkloadSelector};
pub use service_entry::{Endpoint, Location, Resolution, ServiceEntry, ServiceEntrySpec, ServicePort};
pub use virtual_service::{
    Destination, HeaderOperations, Headers, HttpMatch, HttpRetry, HttpRewrite, HttpRoute,
    HttpRouteDestination, L4Match, RouteDestination, TcpRoute, TlsMatch, TlsRoute, VirtualService,
    VirtualServiceSpec,
};
pub use workload_entry::{WorkloadEntry, WorkloadEntrySpec};

/// Spec of an Istio kind: the protobuf message that MCP carries in an `Any`.
pub trait IstioSpec: prost::Message + Default {
    /// Type URL of that `Any`.
    const TYPE_URL: &'static str;
}

macro_rules! type_urls {
    ($($spec:ident = $message:literal,)+) => {
        $(impl IstioSpec for $spec {
            const TYPE_URL: &'static str = concat!("type.googleapis.com/", $message);
        })+
    };
}

type_urls! {
    AuthorizationPolicySpec = "istio.security.v1beta1.AuthorizationPolicy",
    DestinationRuleSpec = "istio.networking.v1alpha3.DestinationRule",
    GatewaySpec = "istio.networking.v1alpha3.Gateway",
    PeerAuthenticationSpec = "istio.security.v1beta1.PeerAuthentication",
    ServiceEntrySpec = "istio.networking.v1alpha3.ServiceEntry",
    VirtualServiceSpec = "istio.networking.v1alpha3.VirtualService",
    WorkloadEntrySpec = "istio.networking.v1alpha3.WorkloadEntry",
}

/// Whether proto3 omits the field on the wire. JSON then omits it too.
fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
