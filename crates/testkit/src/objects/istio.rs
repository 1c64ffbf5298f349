//! Builders for Istio's kinds that users write and Emcee reads.

use serde_json::json;

use super::{Builder, builders, list_at, map};

builders! {
    /// A `PeerAuthentication` with an empty spec.
    PeerAuthentication, peer_authentication, "security.istio.io/v1", "PeerAuthentication";
    /// A `DestinationRule`; set its [`host`](DestinationRule::host).
    DestinationRule, destination_rule, "networking.istio.io/v1", "DestinationRule";
    /// A `WorkloadEntry`; set its [`address`](WorkloadEntry::address).
    WorkloadEntry, workload_entry, "networking.istio.io/v1", "WorkloadEntry";
}

impl PeerAuthentication {
    /// Sets the mode: `STRICT`, `PERMISSIVE`, `DISABLE` or `UNSET`.
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.set("/spec/mtls/mode", mode)
    }

    /// Applies it to pods with these labels only.
    #[must_use]
    pub fn selector<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/selector/matchLabels", map(labels))
    }

    /// Sets another mode for one port of the pods. This needs a selector to have an effect.
    #[must_use]
    pub fn port_mode(self, port: u16, mode: &str) -> Self {
        self.set(&format!("/spec/portLevelMtls/{port}/mode"), mode)
    }
}

impl DestinationRule {
    /// Sets the host to which the rule applies.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.set("/spec/host", host)
    }

    /// Adds another subset to the rule.
    #[must_use]
    pub fn subset<const N: usize>(mut self, name: &str, labels: [(&str, &str); N]) -> Self {
        list_at(&mut self.0, "/spec/subsets").push(json!({"name": name, "labels": map(labels)}));
        self
    }

    /// Sets how clients use TLS: `ISTIO_MUTUAL`, `DISABLE`, …
    #[must_use]
    pub fn tls_mode(self, mode: &str) -> Self {
        self.set("/spec/trafficPolicy/tls/mode", mode)
    }
}

impl WorkloadEntry {
    /// Sets the address of the workload.
    #[must_use]
    pub fn address(self, address: &str) -> Self {
        self.set("/spec/address", address)
    }

    /// Labels by which it can be selected.
    #[must_use]
    pub fn labels<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        self.set("/spec/labels", map(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_match_the_istio_documentation() {
        let strict =
            peer_authentication("default", "default").mode("STRICT").port_mode(9080, "PERMISSIVE").build();
        assert_eq!(
            strict["spec"],
            json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"9080": {"mode": "PERMISSIVE"}}})
        );
        let rule =
            destination_rule("default", "reviews").host("reviews").subset("v2", [("version", "v2")]).build();
        assert_eq!(
            rule["spec"],
            json!({"host": "reviews", "subsets": [{"name": "v2", "labels": {"version": "v2"}}]})
        );
    }
}
