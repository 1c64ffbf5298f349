//! Guards of an egress gateway, which spends the relationship's certificate for whoever may call it.

use std::collections::BTreeMap;

use emcee_api::istio::{Action, AuthorizationPolicySpec, Rule, RuleCondition, RuleFrom, Source};
use k8s_openapi::api::networking::v1::{NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::istio::object;
use crate::labels::Labels;
use crate::parse::Visibility;
use crate::plan::{Body, Object};
use crate::resolve::Consumption;

/// Only callers that may see the binding, and of this mesh's own trust domain, are let through to L.
///
/// A DENY of all others, for this server name alone: an ALLOW would refuse everybody else's traffic on a gateway
/// that is shared.
pub(crate) fn callers_of(remote: &Consumption<'_>) -> Object {
    let key = &remote.binding.identity.key;
    let trust_domain = remote.trust_domain;
    let callers = match remote.binding.visibility {
        Visibility::Mesh => format!("{trust_domain}/*"),
        Visibility::Namespace => format!("{trust_domain}/ns/{}/*", key.namespace),
    };
    let others = Source { not_principals: vec![callers], ..Source::default() };
    let server_name = RuleCondition {
        key: "connection.sni".into(),
        values: vec![remote.host.clone()],
        ..RuleCondition::default()
    };
    let rule =
        Rule { from: vec![RuleFrom { source: Some(others) }], when: vec![server_name], ..Rule::default() };
    let (namespace, labels) =
        remote.egress.map_or((&key.namespace, BTreeMap::new()), |e| (&e.namespace, e.labels.to_map()));
    let policy = AuthorizationPolicySpec {
        selector: Some(labels.into()),
        rules: vec![rule],
        action: Action::Deny.into(),
    };
    object(
        namespace,
        remote.owner.base().to_owned(),
        &remote.owner,
        Body::AuthorizationPolicy(Box::new(policy)),
    )
}

/// Only pods of this cluster reach the gateway's pods.
pub(crate) fn only_this_cluster(labels: &Labels) -> Body {
    let pods_of_all_namespaces = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    Body::NetworkPolicy(Box::new(NetworkPolicySpec {
        pod_selector: Some(selector(labels)),
        policy_types: Some(vec!["Ingress".into()]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(vec![pods_of_all_namespaces]),
            ports: None,
        }]),
        egress: None,
    }))
}

fn selector(labels: &Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels.to_map()), match_expressions: None }
}
