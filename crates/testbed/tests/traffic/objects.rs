//! Objects of consuming and exposing meshes, written by hand after the design of the styles.

/// Name of a service at a gateway.
pub(crate) fn exposed_host(alias: &str, fed: &str) -> String {
    format!("{alias}.default.{fed}.emcee.internal")
}

/// A port of the facade, and the service behind it.
pub(crate) struct Port {
    pub(crate) alias: &'static str,
    pub(crate) number: u16,
    /// `http`, `grpc` or `tcp`.
    pub(crate) protocol: &'static str,
}

impl Port {
    fn is_http(&self) -> bool {
        self.protocol != "tcp"
    }

    /// Port, name and protocol of the remote host. Routes to it are by cluster, so everything but HTTP may be TLS,
    /// which opens no port in the sidecars of other workloads.
    fn remote_port(&self) -> (u16, &'static str, &'static str) {
        if self.is_http() { (80, "http", "HTTP") } else { (9443, "tls", "TLS") }
    }
}

/// Facade and TLS origination in a consuming mesh, for a service in the peer's namespace `namespace`.
pub(crate) fn consuming_objects(
    port: &Port,
    fed: &str,
    namespace: &str,
    endpoints: &[(String, u16)],
) -> String {
    let name = format!("{}-{fed}", port.alias);
    let local = format!("{name}.{namespace}.binding.emcee.internal");
    let (number, port_name, protocol) = port.remote_port();
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(address, port)| format!("{{address: {address}, ports: {{{port_name}: {port}}}}}"))
        .collect();
    let endpoints = endpoints.join(", ");
    let route = facade_route(port, namespace, &local, number);
    let exposed = exposed_host(port.alias, fed);
    let (facade_port, app_protocol) = (port.number, port.protocol);
    let pool = if port.is_http() { "connectionPool: {http: {useClientProtocol: true}}, " } else { "" };
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: main, port: {facade_port}, appProtocol: {app_protocol}}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{local}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {number}, name: {port_name}, protocol: {protocol}}}]
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {local}
  subsets:
  - name: emcee
    trafficPolicy: {{{pool}tls: {{mode: ISTIO_MUTUAL, sni: {exposed}, subjectAltNames: [spiffe://cluster.local/ns/{namespace}/sa/helloworld]}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
{route}"
    )
}

fn facade_route(port: &Port, namespace: &str, local: &str, number: u16) -> String {
    let matches = format!("match: [{{port: {}}}]", port.number);
    let destination =
        format!("route: [{{destination: {{host: {local}, subset: emcee, port: {{number: {number}}}}}}}]");
    if port.is_http() {
        let rewrite = format!("rewrite: {{authority: helloworld.{namespace}.svc.cluster.local}}");
        return format!("  http: [{{{matches}, {rewrite}, {destination}}}]\n");
    }
    format!("  tcp: [{{{matches}, {destination}}}]\n")
}

/// Pods and Service of a gateway; its Secrets are in its own namespace.
pub(crate) fn gateway_objects(fed: &str, role: &str, kind: &str, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: {fed}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {role}, namespace: {fed}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {role}, namespace: {fed}}}
rules: [{{apiGroups: [\"\"], resources: [secrets], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {role}, namespace: {fed}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}
subjects: [{{kind: ServiceAccount, name: {role}, namespace: {fed}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {role}, namespace: {fed}}}
spec:
  selector: {{matchLabels: {{gateway: {fed}-{role}}}}}
  template:
    metadata:
      labels: {{gateway: {fed}-{role}, sidecar.istio.io/inject: \"true\"}}
      annotations: {{inject.istio.io/templates: gateway, sidecar.istio.io/statsInclusionRegexps: listener.*ssl.*}}
    spec: {{serviceAccountName: {role}, containers: [{{name: istio-proxy, image: auto}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {role}, namespace: {fed}}}
spec:
  type: {kind}
  selector: {{gateway: {fed}-{role}}}
  ports: [{{name: tls, port: {port}, targetPort: 15443, appProtocol: tls}}]
"
    )
}

/// TLS passthrough at an ingress, which does not terminate the caller's TLS.
pub(crate) fn tls_passthrough(port: &Port, fed: &str, namespace: &str) -> String {
    let exposed = exposed_host(port.alias, fed);
    let (alias, number) = (port.alias, port.number);
    let protocol = port.protocol.to_uppercase();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {alias}, namespace: {fed}}}
spec:
  selector: {{gateway: {fed}-ingress}}
  servers: [{{port: {{number: 15443, name: tls-{alias}, protocol: TLS}}, hosts: [{fed}/{exposed}], tls: {{mode: PASSTHROUGH}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {alias}-{fed}, namespace: {namespace}}}
spec:
  hosts: [raw.{exposed}]
  exportTo: [{fed}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {number}, name: main, protocol: {protocol}, targetPort: {number}}}]
  workloadSelector: {{labels: {{app: helloworld}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {alias}-{fed}, namespace: {namespace}}}
spec:
  host: raw.{exposed}
  exportTo: [{fed}]
  subsets: [{{name: emcee, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {alias}, namespace: {fed}}}
spec:
  exportTo: [.]
  hosts: [{exposed}]
  gateways: [{fed}/{alias}]
  tls:
  - match: [{{port: 15443, sniHosts: [{exposed}]}}]
    route: [{{destination: {{host: raw.{exposed}, subset: emcee, port: {{number: {number}}}}}}}]
"
    )
}
