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

use super::{GeneratedKind, ObjectOwner, OwnerKind};
use crate::inputs::KeyMaterial;

/// A generated object: owner, name and content. Serializes as the Kubernetes object.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedObject {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: String,
    /// The owner for which it is generated.
    pub owner: Arc<ObjectOwner>,
    /// Annotations of the object.
    pub annotations: BTreeMap<String, String>,
    /// Kind and content of the object.
    pub content: ObjectContent,
}

/// Content of a [`GeneratedObject`].
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectContent {
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

impl GeneratedObject {
    /// Returns the kind of the object.
    pub const fn kind(&self) -> GeneratedKind {
        match self.content {
            ObjectContent::ServiceAccount => GeneratedKind::ServiceAccount,
            ObjectContent::Role(_) => GeneratedKind::Role,
            ObjectContent::RoleBinding(..) => GeneratedKind::RoleBinding,
            ObjectContent::Secret(_) => GeneratedKind::Secret,
            ObjectContent::NetworkPolicy(_) => GeneratedKind::NetworkPolicy,
            ObjectContent::PodDisruptionBudget(_) => GeneratedKind::PodDisruptionBudget,
            ObjectContent::AuthorizationPolicy(_) => GeneratedKind::AuthorizationPolicy,
            ObjectContent::DestinationRule(_) => GeneratedKind::DestinationRule,
            ObjectContent::ServiceEntry(_) => GeneratedKind::ServiceEntry,
            ObjectContent::Deployment(_) => GeneratedKind::Deployment,
            ObjectContent::Service(_) => GeneratedKind::Service,
            ObjectContent::VirtualService(_) => GeneratedKind::VirtualService,
            ObjectContent::Gateway(_) => GeneratedKind::Gateway,
            ObjectContent::ServiceExposition(_) => GeneratedKind::ServiceExposition,
            ObjectContent::ServiceBinding(_) => GeneratedKind::ServiceBinding,
        }
    }

    /// Returns the object as JSON, as the API server receives it. For a Secret it contains the keys.
    #[expect(clippy::missing_panics_doc, reason = "the expectation holds for every object")]
    pub fn to_json(&self) -> Value {
        // A fallback such as `null` would be applied.
        serde_json::to_value(self).expect("all keys are strings, and all values have a JSON form")
    }

    /// Returns the object as JSON for display. For a Secret it contains only kind, namespace and name.
    pub fn to_redacted_json(&self) -> Value {
        match self.kind() {
            GeneratedKind::Secret => {
                json!({"kind": "Secret", "namespace": self.namespace, "name": self.name})
            }
            _ => self.to_json(),
        }
    }

    /// Returns the sort key for the order of applying. Facades come last, as applications call them. The rule for a
    /// facade's own host, which turns TLS off, comes after the Service to which it belongs.
    pub(super) fn apply_order(&self) -> (bool, bool, GeneratedKind, &str, &str) {
        let is_facade = self.owner.kind == OwnerKind::Facade;
        let is_facade_rule = is_facade && self.kind() == GeneratedKind::DestinationRule;
        (is_facade, is_facade_rule, self.kind(), &self.namespace, &self.name)
    }
}

impl Serialize for GeneratedObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", kind.api_version())?;
        map.serialize_entry("kind", kind.as_str())?;
        map.serialize_entry("metadata", &ObjectMetadata(self))?;
        match &self.content {
            ObjectContent::ServiceAccount => {}
            ObjectContent::Role(rules) => map.serialize_entry("rules", rules)?,
            ObjectContent::RoleBinding(role, subjects) => {
                map.serialize_entry("roleRef", role)?;
                map.serialize_entry("subjects", subjects)?;
            }
            ObjectContent::Secret(material) => {
                map.serialize_entry("type", "kubernetes.io/tls")?;
                map.serialize_entry("data", &secret_data(material))?;
            }
            ObjectContent::NetworkPolicy(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::PodDisruptionBudget(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::AuthorizationPolicy(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::DestinationRule(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::ServiceEntry(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::Deployment(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::Service(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::VirtualService(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::Gateway(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::ServiceExposition(spec) => map.serialize_entry("spec", spec)?,
            ObjectContent::ServiceBinding(spec) => map.serialize_entry("spec", spec)?,
        }
        map.end()
    }
}

fn secret_data(material: &KeyMaterial) -> BTreeMap<&'static str, ByteString> {
    let bytes = |bytes: &[u8]| ByteString(bytes.to_vec());
    let crl = material.crl.as_deref().map(|crl| ("ca.crl", bytes(crl)));
    let rest = [
        ("ca.crt", bytes(&material.ca)),
        ("tls.crt", bytes(&material.certificate)),
        ("tls.key", bytes(&material.private_key)),
    ];
    crl.into_iter().chain(rest).collect()
}

struct ObjectMetadata<'a>(&'a GeneratedObject);

impl Serialize for ObjectMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &object.name)?;
        map.serialize_entry("namespace", &object.namespace)?;
        map.serialize_entry("labels", &OwnerLabelMap(&object.owner))?;
        if !object.annotations.is_empty() {
            map.serialize_entry("annotations", &object.annotations)?;
        }
        map.end()
    }
}

struct OwnerLabelMap<'a>(&'a ObjectOwner);

impl Serialize for OwnerLabelMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.labels())
    }
}
