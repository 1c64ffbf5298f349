//! A ServiceBinding of what a peer offers.

use emcee_api::{GROUP, VERSION};
use emcee_core::catalogue::Offer;
use emcee_core::key::Key;
use emcee_core::labels::Labels;
use serde_json::{Value, json};

/// Who uses what is offered.
#[derive(Clone, Debug)]
pub struct Consumer<'a> {
    /// Namespace of the ServiceBinding; none: the one of the same name as the service's.
    pub namespace: Option<&'a str>,
    /// Labels of the MeshFedConfig.
    pub fed_config: Labels,
    /// The peer that offers.
    pub peer: Option<&'a str>,
}

/// A ServiceBinding of a service, which follows what is announced of it.
pub fn following(service: &Key, consumer: &Consumer<'_>) -> Value {
    let namespace = consumer.namespace.unwrap_or(&service.namespace);
    let mut binding = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "ServiceBinding",
        "metadata": {"name": &*service.name, "namespace": namespace},
        "spec": {"name": &*service.name},
    });
    let spec = &mut binding["spec"];
    if *namespace != *service.namespace {
        spec["namespace"] = json!(&*service.namespace);
    }
    spec["mesh_fed_config_selector"] = json!(consumer.fed_config);
    if let Some(peer) = consumer.peer {
        spec["peer"] = json!(peer);
    }
    binding
}

/// A ServiceBinding of an offer that says all there is to say, and needs no announcement.
pub fn complete(offer: &Offer, consumer: &Consumer<'_>) -> Value {
    let mut binding = following(&offer.key, consumer);
    let spec = &mut binding["spec"];
    let endpoints: Vec<_> = offer.endpoints.iter().map(ToString::to_string).collect();
    spec["port"] = json!(offer.port);
    spec["protocol"] = json!(offer.protocol.as_str());
    if !endpoints.is_empty() {
        spec["endpoints"] = json!(endpoints);
    }
    if !offer.identities.is_empty() {
        spec["subject_alt_names"] = json!(offer.identities);
    }
    binding
}
