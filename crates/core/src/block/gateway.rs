//! Gateway that Emcee creates: a Deployment that Istio's injector completes, and the objects that belong to
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::{ServiceType, labels};
use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext,
    ServicePort, ServiceSpec,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::egress_policy;
use super::istio::new_object;
use crate::mode::GatewaySide;
use crate::parse::FedConfig;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner};
use crate::resolve::{ResolvedGateway, created_name};

/// Builds the objects of a created gateway.
pub(crate) fn objects(
    owner: &Arc<ObjectOwner>,
    config: &FedConfig,
    gateway: &ResolvedGateway,
    revision: Option<&str>,
) -> Vec<GeneratedObject> {
    let name = created_name(owner, gateway.side);
    let mut bodies = vec![
        ObjectContent::ServiceAccount,
        ObjectContent::Service(Box::new(service_spec(config, gateway))),
        ObjectContent::Deployment(Box::new(deployment_spec(config, gateway, &name, revision))),
        ObjectContent::PodDisruptionBudget(Box::new(disruption_budget(gateway))),
    ];
    // Only a gateway that terminates TLS needs the relationship's key.
    if config.mode.terminates_tls() {
        bodies.push(ObjectContent::Role(vec![read_secrets_rule()]));
        bodies.push(role_binding(&name, &gateway.namespace));
    }
    // An egress gateway presents the relationship's certificate, so clients outside of the cluster must not
    // reach it.
    if gateway.side == GatewaySide::Egress {
        bodies.push(egress_policy::allow_cluster_pods(&gateway.labels));
    }
    bodies.into_iter().map(|body| new_object(&gateway.namespace, name.clone(), owner, body)).collect()
}

/// Allows the pod to list Secrets. istiod gives a gateway its key only if the pod's own ServiceAccount may
/// list Secrets in its namespace (`pilot/pkg/credentials/kube/secrets.go`).
fn read_secrets_rule() -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["secrets".into()]),
        verbs: ["get", "list", "watch"].map(String::from).into(),
        ..PolicyRule::default()
    }
}

fn role_binding(name: &str, namespace: &str) -> ObjectContent {
    let role =
        RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: "Role".into(), name: name.to_owned() };
    let subject = Subject {
        kind: "ServiceAccount".into(),
        name: name.to_owned(),
        namespace: Some(namespace.to_owned()),
        api_group: None,
    };
    ObjectContent::RoleBinding(role, vec![subject])
}

fn service_spec(config: &FedConfig, gateway: &ResolvedGateway) -> ServiceSpec {
    // Only this cluster calls an egress gateway, so its Service is never exposed.
    let kind = match (gateway.side, config.ingress_service_type) {
        (GatewaySide::Egress, _) | (_, ServiceType::ClusterIP) => "ClusterIP",
        (_, ServiceType::LoadBalancer) => "LoadBalancer",
        (_, ServiceType::NodePort) => "NodePort",
    };
    let port = ServicePort {
        name: Some("tls".into()),
        port: gateway.port.into(),
        target_port: Some(IntOrString::Int(gateway.target_port.into())),
        app_protocol: Some("tls".into()),
        ..ServicePort::default()
    };
    ServiceSpec {
        type_: Some(kind.into()),
        selector: Some(gateway.labels.to_map()),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    }
}

fn disruption_budget(gateway: &ResolvedGateway) -> PodDisruptionBudgetSpec {
    PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(label_selector(gateway)),
        ..PodDisruptionBudgetSpec::default()
    }
}

fn deployment_spec(
    config: &FedConfig,
    gateway: &ResolvedGateway,
    name: &str,
    revision: Option<&str>,
) -> DeploymentSpec {
    let mut pod_labels = gateway.labels.to_map();
    // These labels are on the pods only. The selector of a Deployment is immutable, so it must not depend on
    // the revision.
    pod_labels.insert("sidecar.istio.io/inject".into(), "true".into());
    if let Some(revision) = revision {
        pod_labels.insert(labels::ISTIO_REVISION.into(), revision.to_owned());
    }
    let metadata = ObjectMeta {
        labels: Some(pod_labels),
        annotations: Some(BTreeMap::from([("inject.istio.io/templates".into(), "gateway".into())])),
        ..ObjectMeta::default()
    };
    DeploymentSpec {
        replicas: Some(config.replicas),
        selector: label_selector(gateway),
        template: PodTemplateSpec { metadata: Some(metadata), spec: Some(pod_spec(name)) },
        ..DeploymentSpec::default()
    }
}

/// Builds the pod template. The injection template looks for this name and image of the container.
fn pod_spec(service_account: &str) -> PodSpec {
    let proxy = Container {
        name: "istio-proxy".into(),
        image: Some("auto".into()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    PodSpec {
        service_account_name: Some(service_account.to_owned()),
        // istiod checks the permissions of this account; the proxy never calls the API server. The injection
        // template adds a separate volume with the token for istiod (`istio-token`).
        automount_service_account_token: Some(false),
        containers: vec![proxy],
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn label_selector(gateway: &ResolvedGateway) -> LabelSelector {
    LabelSelector { match_labels: Some(gateway.labels.to_map()), match_expressions: None }
}
