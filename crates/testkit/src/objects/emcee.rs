//! Emcee's three kinds, in the words of users' files.
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

/// A `ServiceExposition` of the Service of its own name.
pub fn exposition(namespace: &str, name: &str) -> ServiceExposition {
    bare_exposition(namespace, name).set("/spec/name", name)
}

/// A `ServiceBinding` to the remote service of its own name.
pub fn binding(namespace: &str, name: &str) -> ServiceBinding {
    bare_binding(namespace, name).set("/spec/name", name)
}

/// A complete BOUNDARY relationship in a namespace of its name, with gateways on both sides.
pub fn boundary(relationship: &str) -> MeshFedConfig {
    complete("BOUNDARY", relationship).use_egress_gateway().use_ingress_gateway()
}

/// A complete PASSTHROUGH relationship: ingress only.
pub fn passthrough(relationship: &str) -> MeshFedConfig {
    complete("PASSTHROUGH", relationship).use_ingress_gateway()
}

/// A complete WHARF relationship, with gateways on both sides.
pub fn wharf(relationship: &str) -> MeshFedConfig {
    complete("WHARF", relationship).use_egress_gateway().use_ingress_gateway()
}

/// A complete FLAT relationship: no gateways.
pub fn flat(relationship: &str) -> MeshFedConfig {
    complete("FLAT", relationship)
}

fn complete(mode: &str, relationship: &str) -> MeshFedConfig {
    mesh_fed_config(relationship, relationship)
        .mode(mode)
        .tls_context_selector([("relationship", relationship)])
}

impl MeshFedConfig {
    /// The style.
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.set("/spec/mode", mode)
    }

    /// Labels of its Secret.
    #[must_use]
    pub fn tls_context_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/tls_context_selector", map(labels))
    }

    /// `use_egress_gateway: true`.
    #[must_use]
    pub fn use_egress_gateway(self) -> Self {
        self.set("/spec/use_egress_gateway", true)
    }

    /// `use_ingress_gateway: true`.
    #[must_use]
    pub fn use_ingress_gateway(self) -> Self {
        self.set("/spec/use_ingress_gateway", true)
    }

    /// Labels of the egress gateway's pods.
    #[must_use]
    pub fn egress_gateway_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/egress_gateway_selector", map(labels))
    }

    /// Labels of the ingress gateway's pods.
    #[must_use]
    pub fn ingress_gateway_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/ingress_gateway_selector", map(labels))
    }

    /// Port of the egress gateway's Service.
    #[must_use]
    pub fn egress_gateway_port(self, port: u16) -> Self {
        self.set("/spec/egress_gateway_port", port)
    }

    /// Port of the ingress gateway's Service.
    #[must_use]
    pub fn ingress_gateway_port(self, port: u16) -> Self {
        self.set("/spec/ingress_gateway_port", port)
    }

    /// The name that the meshes share.
    #[must_use]
    pub fn relationship(self, name: &str) -> Self {
        self.set("/spec/relationship", name)
    }

    /// Server names outside of `emcee.internal` that bindings may ask for.
    #[must_use]
    pub fn allowed_server_names<const N: usize>(self, names: [&str; N]) -> Self {
        self.set("/spec/allowed_server_names", strings(names))
    }

    /// Namespaces whose expositions and bindings may use it.
    #[must_use]
    pub fn allowed_namespaces<const N: usize>(self, namespaces: [&str; N]) -> Self {
        self.set("/spec/allowed_namespaces", strings(namespaces))
    }

    /// One more peer.
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        list_at(&mut self.0, "/spec/peers").push(peer.0);
        self
    }

    /// A field of `discovery`: `announce`, `import`, `namespaces`, `max_imports`, `on_peer_loss`, `expire_after`.
    #[must_use]
    pub fn discovery(self, field: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/spec/discovery/{field}"), value)
    }
}

/// An entry of `peers`.
#[derive(Clone, Debug)]
pub struct Peer(Value);

impl Peer {
    /// A peer and the names of its certificate.
    pub fn new<const N: usize>(name: &str, subject_alt_names: [&str; N]) -> Self {
        Self(json!({"name": name, "subject_alt_names": strings(subject_alt_names)}))
    }

    /// Where its discovery server is.
    #[must_use]
    pub fn discovery(self, address: &str) -> Self {
        self.with("discovery", address.into())
    }

    /// Where its endpoints may lie, as CIDRs.
    #[must_use]
    pub fn networks<const N: usize>(self, networks: [&str; N]) -> Self {
        self.with("networks", strings(networks))
    }

