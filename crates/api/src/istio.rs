//! The Istio kinds that Emcee writes or reads, each as **one** struct that is a protobuf message, a
//! serde type and a Kubernetes resource, so what is applied to Kubernetes and what is pushed over MCP
//! cannot differ.
//!
//! They are typed subsets of `istio.io/api` with its field numbers: the fields Emcee sets, and those it
//! must see in users' objects. Unknown fields and unknown enum names of users' objects are tolerated.
//! A `oneof` of Istio's would be optional fields here, which is the same on the wire.
//!
//! JSON leaves out what Istio takes as unset, except where a reader gains from seeing the default
//! (`mode: PASSTHROUGH`) or where presence means something (`retries: {attempts: 0}`).

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

/// The spec of an Istio kind: the protobuf message that MCP carries in an `Any`.
pub trait IstioSpec: prost::Message + Default {
    /// The type URL of that `Any`.
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

/// Whether proto3 would leave the field out, as JSON then does.
fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
