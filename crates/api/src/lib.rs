//! Emcee's three resources, and the Istio kinds that Emcee writes.
//!
//! This crate has only types: the fields of each object, and its form in JSON, protobuf and `kubectl
//! explain`. The crate `emcee-core` interprets them.
//!
//! ```
//! use emcee_api::ServiceExposition;
//! use serde_json::json;
//!
//! let object = json!({
//!     "apiVersion": "mm.ibm.istio.io/v1",
//!     "kind": "ServiceExposition",
//!     "metadata": {"name": "reviews", "namespace": "default"},
//!     "spec": {"name": "reviews", "port": 9080, "mesh_fed_config_selector": {"fed-config": "blue"}},
//! });
//! let exposition: ServiceExposition = serde_json::from_value(object)?;
//! assert_eq!(exposition.spec.port, 9080);
//! assert_eq!(exposition.spec.alias, None);
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod condition;
pub mod istio;
pub mod labels;
mod mesh_fed_config;
mod service_binding;
mod service_exposition;

pub use condition::Reason;
pub use mesh_fed_config::{
    Discovery, ImportMode, MeshFedConfig, MeshFedConfigSpec, MeshFedConfigStatus, OnPeerLoss, Peer,
    PeerStatus, ServiceType,
};
pub use service_binding::{AnnouncementStatus, ServiceBinding, ServiceBindingSpec, ServiceBindingStatus};
pub use service_exposition::{ServiceExposition, ServiceExpositionSpec, ServiceExpositionStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of the three resources.
pub const GROUP: &str = "mm.ibm.istio.io";

/// API version of the three resources.
pub const VERSION: &str = "v1";

/// Group and version of the three resources, as in YAML.
pub const API_VERSION: &str = "mm.ibm.istio.io/v1";

/// Returns the custom resource definitions, in the order of the documentation.
///
/// ```
/// let definitions = emcee_api::custom_resource_definitions();
/// let kinds: Vec<_> = definitions.iter().map(|definition| &*definition.spec.names.kind).collect();
/// assert_eq!(kinds, ["MeshFedConfig", "ServiceExposition", "ServiceBinding"]);
/// ```
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    vec![MeshFedConfig::crd(), ServiceExposition::crd(), ServiceBinding::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_version_consists_of_group_and_version() {
        assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
        for definition in custom_resource_definitions() {
            assert_eq!(
                (definition.spec.group.as_str(), &*definition.spec.versions[0].name),
                (GROUP, VERSION)
            );
        }
    }
}
