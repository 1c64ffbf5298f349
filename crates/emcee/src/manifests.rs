//! What a cluster needs for Emcee to run in it, beside the CRDs: rights, a Deployment, and what guards them.
//!
//! The rights are made from the list of kinds that Emcee generates, so that a new kind cannot be forgotten here. The
//! Helm chart is made from the same description, see [`chart`].

pub mod chart;
mod deployment;
mod form;
mod people;
mod rbac;
mod uninstall;
mod values;
mod webhook;

use ipnet::IpNet;
use serde_json::{Value, json};

use form::{Condition, Form};

/// Name of everything that is Emcee's own.
pub const NAME: &str = "emcee";
/// Image of the container where no other is given.
pub const IMAGE: &str = concat!("emcee:", env!("CARGO_PKG_VERSION"));
/// Port of probes and metrics.
const PROBES: u16 = 8080;
/// Port of the admission webhook.
const WEBHOOK: u16 = 9443;
/// Port of discovery.
const DISCOVERY: u16 = 15443;
/// What users write.
const USERS: [&str; 3] = ["meshfedconfigs", "serviceexpositions", "servicebindings"];

/// What an installation may differ in.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Namespace of Emcee itself.
    pub namespace: String,
    /// Image of the container.
    pub image: String,
    /// Number of replicas.
    pub replicas: u16,
    /// Istio's revision.
    pub revision: Option<String>,
    /// Namespaces that are followed; `*`: all.
    pub watch_namespaces: Vec<String>,
    /// Namespaces of relationships; `*`: all.
    pub fed_namespaces: Vec<String>,
    /// Namespaces, besides, of gateway pods that may be given keys.
    pub gateway_namespaces: Vec<String>,
    /// Istio's root namespace.
    pub root_namespace: String,
    /// The cluster's Service and Pod ranges.
    pub cluster_networks: Vec<IpNet>,
    /// Whether resources are checked when they are applied.
    pub webhook: bool,
    /// Whether meshes tell each other what they offer.
    pub discovery: bool,
    /// Type of the Service of discovery, through which peers come where there is no gateway (FLAT).
    pub discovery_service_type: String,
}

/// A part of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rights of Emcee and of the people who use it.
    Rbac,
    /// Emcee itself.
    Deployment,
    /// What has the API server ask Emcee about resources. Nothing, without a webhook.
    Webhook,
}

impl Installation {
    /// The objects of a part, in the order of applying.
    pub fn objects(&self, part: Part) -> Vec<Value> {
        let objects = part.in_form(&Form::Plain(self));
        match part {
            Part::Rbac => [self.own_namespace()].into_iter().chain(objects).collect(),
            Part::Deployment | Part::Webhook => objects,
        }
    }

    /// A chart has none: `helm --create-namespace` makes it.
    fn own_namespace(&self) -> Value {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
    }
}

impl Part {
    fn in_form(self, form: &Form<'_>) -> Vec<Value> {
        match self {
            Self::Rbac => rbac::objects(form).into_iter().chain(people::objects()).collect(),
            Self::Deployment => deployment::objects(form),
            Self::Webhook => form.when(Condition::Webhook, webhook::objects(form)),
        }
    }
}

/// The one label of Emcee's pods by which they are selected.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", NAME);

/// The labels of Emcee's own objects. Not `managed-by: emcee`: that is for what Emcee generates.
fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME})
}
