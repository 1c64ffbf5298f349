//! A ServiceBinding of what a peer offers.

use emcee_api::{GROUP, VERSION};
use emcee_core::catalogue::Offer;
use emcee_core::parse::Labels;
use serde_json::{Map, Value, json};

/// Who uses what is offered.
#[derive(Clone, Debug)]
pub struct Consumer<'a> {
    /// Namespace of the ServiceBinding; none: the one of the same name as the service's.
    pub namespace: Option<&'a str>,
    /// Labels of the MeshFedConfig.
    pub fed_config: Labels,
    /// The peer that offers.
    pub peer: Option<&'a str>,
    /// Whether the ServiceBinding says all that was offered, so that it needs no announcement.
    pub complete: bool,
}

/// A ServiceBinding of an offer.
pub fn binding(offer: &Offer, consumer: &Consumer<'_>) -> Value {
    let namespace = consumer.namespace.unwrap_or(&offer.key.namespace);
    let mut spec = Map::new();
    spec.insert("name".into(), json!(&*offer.key.name));
    if *namespace != *offer.key.namespace {
        spec.insert("namespace".into(), json!(&*offer.key.namespace));
    }
    spec.insert("mesh_fed_config_selector".into(), json!(consumer.fed_config));
    if let Some(peer) = consumer.peer {
        spec.insert("peer".into(), json!(peer));
    }
    if consumer.complete {
        complete(&mut spec, offer);
    }
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "ServiceBinding",
        "metadata": {"name": &*offer.key.name, "namespace": namespace},
        "spec": spec,
    })
}

fn complete(spec: &mut Map<String, Value>, offer: &Offer) {
    let endpoints: Vec<_> = offer.endpoints.iter().map(ToString::to_string).collect();
    spec.insert("port".into(), json!(offer.port));
    spec.insert("protocol".into(), json!(offer.protocol.as_str()));
    spec.insert("endpoints".into(), json!(endpoints));
    if !offer.identities.is_empty() {
        spec.insert("subject_alt_names".into(), json!(offer.identities));
    }
}
