//! Types of `security/v1beta1/authorization_policy.proto`.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, WorkloadSelector, enumeration::proto_enum, is_unset};

/// `istio.security.v1beta1.AuthorizationPolicy`: which clients may call workloads.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "security.istio.io", version = "v1", kind = "AuthorizationPolicy")]
#[kube(plural = "authorizationpolicies", namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// Pods of the policy's namespace to which it applies; `None` means all.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub selector: Option<WorkloadSelector>,
    /// The policy matches if any of these rules matches. Without rules it never matches; an empty rule always
    /// matches.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub rules: Vec<Rule>,
    /// Effect of a match.
    #[prost(enumeration = "Action", tag = "3")]
    #[serde(with = "ProtoName::<Action>")]
    #[serde(skip_serializing_if = "ProtoName::<Action>::is_nameless")]
    pub action: i32,
}

/// `istio.security.v1beta1.Rule`: matches if all given parts match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// The request comes from any of these callers.
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub from: Vec<RuleFrom>,
    /// The request is any of these operations.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub to: Vec<RuleTo>,
    /// All of these conditions hold.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub when: Vec<RuleCondition>,
}

/// `istio.security.v1beta1.Rule.From`: wraps the description of a caller.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleFrom {
    /// The caller that this item describes.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub source: Option<Source>,
}

/// `istio.security.v1beta1.Rule.To`: wraps the description of an operation.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleTo {
    /// The operation that this item describes.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub operation: Option<Operation>,
}

/// `istio.security.v1beta1.Source`: matches if all given fields match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// Principals, as `<trust domain>/ns/<namespace>/sa/<account>`. `*` may be the first or the last
    /// character.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub principals: Vec<String>,
    /// The caller has none of these principals.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_principals: Vec<String>,
    /// Namespaces of the caller, in any trust domain.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub namespaces: Vec<String>,
    /// The caller is in none of these namespaces.
    #[prost(string, repeated, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_namespaces: Vec<String>,
}

/// `istio.security.v1beta1.Operation`: matches if all given fields match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// Values of the request's `Host`, for HTTP only.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// The request has none of these hosts.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_hosts: Vec<String>,
    /// Ports of the workload, as strings.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: Vec<String>,
    /// The request uses none of these ports.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_ports: Vec<String>,
}

/// `istio.security.v1beta1.Condition`: a requirement on one attribute of a request.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleCondition {
    /// An attribute, such as `connection.sni`.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub key: String,
    /// The attribute has any of these values.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub values: Vec<String>,
    /// The attribute has none of these values.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_values: Vec<String>,
}

proto_enum! {
    /// `istio.security.v1beta1.AuthorizationPolicy.Action`.
    Action {
        /// Allows the request if any `ALLOW` policy of the workload matches.
        Allow = 0 => "ALLOW",
        /// Denies the request, even if other policies allow it.
        Deny = 1 => "DENY",
        /// Only logs the request.
        Audit = 2 => "AUDIT",
        /// An external authorization provider decides.
        Custom = 3 => "CUSTOM",
    }
}
