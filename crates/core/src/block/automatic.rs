//! The ServiceExpositions of a Service that is exposed by its labels.

use std::collections::BTreeMap;

use emcee_api::{ServiceExpositionSpec, labels};

use super::istio::object;
use crate::key::Key;
use crate::plan::{Body, Object, Owner, OwnerKind};
use crate::resolve::AutomaticExposition;

/// They belong to the Service, and go with it.
pub(crate) fn objects(service: &Key, expositions: &[AutomaticExposition]) -> Vec<Object> {
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
