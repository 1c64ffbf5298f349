//! The objects that a cluster needs to run Emcee, except for the CRDs: RBAC, a Deployment with its policies, and the
//! admission webhook.
//!
//! The RBAC rules are derived from the list of kinds that Emcee generates, so a new kind cannot be forgotten. The Helm
//! chart is created from the same description, see [`chart`].

pub mod chart;
mod deployment;
mod rbac;
mod renderer;
mod uninstall;
mod user_roles;
mod values;
mod webhook;

use ipnet::IpNet;
use serde_json::{Value, json};

use renderer::{RenderCondition, Renderer};

/// Name of Emcee's own objects, such as its Deployment.
pub const NAME: &str = "emcee";
/// Container image if none is given.
pub const DEFAULT_IMAGE: &str = concat!("emcee:", env!("CARGO_PKG_VERSION"));
/// Port for probes and metrics.
const PROBE_PORT: u16 = 8080;
/// Port of the admission webhook.
const WEBHOOK_PORT: u16 = 9443;
/// Resources that users write.
const USER_RESOURCES: [&str; 3] = ["meshfedconfigs", "serviceexpositions", "servicebindings"];

/// Settings of an installation.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Namespace in which Emcee runs.
    pub namespace: String,
    /// Image of Emcee's container.
    pub image: String,
    /// Number of Emcee's replicas.
    pub replicas: u16,
    /// Istio's revision. `None` for the default one.
    pub revision: Option<String>,
    /// Namespaces that Emcee watches; `*` for all.
    pub watch_namespaces: Vec<String>,
    /// Namespaces of relationships (fed namespaces); `*` for all.
    pub fed_namespaces: Vec<String>,
    /// Additional namespaces with gateway pods that Emcee may give keys to.
    pub gateway_namespaces: Vec<String>,
    /// Root namespace of Istio's mesh configuration.
    pub root_namespace: String,
    /// Service and Pod ranges of the cluster.
    pub cluster_networks: Vec<IpNet>,
    /// Whether the rules of `emcee-user` are added to Kubernetes' roles `edit` and `admin`.
    pub aggregate_user_role: bool,
    /// Whether the API server asks Emcee to validate resources.
    pub webhook: bool,
    /// Whether discovery is on: meshes announce exposed services to each other.
    pub discovery: bool,
    /// Type of the discovery Service. Peers connect through it if there is no gateway (FLAT).
    pub discovery_service_type: String,
}

/// A part of an installation that can be printed separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallPart {
    /// RBAC for Emcee and for its users.
    Rbac,
    /// The Deployment of Emcee, with its Services and policies.
    Deployment,
    /// The admission webhook. This part is empty if the webhook is off.
    Webhook,
}

impl Installation {
    /// Returns the objects of a part in the order in which to apply them.
    pub fn objects(&self, part: InstallPart) -> Vec<Value> {
        let objects = part.render_objects(&Renderer::Plain(self));
        match part {
            InstallPart::Rbac => [self.namespace_object()].into_iter().chain(objects).collect(),
            InstallPart::Deployment | InstallPart::Webhook => objects,
        }
    }

    /// Returns Emcee's namespace. The chart does not contain it: `helm --create-namespace` creates it.
    fn namespace_object(&self) -> Value {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
    }
}

impl InstallPart {
    fn render_objects(self, form: &Renderer<'_>) -> Vec<Value> {
        match self {
            Self::Rbac => rbac::objects(form).into_iter().chain(user_roles::objects(form)).collect(),
            Self::Deployment => deployment::objects(form),
            Self::Webhook => form.only_if(RenderCondition::Webhook, webhook::objects(form)),
        }
    }
}

/// The label that selects Emcee's pods.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", NAME);

/// Returns the labels of Emcee's own objects. They do not include `managed-by: emcee`, which marks objects that Emcee
/// generates.
fn common_labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME})
}