    /// Where its endpoints' host names may lie.
    #[must_use]
    pub fn domains<const N: usize>(self, domains: [&str; N]) -> Self {
        self.with("domains", strings(domains))
    }

    /// Where its workloads' identities may lie.
    #[must_use]
    pub fn trust_domains<const N: usize>(self, trust_domains: [&str; N]) -> Self {
        self.with("trust_domains", strings(trust_domains))
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}

/// The words that expositions and bindings share.
macro_rules! service_words {
    ($($type:ident)*) => {$(
        impl $type {
            /// Selects the `MeshFedConfig` labelled, or named, so.
            #[must_use]
            pub fn fed(self, mesh_fed_config: &str) -> Self {
                self.mesh_fed_config_selector([("fed-config", mesh_fed_config)])
            }

            /// Labels of `MeshFedConfigs`.
            #[must_use]
            pub fn mesh_fed_config_selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
                self.set("/spec/mesh_fed_config_selector", map(labels))
            }

            /// The service's port.
            #[must_use]
            pub fn port(self, port: u16) -> Self {
                self.set("/spec/port", port)
            }

            /// Another name than the service's.
            #[must_use]
            pub fn alias(self, alias: &str) -> Self {
                self.set("/spec/alias", alias)
            }

            /// The subset that is meant.
            #[must_use]
            pub fn subset(self, subset: &str) -> Self {
                self.set("/spec/subset", subset)
            }

            /// http, http2, grpc, tcp or tls.
            #[must_use]
            pub fn protocol(self, protocol: &str) -> Self {
                self.set("/spec/protocol", protocol)
            }

            /// The service's identities.
            #[must_use]
            pub fn subject_alt_names<const N: usize>(self, names: [&str; N]) -> Self {
                self.set("/spec/subject_alt_names", strings(names))
            }
        }
    )*};
}

service_words!(ServiceExposition ServiceBinding);

impl ServiceExposition {
    /// The Service, where it is not of the exposition's name.
    #[must_use]
    pub fn of(self, service: &str) -> Self {
        self.set("/spec/name", service)
    }

    /// Whether it is announced.
    #[must_use]
    pub fn directory(self, announced: bool) -> Self {
        self.set("/spec/directory", announced)
    }

    /// The only peers that may see and call it.
    #[must_use]
    pub fn peers<const N: usize>(self, peers: [&str; N]) -> Self {
        self.set("/spec/peers", strings(peers))
    }
}

impl ServiceBinding {
    /// The remote service, where it is not of the binding's name or namespace.
    #[must_use]
    pub fn to(self, namespace: &str, service: &str) -> Self {
        self.set("/spec/namespace", namespace).set("/spec/name", service)
    }

    /// Where the remote side is reached, `host:port`.
    #[must_use]
    pub fn endpoints<const N: usize>(self, endpoints: [&str; N]) -> Self {
        self.set("/spec/endpoints", strings(endpoints))
    }

    /// The peer that is meant.
    #[must_use]
    pub fn peer(self, peer: &str) -> Self {
        self.set("/spec/peer", peer)
    }

    /// The server name, where it is not the computed one.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.set("/spec/server_name", name)
    }

    /// Who in the mesh may see the facade.
    #[must_use]
    pub fn export_to<const N: usize>(self, namespaces: [&str; N]) -> Self {
        self.set("/spec/export_to", strings(namespaces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_the_samples_do() {
        let blue =
            boundary("blue").peer(Peer::new("m2", ["m2.blue.example"])).discovery("import", "Automatic");
        let spec = json!({
            "mode": "BOUNDARY",
            "tls_context_selector": {"relationship": "blue"},
            "use_egress_gateway": true,
            "use_ingress_gateway": true,
            "peers": [{"name": "m2", "subject_alt_names": ["m2.blue.example"]}],
            "discovery": {"import": "Automatic"},
        });
        assert_eq!(blue.build()["spec"], spec);

        let reviews =
            exposition("default", "se1").of("reviews").port(9080).fed("blue").directory(false).build();
        let spec = json!({
            "name": "reviews",
            "port": 9080,
            "mesh_fed_config_selector": {"fed-config": "blue"},
            "directory": false,
        });
        assert_eq!(reviews["spec"], spec);

        let remote = binding("default", "remote").to("shop", "reviews").endpoints(["9.1.2.3:15443"]).build();
        let spec = json!({"name": "reviews", "namespace": "shop", "endpoints": ["9.1.2.3:15443"]});
        assert_eq!(remote["spec"], spec);
    }
}
