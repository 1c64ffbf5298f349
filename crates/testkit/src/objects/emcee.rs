//! Builders for Emcee's three kinds, with the field names of users' files.
//!
//! ```
//! use emcee_testkit::prelude::*;
//!
//! let blue = boundary("blue").peer(Peer::new("m2", ["m2.blue.example"]).discovery("203.0.113.12:15443"));
//! let reviews = exposition("default", "reviews").port(9080).fed("blue");
//! let remote = binding("default", "reviews").fed("blue").endpoints(["203.0.113.12:15443"]);
//! assert_eq!(blue.build()["spec"]["mode"], "BOUNDARY");
//! # let _ = (reviews, remote);
//! ```

use serde_json::{Value, json};

use super::{Builder, builders, list_at, map, strings};

builders! {
    /// A `MeshFedConfig` with an empty spec.
    MeshFedConfig, mesh_fed_config, "mm.ibm.istio.io/v1", "MeshFedConfig";
    /// A `ServiceExposition` with an empty spec.
    ServiceExposition, bare_exposition, "mm.ibm.istio.io/v1", "ServiceExposition";
    /// A `ServiceBinding` with an empty spec.
    ServiceBinding, bare_binding, "mm.ibm.istio.io/v1", "ServiceBinding";
}

/// A `ServiceExposition` of the Service with the same name.
pub fn exposition(namespace: &str, name: &str) -> ServiceExposition {
    bare_exposition(namespace, name).set("/spec/name", name)
}

/// A `ServiceBinding` for the remote service with the same name.
pub fn binding(namespace: &str, name: &str) -> ServiceBinding {
    bare_binding(namespace, name).set("/spec/name", name)
}

/// A complete BOUNDARY relationship in a namespace of the same name, with gateways on both sides.
pub fn boundary(relationship: &str) -> MeshFedConfig {
    complete_config("BOUNDARY", relationship).use_egress_gateway().use_ingress_gateway()
}

/// A complete PASSTHROUGH relationship, with an ingress gateway only.
pub fn passthrough(relationship: &str) -> MeshFedConfig {
    complete_config("PASSTHROUGH", relationship).use_ingress_gateway()
}

/// A complete WHARF relationship, with gateways on both sides.
pub fn wharf(relationship: &str) -> MeshFedConfig {
    complete_config("WHARF", relationship).use_egress_gateway().use_ingress_gateway()
}

/// A complete FLAT relationship, without gateways.
pub fn flat(relationship: &str) -> MeshFedConfig {
    complete_config("FLAT", relationship)
}

fn complete_config(mode: &str, relationship: &str) -> MeshFedConfig {
    mesh_fed_config(relationship, relationship)
        .mode(mode)
        .tls_context_selector([("relationship", relationship)])
        .allowed_namespaces(["*"])
}

impl MeshFedConfig {
    /// Sets the style (`spec.mode`).
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.set("/spec/mode", mode)
    }

    /// Sets the labels of the relationship's Secret.
    #[must_use]
    pub fn tls_context_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/tls_context_selector", map(labels))
    }

    /// Sets `use_egress_gateway` to true.
    #[must_use]
    pub fn use_egress_gateway(self) -> Self {
        self.set("/spec/use_egress_gateway", true)
    }

    /// Sets `use_ingress_gateway` to true.
    #[must_use]
    pub fn use_ingress_gateway(self) -> Self {
        self.set("/spec/use_ingress_gateway", true)
    }

    /// Selects the egress gateway's pods by labels.
    #[must_use]
    pub fn egress_gateway_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/egress_gateway_selector", map(labels))
    }

    /// Selects the ingress gateway's pods by labels.
    #[must_use]
    pub fn ingress_gateway_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/ingress_gateway_selector", map(labels))
    }

    /// Sets the port of the egress gateway's Service.
    #[must_use]
    pub fn egress_gateway_port(self, port: u16) -> Self {
        self.set("/spec/egress_gateway_port", port)
    }

    /// Sets the port of the ingress gateway's Service.
    #[must_use]
    pub fn ingress_gateway_port(self, port: u16) -> Self {
        self.set("/spec/ingress_gateway_port", port)
    }

    /// Sets the name that the meshes share.
    #[must_use]
    pub fn relationship(self, name: &str) -> Self {
        self.set("/spec/relationship", name)
    }

    /// Server names outside of `emcee.internal` that bindings may use.
    #[must_use]
    pub fn allowed_server_names<const N: usize>(self, names: [&str; N]) -> Self {
        self.set("/spec/allowed_server_names", strings(names))
    }

    /// Namespaces whose expositions and bindings may use the relationship.
    #[must_use]
    pub fn allowed_namespaces<const N: usize>(self, namespaces: [&str; N]) -> Self {
        self.set("/spec/allowed_namespaces", strings(namespaces))
    }

    /// Adds another peer to the list.
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        list_at(&mut self.0, "/spec/peers").push(peer.0);
        self
    }

    /// Sets a field of `discovery`: `announce`, `import`, `namespaces`, `max_imports`, `on_peer_loss`, `expire_after`.
    #[must_use]
    pub fn discovery(self, field: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/spec/discovery/{field}"), value)
    }
}

/// An entry of `spec.peers`.
#[derive(Clone, Debug)]
pub struct Peer(Value);

