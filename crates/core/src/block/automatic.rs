//! ServiceExpositions of a Service that is exposed by its labels.

use std::collections::BTreeMap;

use emcee_api::{ServiceExpositionSpec, labels};

use super::istio::object;
use crate::key::Key;
use crate::plan::{Body, Object, Owner, OwnerKind};
use crate::resolve::AutomaticExposition;

/// Builds the ServiceExpositions. The Service owns them, so they are deleted with it.
pub(crate) fn objects(service: &Key, expositions: &[AutomaticExposition]) -> Vec<Object> {
    // The Service alone owns them, so no MeshFedConfig is set: the Service may outlive a relationship.
    let owner = Owner::new(OwnerKind::Service, service.clone(), None);
    let of = |exposition: &AutomaticExposition| {
        let body = Body::ServiceExposition(Box::new(spec(service, exposition)));
        object(&service.namespace, exposition.name.clone(), &owner, body)
    };
    expositions.iter().map(of).collect()
}

fn spec(service: &Key, exposition: &AutomaticExposition) -> ServiceExpositionSpec {
    ServiceExpositionSpec {
        name: service.name.to_string(),
        port: exposition.port.into(),
        mesh_fed_config_selector: BTreeMap::from([(
            labels::FED_CONFIG.to_owned(),
            exposition.fed_config.clone(),
        )]),
        alias: exposition.alias.clone(),
        ..ServiceExpositionSpec::default()
    }
}
