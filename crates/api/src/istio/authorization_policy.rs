//! `security/v1beta1/authorization_policy.proto`

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, WorkloadSelector, enumeration::proto_enum, is_unset};

/// `istio.security.v1beta1.AuthorizationPolicy`: who may talk to workloads.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "security.istio.io", version = "v1", kind = "AuthorizationPolicy")]
#[kube(plural = "authorizationpolicies", namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// Pods of its namespace that it is for; none means all.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub selector: Option<WorkloadSelector>,
    /// It matches if any of these does; so without a rule never, and with an empty rule always.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub rules: Vec<Rule>,
    /// What a match means.
    #[prost(enumeration = "Action", tag = "3")]
    #[serde(with = "ProtoName::<Action>")]
    #[serde(skip_serializing_if = "ProtoName::<Action>::is_nameless")]
    pub action: i32,
}

/// `istio.security.v1beta1.Rule`: all that is given must match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// Any of these callers.
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub from: Vec<RuleFrom>,
    /// Any of these operations.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub to: Vec<RuleTo>,
    /// All of these conditions.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub when: Vec<RuleCondition>,
}

/// `istio.security.v1beta1.Rule.From`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleFrom {
    /// The caller.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub source: Option<Source>,
}

/// `istio.security.v1beta1.Rule.To`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleTo {
    /// The operation.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub operation: Option<Operation>,
}

/// `istio.security.v1beta1.Source`: all that is given must match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// `<trust domain>/ns/<namespace>/sa/<account>`, where `*` may stand first or last.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub principals: Vec<String>,
    /// None of these principals.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_principals: Vec<String>,
    /// The caller's namespace, whatever its trust domain.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub namespaces: Vec<String>,
    /// None of these namespaces.
    #[prost(string, repeated, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_namespaces: Vec<String>,
}

/// `istio.security.v1beta1.Operation`: all that is given must match.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// The request's `Host`, for HTTP only.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// None of these hosts.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_hosts: Vec<String>,
    /// Ports of the workload, as strings.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: Vec<String>,
    /// None of these ports.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_ports: Vec<String>,
}

/// `istio.security.v1beta1.Condition`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleCondition {
    /// An attribute, such as `connection.sni`.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub key: String,
    /// Any of these.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub values: Vec<String>,
    /// None of these.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub not_values: Vec<String>,
}

proto_enum! {
    /// `istio.security.v1beta1.AuthorizationPolicy.Action`.
    Action {
        /// Allowed if any `ALLOW` policy of the workload matches.
        Allow = 0 => "ALLOW",
        /// Refused, whatever others allow.
        Deny = 1 => "DENY",
        /// Only logged.
        Audit = 2 => "AUDIT",
        /// An extension decides.
        Custom = 3 => "CUSTOM",
    }
}
