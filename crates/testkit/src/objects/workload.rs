//! Namespaces, Deployments and Pods.

use serde_json::json;

use super::{Builder, builders, list_at, map};

builders! {
    /// A Deployment.
    Deployment, deployment, "apps/v1", "Deployment";
    /// A Pod.
    Pod, pod, "v1", "Pod";
    /// A Namespace, which has none itself: [`namespace`].
    Namespace, namespace_in, "v1", "Namespace";
}

/// A Namespace.
pub fn namespace(name: &str) -> Namespace {
    namespace_in("", name).unset("/metadata/namespace").label("kubernetes.io/metadata.name", name)
}

impl Deployment {
    /// Labels of its pods, and its selector.
    #[must_use]
    pub fn pod_labels<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/selector/matchLabels", map(labels)).set("/spec/template/metadata/labels", map(labels))
    }

    /// How many pods it wants.
    #[must_use]
    pub fn replicas(self, count: u32) -> Self {
        self.set("/spec/replicas", count)
    }

    /// The identity of its pods.
    #[must_use]
    pub fn service_account(self, name: &str) -> Self {
        self.set("/spec/template/spec/serviceAccountName", name)
    }

    /// One more container.
    #[must_use]
    pub fn container(mut self, name: &str, image: &str) -> Self {
        list_at(&mut self.0, "/spec/template/spec/containers").push(json!({"name": name, "image": image}));
        self
    }
}

impl Pod {
    /// Its identity.
    #[must_use]
    pub fn service_account(self, name: &str) -> Self {
        self.set("/spec/serviceAccountName", name)
    }

    /// Its address; it runs and is ready then.
    #[must_use]
    pub fn running(self, address: &str) -> Self {
        self.set("/status/phase", "Running")
            .set("/status/podIP", address)
            .set("/status/conditions", json!([{"type": "Ready", "status": "True"}]))
    }

    /// One more container, with the port it serves.
    #[must_use]
    pub fn container(mut self, name: &str, port: u16) -> Self {
        let container = json!({"name": name, "ports": [{"containerPort": port}]});
        list_at(&mut self.0, "/spec/containers").push(container);
        self
    }

    /// With Istio's sidecar, as the injector leaves it.
    #[must_use]
    pub fn sidecar(self) -> Self {
        self.annotation("sidecar.istio.io/status", r#"{"containers":["istio-proxy"]}"#)
            .container("istio-proxy", 15090)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1 as apps, core::v1};

    use super::*;

    #[test]
    fn kubernetes_types_read_them() {
        let built = pod("default", "reviews-v1").service_account("reviews").container("app", 9080).sidecar();
        let typed: v1::Pod = built.running("10.0.0.1").typed();
        assert_eq!(typed.spec.unwrap().containers.len(), 2);

        let built =
            deployment("default", "reviews").pod_labels([("app", "reviews")]).container("app", "reviews:1");
        let typed: apps::Deployment = built.replicas(2).service_account("reviews").typed();
        assert_eq!(typed.spec.unwrap().replicas, Some(2));

        let typed: v1::Namespace = namespace("blue").typed();
        assert_eq!((typed.metadata.name.as_deref(), typed.metadata.namespace), (Some("blue"), None));
    }
}
