//! What a cluster needs for Emcee to run in it, beside the CRDs: rights, a Deployment, and what guards them.
//!
//! The rights are made from the list of kinds that Emcee generates, so that a new kind cannot be forgotten here.

mod deployment;
mod people;
mod rbac;

use serde_json::{Value, json};

/// Name of everything that is Emcee's own.
pub const NAME: &str = "emcee";
/// Port of probes and metrics.
const PROBES: u16 = 8080;

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
}

/// A part of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rights of Emcee and of the people who use it.
    Rbac,
    /// Emcee itself.
    Deployment,
}

impl Installation {
    /// The objects of a part, in the order of applying.
    pub fn objects(&self, part: Part) -> Vec<Value> {
        match part {
            Part::Rbac => {
                let own =
                    [json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})];
                own.into_iter().chain(rbac::objects(self)).chain(people::objects()).collect()
            }
            Part::Deployment => deployment::objects(self),
        }
    }

    /// Whether some of these are all.
    fn is_all(namespaces: &[String]) -> bool {
        namespaces.iter().any(|namespace| namespace == "*")
    }
}

/// The labels of Emcee's own objects. Not `managed-by: emcee`: that is for what Emcee generates.
fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME})
}
