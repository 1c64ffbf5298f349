//! Services and their `EndpointSlices`.

use serde_json::{Value, json};

use super::{Builder, builders, list_at, map, map_at, value_at};

builders! {
    /// A Service without ports.
    Service, service, "v1", "Service";
    /// The `EndpointSlice` of a Service. Pass the name of the Service; the name of the slice is derived from it.
    EndpointSlice, slice_named, "discovery.k8s.io/v1", "EndpointSlice";
}

impl Service {
    /// Adds another port. [`Self::target_port`] and [`Self::app_protocol`] apply to the last one.
    #[must_use]
    pub fn port(mut self, name: &str, port: u16) -> Self {
        list_at(&mut self.0, "/spec/ports").push(json!({"name": name, "port": port}));
        self
    }

    /// Sets the last port's target: a number or a name.
    #[must_use]
    pub fn target_port(self, target: impl Into<Value>) -> Self {
        self.set_on_last_port("targetPort", target.into())
    }

    /// Sets the last port's `appProtocol`.
    #[must_use]
    pub fn app_protocol(self, protocol: &str) -> Self {
        self.set_on_last_port("appProtocol", protocol.into())
    }

    /// Selects the pods of the Service by labels.
    #[must_use]
    pub fn selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/selector", map(labels))
    }

    /// Sets its address in the cluster; `None` for a headless Service.
    #[must_use]
    pub fn cluster_ip(self, address: &str) -> Self {
        self.set("/spec/clusterIP", address)
    }

    /// Makes the Service headless: without an address of its own.
    #[must_use]
    pub fn headless(self) -> Self {
        self.cluster_ip("None")
    }

    /// Makes it a `LoadBalancer` Service, without an address yet.
    #[must_use]
    pub fn load_balancer(self) -> Self {
        self.set("/spec/type", "LoadBalancer")
    }

    /// Makes it a `LoadBalancer` Service, and adds an address: an IP or a host name.
    #[must_use]
    pub fn external(self, address: &str) -> Self {
        let field = if address.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "hostname" };
        let mut service = self.load_balancer();
        list_at(&mut service.0, "/status/loadBalancer/ingress").push(json!({field: address}));
        service
    }

    fn set_on_last_port(mut self, field: &str, value: Value) -> Self {
        let port = list_at(&mut self.0, "/spec/ports")
            .last_mut()
            .expect("a port is added before its fields are set");
        *value_at(port, &format!("/{field}")) = value;
        self
    }
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The `EndpointSlice` of a Service, with the labels that Kubernetes sets.
pub fn endpoint_slice(namespace: &str, service: &str) -> EndpointSlice {
    slice_named(namespace, &format!("{service}-1"))
        .label("kubernetes.io/service-name", service)
        .label(MANAGED_BY, "endpointslice-controller.k8s.io")
        .set("/addressType", "IPv4")
        .set("/endpoints", json!([]))
        .set("/ports", json!([]))
}

impl EndpointSlice {
    /// Adds another port, as the pods serve it.
    #[must_use]
    pub fn port(mut self, name: &str, port: u16) -> Self {
        list_at(&mut self.0, "/ports").push(json!({"name": name, "port": port, "protocol": "TCP"}));
        self
    }

    /// Adds an endpoint that receives traffic. The slice's address type follows the address.
    #[must_use]
    pub fn ready(self, address: &str) -> Self {
        self.add_endpoint(address, true)
    }

    /// Adds an endpoint that receives no traffic.
    #[must_use]
    pub fn not_ready(self, address: &str) -> Self {
        self.add_endpoint(address, false)
    }

    /// Makes this pod, in the slice's namespace, the target of the last endpoint.
    #[must_use]
    pub fn pod(mut self, name: &str) -> Self {
        let namespace = self.0["metadata"]["namespace"].clone();
        let last =
            list_at(&mut self.0, "/endpoints").last_mut().expect("an endpoint is added before its pod");
        *value_at(last, "/targetRef") = json!({"kind": "Pod", "name": name, "namespace": namespace});
        self
    }

    /// Marks it as written by a person, and not by Kubernetes for the Service's pods.
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        map_at(&mut self.0, "/metadata/labels").shift_remove(MANAGED_BY);
        self
    }

    fn add_endpoint(self, address: &str, ready: bool) -> Self {
        let family = match address.parse() {
            Ok(std::net::IpAddr::V4(_)) => "IPv4",
            Ok(std::net::IpAddr::V6(_)) => "IPv6",
            Err(_) => "FQDN",
        };
        let mut slice = self.set("/addressType", family);
        let endpoint = json!({"addresses": [address], "conditions": {"ready": ready}});
        list_at(&mut slice.0, "/endpoints").push(endpoint);
        slice
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1, discovery::v1 as discovery};

    use super::*;

    #[test]
    fn kubernetes_types_read_them() {
        let built = service("default", "reviews")
            .port("http", 9080)
            .target_port(9081)
            .app_protocol("http")
            .selector([("app", "reviews")])
            .external("203.0.113.12");
        let typed: v1::Service = built.typed();
        let ports = typed.spec.unwrap().ports.unwrap();
        assert_eq!((ports[0].port, ports[0].app_protocol.as_deref()), (9080, Some("http")));

        let built =
            endpoint_slice("default", "reviews").port("http", 9081).ready("10.0.0.1").pod("reviews-v1");
        let typed: discovery::EndpointSlice = built.not_ready("10.0.0.2").typed();
        assert_eq!(typed.address_type, "IPv4");
        assert_eq!(typed.endpoints.len(), 2);
    }
}
