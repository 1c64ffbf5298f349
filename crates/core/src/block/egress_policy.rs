//! Policies that protect an egress gateway, which presents the relationship's certificate on behalf of every
//! caller that it admits.

use std::collections::BTreeMap;

use emcee_api::istio::{Action, AuthorizationPolicySpec, Rule, RuleCondition, RuleFrom, Source};
use k8s_openapi::api::networking::v1::{NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::istio::new_object;
use crate::labels::Labels;
use crate::parse::ExportScope;
use crate::plan::{GeneratedObject, ObjectContent};
use crate::resolve::BoundService;

/// Builds the AuthorizationPolicy that admits only callers that may see the binding, and only of this mesh's
/// own trust domain, to the binding host.
///
/// It is a DENY policy for all other callers, limited to this server name. An ALLOW policy would reject all
/// other traffic on a shared gateway.
pub(crate) fn deny_other_callers(remote: &BoundService<'_>) -> GeneratedObject {
    let key = &remote.binding.identity.key;
    let trust_domain = remote.trust_domain;
    let callers = match remote.binding.export_scope {
        ExportScope::Mesh => format!("{trust_domain}/*"),
        ExportScope::Namespace => format!("{trust_domain}/ns/{}/*", key.namespace),
    };
    let others = Source { not_principals: vec![callers], ..Source::default() };
    let server_name = RuleCondition {
        key: "connection.sni".into(),
        values: vec![remote.host.clone()],
        ..RuleCondition::default()
    };
    let rule =
        Rule { from: vec![RuleFrom { source: Some(others) }], when: vec![server_name], ..Rule::default() };
    // Without an egress gateway there is nothing to protect. The fallback only keeps this function total.
    let (namespace, labels) =
        remote.egress.map_or((&key.namespace, BTreeMap::new()), |e| (&e.namespace, e.labels.to_map()));
    let policy = AuthorizationPolicySpec {
        selector: Some(labels.into()),
        rules: vec![rule],
        action: Action::Deny.into(),
    };
    new_object(
        namespace,
        remote.owner.base_name().to_owned(),
        &remote.owner,
        ObjectContent::AuthorizationPolicy(Box::new(policy)),
    )
}

/// Builds the NetworkPolicy that admits only pods of this cluster to the gateway's pods.
pub(crate) fn allow_cluster_pods(labels: &Labels) -> ObjectContent {
    // An empty namespace selector matches all namespaces of this cluster. Addresses outside of the cluster do
    // not match.
    let pods_of_all_namespaces = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    ObjectContent::NetworkPolicy(Box::new(NetworkPolicySpec {
        pod_selector: Some(label_selector(labels)),
        policy_types: Some(vec!["Ingress".into()]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(vec![pods_of_all_namespaces]),
            ports: None,
        }]),
        egress: None,
    }))
}

fn label_selector(labels: &Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels.to_map()), match_expressions: None }
}
