//! Certificates of a relationship, as gateways read them.

use anyhow::Result;
use serde_json::json;

use super::Mesh;
use crate::cluster::Identity;

impl Mesh {
    /// Applies a Secret with `tls.crt`, `tls.key` and `ca.crt`.
    pub fn apply_tls_secret(&self, namespace: &str, name: &str, own: &Identity, ca: &str) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": ca},
        });
        self.apply(&secret.to_string())
    }
}