impl Peer {
    /// A peer with the names in its certificate.
    pub fn new<const N: usize>(name: &str, subject_alt_names: [&str; N]) -> Self {
        Self(json!({"name": name, "subject_alt_names": strings(subject_alt_names)}))
    }

    /// Sets the address of its discovery server.
    #[must_use]
    pub fn discovery(self, address: &str) -> Self {
        self.with_field("discovery", address.into())
    }

    /// Networks that may contain its endpoints, as CIDRs.
    #[must_use]
    pub fn networks<const N: usize>(self, networks: [&str; N]) -> Self {
        self.with_field("networks", strings(networks))
    }

    /// Domains that may contain the host names of its endpoints.
    #[must_use]
    pub fn domains<const N: usize>(self, domains: [&str; N]) -> Self {
        self.with_field("domains", strings(domains))
    }

    /// Trust domains that may contain the identities of its workloads.
    #[must_use]
    pub fn trust_domains<const N: usize>(self, trust_domains: [&str; N]) -> Self {
        self.with_field("trust_domains", strings(trust_domains))
    }

    fn with_field(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}

/// Methods that expositions and bindings share.
macro_rules! service_words {
    ($($type:ident)*) => {$(
        impl $type {
            /// Selects the `MeshFedConfig` with this label value or name.
            #[must_use]
            pub fn fed(self, mesh_fed_config: &str) -> Self {
                self.mesh_fed_config_selector([("fed-config", mesh_fed_config)])
            }

            /// Selects `MeshFedConfigs` by labels.
            #[must_use]
            pub fn mesh_fed_config_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
                self.set("/spec/mesh_fed_config_selector", map(labels))
            }

            /// Sets the service's port.
            #[must_use]
            pub fn port(self, port: u16) -> Self {
                self.set("/spec/port", port)
            }

            /// Sets another name than the service's.
            #[must_use]
            pub fn alias(self, alias: &str) -> Self {
                self.set("/spec/alias", alias)
            }

            /// Sets the subset of the service.
            #[must_use]
            pub fn subset(self, subset: &str) -> Self {
                self.set("/spec/subset", subset)
            }

            /// Sets the protocol: http, http2, grpc, tcp or tls.
            #[must_use]
            pub fn protocol(self, protocol: &str) -> Self {
                self.set("/spec/protocol", protocol)
            }

            /// Sets the identities of the service.
            #[must_use]
            pub fn subject_alt_names<const N: usize>(self, names: [&str; N]) -> Self {
                self.set("/spec/subject_alt_names", strings(names))
            }
        }
    )*};
}

service_words!(ServiceExposition ServiceBinding);

impl ServiceExposition {
    /// Sets the name of the Service, if it is not the exposition's name.
    #[must_use]
    pub fn of_service(self, service: &str) -> Self {
        self.set("/spec/name", service)
    }

    /// Sets whether the service is announced.
    #[must_use]
    pub fn directory(self, announced: bool) -> Self {
        self.set("/spec/directory", announced)
    }

    /// Limits the exposition to these peers: only they may see and call the service.
    #[must_use]
    pub fn peers<const N: usize>(self, peers: [&str; N]) -> Self {
        self.set("/spec/peers", strings(peers))
    }
}

impl ServiceBinding {
    /// Sets the remote service, if its name or namespace is not the binding's.
    #[must_use]
    pub fn to_service(self, namespace: &str, service: &str) -> Self {
        self.set("/spec/namespace", namespace).set("/spec/name", service)
    }

    /// Sets the endpoints of the remote side, each `host:port`.
    #[must_use]
    pub fn endpoints<const N: usize>(self, endpoints: [&str; N]) -> Self {
        self.set("/spec/endpoints", strings(endpoints))
    }

    /// Selects the peer to bind to.
    #[must_use]
    pub fn peer(self, peer: &str) -> Self {
        self.set("/spec/peer", peer)
    }

    /// Sets the server name, if it is not the computed one.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.set("/spec/server_name", name)
    }

    /// Namespaces in which the facade is visible.
    #[must_use]
    pub fn export_to<const N: usize>(self, namespaces: [&str; N]) -> Self {
        self.set("/spec/export_to", strings(namespaces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_match_the_samples() {
        let blue =
            boundary("blue").peer(Peer::new("m2", ["m2.blue.example"])).discovery("import", "Automatic");
        let spec = json!({
            "mode": "BOUNDARY",
            "tls_context_selector": {"relationship": "blue"},
            "allowed_namespaces": ["*"],
            "use_egress_gateway": true,
            "use_ingress_gateway": true,
            "peers": [{"name": "m2", "subject_alt_names": ["m2.blue.example"]}],
            "discovery": {"import": "Automatic"},
        });
        assert_eq!(blue.build()["spec"], spec);

        let reviews = exposition("default", "se1")
            .of_service("reviews")
            .port(9080)
            .fed("blue")
            .directory(false)
            .build();
        let spec = json!({
            "name": "reviews",
            "port": 9080,
            "mesh_fed_config_selector": {"fed-config": "blue"},
            "directory": false,
        });
        assert_eq!(reviews["spec"], spec);

        let remote =
            binding("default", "remote").to_service("shop", "reviews").endpoints(["9.1.2.3:15443"]).build();
        let spec = json!({"name": "reviews", "namespace": "shop", "endpoints": ["9.1.2.3:15443"]});
        assert_eq!(remote["spec"], spec);
    }
}
