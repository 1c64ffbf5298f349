//! Builds ServiceBindings for announced services.

use emcee_api::API_VERSION;
use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_core::labels::Labels;
use serde_json::{Value, json};

/// Settings of a ServiceBinding that do not come from the announcement.
#[derive(Clone, Debug)]
pub struct BindingOptions<'a> {
    /// Namespace of the ServiceBinding. `None`: the local namespace with the name of the service's namespace.
    pub namespace: Option<&'a str>,
    /// Labels that select the MeshFedConfig.
    pub fed_config: Labels,
    /// Peer that announces the service. `None`: the only peer that announces it.
    pub peer: Option<&'a str>,
}

/// Builds a ServiceBinding that takes port, protocol and endpoints from the peer's announcements.
pub fn dynamic_binding(service: &ObjectKey, consumer: &BindingOptions<'_>) -> Value {
    let namespace = consumer.namespace.unwrap_or(&service.namespace);
    let mut binding = json!({
        "apiVersion": API_VERSION,
        "kind": "ServiceBinding",
        "metadata": {"name": &*service.name, "namespace": namespace},
        "spec": {"name": &*service.name},
    });
    let spec = &mut binding["spec"];
    // `spec.namespace` defaults to the namespace of the binding.
    if *namespace != *service.namespace {
        spec["namespace"] = json!(&*service.namespace);
    }
    spec["mesh_fed_config_selector"] = json!(consumer.fed_config);
    if let Some(peer) = consumer.peer {
        spec["peer"] = json!(peer);
    }
    binding
}

/// Builds a ServiceBinding that contains all facts of an announcement, for a peer that is not followed.
pub fn static_binding(announcement: &Announcement, consumer: &BindingOptions<'_>) -> Value {
    let mut binding = dynamic_binding(&announcement.key, consumer);
    let spec = &mut binding["spec"];
    let endpoints: Vec<_> = announcement.endpoints.iter().map(ToString::to_string).collect();
    spec["port"] = json!(announcement.port);
    spec["protocol"] = json!(announcement.protocol.as_str());
    if !endpoints.is_empty() {
        spec["endpoints"] = json!(endpoints);
    }
    if !announcement.identities.is_empty() {
        spec["subject_alt_names"] = json!(announcement.identities);
    }
    binding
}
