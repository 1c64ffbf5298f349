//! The ServiceBindings for what is announced in a relationship.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::{ServiceBindingSpec, labels};

use super::istio::object;
use crate::key::Key;
use crate::parse::FedConfig;
use crate::plan::{Body, Object, Owner, OwnerKind};

/// Each has the namespace and the name of the remote service. They belong to the relationship, and go with it.
pub(crate) fn objects(config: &FedConfig, bindings: &BTreeMap<Key, Arc<str>>) -> Vec<Object> {
    let fed_config = &config.identity.key;
    let owner = Owner::new(OwnerKind::MeshFedConfig, fed_config.clone(), Some(fed_config.clone()));
    let of = |(key, peer): (&Key, &Arc<str>)| {
        let body = Body::ServiceBinding(Box::new(spec(config, key, peer)));
        object(&key.namespace, key.name.to_string(), &owner, body)
    };
    bindings.iter().map(of).collect()
}

fn spec(config: &FedConfig, key: &Key, peer: &str) -> ServiceBindingSpec {
    let selected = config.labels.get(labels::FED_CONFIG);
    let selector = selected.map(|value| (labels::FED_CONFIG.to_owned(), value.to_owned()));
    ServiceBindingSpec {
        name: key.name.to_string(),
        mesh_fed_config_selector: selector.into_iter().collect::<BTreeMap<_, _>>(),
        peer: Some(peer.to_owned()),
        ..ServiceBindingSpec::default()
    }
}
