//! ServiceBindings for the services that peers of a relationship announce.

use std::collections::BTreeMap;

use emcee_api::{ServiceBindingSpec, labels};

use super::istio::object;
use crate::key::Key;
use crate::parse::FedConfig;
use crate::plan::{Body, Object, Owner, OwnerKind};
use crate::resolve::Import;

/// Builds the bindings. Each has the namespace and the name of the remote service. The relationship owns
/// them, so they are deleted with it.
pub(crate) fn objects(config: &FedConfig, bindings: &BTreeMap<Key, Import>) -> Vec<Object> {
    let fed_config = &config.identity.key;
    let owner = Owner::new(OwnerKind::MeshFedConfig, fed_config.clone(), Some(fed_config.clone()));
    let of = |(key, import): (&Key, &Import)| {
        let body = Body::ServiceBinding(Box::new(spec(config, key, import)));
        object(&key.namespace, key.name.to_string(), &owner, body)
    };
    bindings.iter().map(of).collect()
}

fn spec(config: &FedConfig, key: &Key, import: &Import) -> ServiceBindingSpec {
    // The label `fed-config` always exists: parsing adds it where the user did not set it.
    let selected = config.labels.get(labels::FED_CONFIG);
    let selector = selected.map(|value| (labels::FED_CONFIG.to_owned(), value.to_owned()));
    ServiceBindingSpec {
        name: key.name.to_string(),
        mesh_fed_config_selector: selector.into_iter().collect::<BTreeMap<_, _>>(),
        peer: Some(import.peer.to_string()),
        port: import.port.map(Into::into),
        protocol: import.protocol.map(|protocol| protocol.to_string()),
        export_to: Some(vec![config.discovery.export_to.as_str().to_owned()]),
        ..ServiceBindingSpec::default()
    }
}
