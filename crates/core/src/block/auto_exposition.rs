//! ServiceExpositions of a Service that is exposed by its labels.

use std::collections::BTreeMap;

use emcee_api::{ServiceExpositionSpec, labels};

use super::istio::new_object;
use crate::key::ObjectKey;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use crate::resolve::AutoExposition;

/// Builds the ServiceExpositions. The Service owns them, so they are deleted with it.
pub(crate) fn objects(service: &ObjectKey, expositions: &[AutoExposition]) -> Vec<GeneratedObject> {
    // The Service alone owns them, so no MeshFedConfig is set: the Service may outlive a relationship.
    let owner = ObjectOwner::new(OwnerKind::Service, service.clone(), None);
    let of = |exposition: &AutoExposition| {
        let body = ObjectContent::ServiceExposition(Box::new(exposition_spec(service, exposition)));
        new_object(&service.namespace, exposition.name.clone(), &owner, body)
    };
    expositions.iter().map(of).collect()
}

fn exposition_spec(service: &ObjectKey, exposition: &AutoExposition) -> ServiceExpositionSpec {
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
