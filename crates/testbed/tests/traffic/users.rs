//! What users of Emcee write in both meshes, for one relationship of a style.

use std::fmt::Write as _;

use anyhow::Result;

/// Namespace of the services.
pub(crate) const SHOP: &str = "shop";
/// Namespace of the callers.
pub(crate) const WEB: &str = "web";
/// Identity of the services' workloads.
pub(crate) const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/helloworld";

/// A style, and a relationship of that style between m1, which consumes, and m2, which exposes.
pub(crate) struct Style {
    /// Name of the relationship.
    pub(crate) name: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) egress: bool,
    pub(crate) ingress: bool,
}

pub(crate) const BOUNDARY: Style = Style { name: "boundary", mode: "BOUNDARY", egress: true, ingress: true };
pub(crate) const PASSTHROUGH: Style =
    Style { name: "passthrough", mode: "PASSTHROUGH", egress: false, ingress: true };
pub(crate) const WHARF: Style = Style { name: "wharf", mode: "WHARF", egress: true, ingress: true };
pub(crate) const FLAT: Style = Style { name: "flat", mode: "FLAT", egress: false, ingress: false };
pub(crate) const STYLES: [&Style; 4] = [&BOUNDARY, &PASSTHROUGH, &WHARF, &FLAT];

/// A port of the server, and the alias under which it is exposed.
struct Port {
    alias: &'static str,
    number: u16,
    protocol: &'static str,
}

const PORTS: [Port; 4] = [
    Port { alias: "helloworld", number: 5000, protocol: "http" },
    Port { alias: "rpc", number: 7000, protocol: "grpc" },
    Port { alias: "ws", number: 7001, protocol: "http" },
    Port { alias: "echo", number: 9000, protocol: "tcp" },
];

impl Style {
    /// Whether only the gateways of both meshes know each other, by the certificates of the relationship.
    pub(crate) fn is_boundary(&self) -> bool {
        self.mode == "BOUNDARY"
    }

    /// Namespace of the relationship.
    pub(crate) fn fed(&self) -> String {
        format!("fed-{}", self.name)
    }

    /// Binding host in the consuming mesh.
    pub(crate) fn host(&self, binding: &str) -> String {
        format!("{}-{binding}.{WEB}.binding.emcee.internal", self.name)
    }

    /// Inter-mesh server name, which both meshes compute alike.
    pub(crate) fn server_name(&self, alias: &str) -> String {
        format!("{alias}.{SHOP}.{}.emcee.internal", self.name)
    }

    /// The relationship, as the mesh with this `side` writes it.
    pub(crate) fn config(&self, side: &str, peer: &str) -> String {
        let (name, mode, fed) = (self.name, self.mode, self.fed());
        let needed = if side == "egress" { self.egress } else { self.ingress };
        let gateway =
            if needed { format!("use_{side}_gateway: true\n  gateway_replicas: 1") } else { String::new() };
        let trust = if self.is_boundary() { "tls_context_selector: {relationship: blue}" } else { "" };
        format!(
            "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {{name: {name}, namespace: {fed}}}
spec:
  mode: {mode}
  {gateway}
  {trust}
  peers: [{{name: {peer}, subject_alt_names: [{peer}.example]}}]
---"
        )
    }

    /// Expositions of each port of the server, of subset v2, and of services whose rules a test deletes.
    pub(crate) fn expositions(&self) -> String {
        let mut all = String::new();
        for port in &PORTS {
            all += &self.exposition(port.alias, port.number, "");
        }
        all += &self.exposition("second", 5000, "subset: v2");
        all += &self.exposition("frail", 5000, "");
        all += &self.exposition("frail-echo", 9000, "");
        all
    }

    fn exposition(&self, alias: &str, port: u16, more: &str) -> String {
        let name = self.name;
        format!(
            "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {{name: {name}-{alias}, namespace: {SHOP}}}
spec:
  name: helloworld
  port: {port}
  alias: {alias}
  mesh_fed_config_selector: {{fed-config: {name}}}
  {more}
---"
        )
    }

    /// A binding for every exposition; one for a service that is not exposed; one for the binding's namespace only; one
    /// for a subset; two that point to a sink.
    pub(crate) fn bindings(&self, at: &dyn Fn(u16) -> Result<Vec<String>>, sink: &str) -> Result<String> {
        let mut all = String::new();
        for port in &PORTS {
            all += &self.binding(port.alias, port.alias, port.number, port.protocol, &at(port.number)?, "");
        }
        let http = at(5000)?;
        for alias in ["second", "frail", "hidden"] {
            all += &self.binding(alias, alias, 5000, "http", &http, "");
        }
        all += &self.binding("frail-echo", "frail-echo", 9000, "tcp", &at(9000)?, "");
        all += &self.binding("private", "helloworld", 5000, "http", &http, "export_to: [\".\"]");
        all += &self.binding("part", "helloworld", 5000, "http", &http, "subset: v2");
        let sink = [sink.to_owned()];
        all += &self.binding("sunk", "sunk", 5000, "http", &sink, "");
        Ok(all + &self.binding("sunk-echo", "sunk-echo", 9000, "tcp", &sink, ""))
    }

    pub(crate) fn binding(
        &self,
        name: &str,
        remote: &str,
        port: u16,
        protocol: &str,
        endpoints: &[String],
        more: &str,
    ) -> String {
        let style = self.name;
        let mut yaml = format!(
            "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceBinding
metadata: {{name: {style}-{name}, namespace: {WEB}}}
spec:
  name: {remote}
  namespace: {SHOP}
  alias: {style}-{name}
  port: {port}
  protocol: {protocol}
  mesh_fed_config_selector: {{fed-config: {style}}}
  endpoints: [{}]
  {more}
",
            endpoints.join(", ")
        );
        if !self.is_boundary() {
            let _ = writeln!(yaml, "  subject_alt_names: [\"{SERVER}\"]");
        }
        yaml + "---"
    }
}

/// The user's own rule for the versions of the server.
pub(crate) fn versions() -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: helloworld, namespace: {SHOP}}}
spec:
  host: helloworld.{SHOP}.svc.cluster.local
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---"
    )
}

/// The Secret of a relationship.
pub(crate) fn secret(namespace: &str, certificate: &str, key: &str, ca: &str) -> String {
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "rel", "namespace": namespace, "labels": {"relationship": "blue"}},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": ca},
    });
    format!("{secret}\n---\n")
}

/// A Service of the user, with a route to the binding for a subset.
pub(crate) fn split(style: &Style) -> String {
    let (name, host) = (style.name, style.host("part"));
    let headers = if style.is_boundary() {
        format!(", headers: {{request: {{set: {{Host: {host}}}}}}}")
    } else {
        String::new()
    };
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}-split, namespace: {WEB}}}
spec: {{ports: [{{name: http, port: 5000}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}-split, namespace: {WEB}}}
spec:
  hosts: [{name}-split.{WEB}.svc.cluster.local]
  http: [{{route: [{{destination: {{host: {host}, subset: emcee, port: {{number: 80}}}}{headers}}}]}}]
---"
    )
}
