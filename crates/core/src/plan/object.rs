//! A generated object and its Kubernetes form.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::istio::{
    AuthorizationPolicySpec, DestinationRuleSpec, GatewaySpec, ServiceEntrySpec, VirtualServiceSpec,
};
use emcee_api::{ServiceBindingSpec, ServiceExpositionSpec};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{Kind, Owner, OwnerKind};
use crate::inputs::KeyMaterial;

/// A generated object: owner, name and content. Serializes as the Kubernetes object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: String,
    /// The owner for which it is generated.
    pub owner: Arc<Owner>,
    /// Annotations of the object.
    pub annotations: BTreeMap<String, String>,
    /// Kind and content of the object.
    pub body: Body,
}

/// Content of a [`GeneratedObject`].
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `v1 ServiceAccount`
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1 Role`
    Role(Vec<PolicyRule>),
    /// `rbac.authorization.k8s.io/v1 RoleBinding`
    RoleBinding(RoleRef, Vec<Subject>),
    /// `v1 Secret` of type `kubernetes.io/tls`, with the CA in `ca.crt`
    Secret(KeyMaterial),
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy(Box<NetworkPolicySpec>),
    /// `policy/v1 PodDisruptionBudget`
    PodDisruptionBudget(Box<PodDisruptionBudgetSpec>),
    /// `security.istio.io/v1 AuthorizationPolicy`
    AuthorizationPolicy(Box<AuthorizationPolicySpec>),
    /// `networking.istio.io/v1 DestinationRule`
    DestinationRule(Box<DestinationRuleSpec>),
    /// `networking.istio.io/v1 ServiceEntry`
    ServiceEntry(Box<ServiceEntrySpec>),
    /// `apps/v1 Deployment`
    Deployment(Box<DeploymentSpec>),
    /// `v1 Service`
    Service(Box<ServiceSpec>),
    /// `networking.istio.io/v1 VirtualService`
    VirtualService(Box<VirtualServiceSpec>),
    /// `networking.istio.io/v1 Gateway`
    Gateway(Box<GatewaySpec>),
    /// `mm.ibm.istio.io/v1 ServiceExposition`
    ServiceExposition(Box<ServiceExpositionSpec>),
    /// `mm.ibm.istio.io/v1 ServiceBinding`
    ServiceBinding(Box<ServiceBindingSpec>),
}

impl Object {
    /// Returns the kind of the object.
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::ServiceAccount => Kind::ServiceAccount,
            Body::Role(_) => Kind::Role,
            Body::RoleBinding(..) => Kind::RoleBinding,
            Body::Secret(_) => Kind::Secret,
            Body::NetworkPolicy(_) => Kind::NetworkPolicy,
            Body::PodDisruptionBudget(_) => Kind::PodDisruptionBudget,
            Body::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Body::DestinationRule(_) => Kind::DestinationRule,
            Body::ServiceEntry(_) => Kind::ServiceEntry,
            Body::Deployment(_) => Kind::Deployment,
            Body::Service(_) => Kind::Service,
            Body::VirtualService(_) => Kind::VirtualService,
            Body::Gateway(_) => Kind::Gateway,
            Body::ServiceExposition(_) => Kind::ServiceExposition,
            Body::ServiceBinding(_) => Kind::ServiceBinding,
        }
    }

    /// Returns the object as JSON for display. For a Secret it contains only kind, namespace and name.
    pub fn for_people(&self) -> Value {
        match self.kind() {
            Kind::Secret => json!({"kind": "Secret", "namespace": self.namespace, "name": self.name}),
            // Serialization cannot fail: every value in an object has a JSON form.
            _ => serde_json::to_value(self).unwrap_or_default(),
        }
    }

    /// Returns the sort key for the order of applying. Facades come last, as applications call them.
    pub(super) fn order(&self) -> (bool, Kind, &str, &str) {
        (self.owner.kind == OwnerKind::Facade, self.kind(), &self.namespace, &self.name)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", kind.api_version())?;
        map.serialize_entry("kind", kind.as_str())?;
        map.serialize_entry("metadata", &Metadata(self))?;
        match &self.body {
            Body::ServiceAccount => {}
            Body::Role(rules) => map.serialize_entry("rules", rules)?,
            Body::RoleBinding(role, subjects) => {
                map.serialize_entry("roleRef", role)?;
                map.serialize_entry("subjects", subjects)?;
            }
            Body::Secret(material) => {
                map.serialize_entry("type", "kubernetes.io/tls")?;
                map.serialize_entry("data", &data(material))?;
            }
            Body::NetworkPolicy(spec) => map.serialize_entry("spec", spec)?,
            Body::PodDisruptionBudget(spec) => map.serialize_entry("spec", spec)?,
            Body::AuthorizationPolicy(spec) => map.serialize_entry("spec", spec)?,
            Body::DestinationRule(spec) => map.serialize_entry("spec", spec)?,
            Body::ServiceEntry(spec) => map.serialize_entry("spec", spec)?,
            Body::Deployment(spec) => map.serialize_entry("spec", spec)?,
            Body::Service(spec) => map.serialize_entry("spec", spec)?,
            Body::VirtualService(spec) => map.serialize_entry("spec", spec)?,
            Body::Gateway(spec) => map.serialize_entry("spec", spec)?,
            Body::ServiceExposition(spec) => map.serialize_entry("spec", spec)?,
            Body::ServiceBinding(spec) => map.serialize_entry("spec", spec)?,
        }
        map.end()
    }
}

fn data(material: &KeyMaterial) -> BTreeMap<&'static str, ByteString> {
    let bytes = |bytes: &[u8]| ByteString(bytes.to_vec());
    let crl = material.crl.as_deref().map(|crl| ("ca.crl", bytes(crl)));
    let rest = [
        ("ca.crt", bytes(&material.ca)),
        ("tls.crt", bytes(&material.certificate)),
        ("tls.key", bytes(&material.private_key)),
    ];
    crl.into_iter().chain(rest).collect()
}

struct Metadata<'a>(&'a Object);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &object.name)?;
        map.serialize_entry("namespace", &object.namespace)?;
        map.serialize_entry("labels", &OwnerLabels(&object.owner))?;
        if !object.annotations.is_empty() {
            map.serialize_entry("annotations", &object.annotations)?;
        }
        map.end()
    }
}

struct OwnerLabels<'a>(&'a Owner);

impl Serialize for OwnerLabels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.labels())
    }
}
