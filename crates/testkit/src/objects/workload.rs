//! Namespaces, Deployments and Pods.

use serde_json::json;

use super::{Builder, builders, list_at, map};

builders! {
    /// A Deployment without containers.
    Deployment, deployment, "apps/v1", "Deployment";
    /// A Pod without containers.
    Pod, pod, "v1", "Pod";
    /// A Namespace. It has no namespace itself; use [`namespace`].
    Namespace, namespace_in, "v1", "Namespace";
}

/// A Namespace, with the label that Kubernetes sets.
pub fn namespace(name: &str) -> Namespace {
    namespace_in("", name).unset("/metadata/namespace").label("kubernetes.io/metadata.name", name)
}

impl Deployment {
    /// Sets the labels of its pods, and its selector.
    #[must_use]
    pub fn pod_labels<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/selector/matchLabels", map(labels)).set("/spec/template/metadata/labels", map(labels))
    }

    /// Sets how many pods it wants.
    #[must_use]
    pub fn replicas(self, count: u32) -> Self {
        self.set("/spec/replicas", count)
    }

    /// Sets the service account of its pods.
    #[must_use]
    pub fn service_account(self, name: &str) -> Self {
        self.set("/spec/template/spec/serviceAccountName", name)
    }

    /// Adds another container to its pods.
    #[must_use]
    pub fn container(mut self, name: &str, image: &str) -> Self {
        list_at(&mut self.0, "/spec/template/spec/containers").push(json!({"name": name, "image": image}));
        self
    }
}

impl Pod {
    /// Sets the pod's service account.
    #[must_use]
    pub fn service_account(self, name: &str) -> Self {
        self.set("/spec/serviceAccountName", name)
    }

    /// Sets its address, and makes it running and ready.
    #[must_use]
    pub fn running(self, address: &str) -> Self {
        self.set("/status/phase", "Running")
            .set("/status/podIP", address)
            .set("/status/conditions", json!([{"type": "Ready", "status": "True"}]))
    }

    /// Adds another container, with the port that it serves.
    #[must_use]
    pub fn container(mut self, name: &str, port: u16) -> Self {
        let container = json!({"name": name, "ports": [{"containerPort": port}]});
        list_at(&mut self.0, "/spec/containers").push(container);
        self
    }

    /// Adds Istio's sidecar, as the injector does.
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
