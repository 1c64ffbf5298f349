//! ServiceBindings for the services that peers of a relationship announce.

use std::collections::BTreeMap;

use emcee_api::{ServiceBindingSpec, labels};

use super::istio::new_object;
use crate::key::ObjectKey;
use crate::parse::FedConfig;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use crate::resolve::Import;

/// Builds the bindings. Each has the namespace and the name of the remote service. The relationship owns
/// them, so they are deleted with it.
pub(crate) fn objects<'a>(
    config: &FedConfig,
    bindings: impl IntoIterator<Item = (&'a ObjectKey, &'a Import)>,
) -> Vec<GeneratedObject> {
    let fed_config = &config.identity.key;
    let owner = ObjectOwner::new(OwnerKind::MeshFedConfig, fed_config.clone(), Some(fed_config.clone()));
    let of = |(key, import): (&ObjectKey, &Import)| {
        let body = ObjectContent::ServiceBinding(Box::new(binding_spec(config, key, import)));
        new_object(&key.namespace, key.name.to_string(), &owner, body)
    };
    bindings.into_iter().map(of).collect()
}

fn binding_spec(config: &FedConfig, key: &ObjectKey, import: &Import) -> ServiceBindingSpec {
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
