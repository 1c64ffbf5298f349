//! The mistakes: a mesh without one, and what to change in it.

/// A mesh without mistakes: `emcee validate` reports only that the Secret is assumed.
pub(crate) const MESH: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata:
  name: trade
  namespace: fed-trade
  labels: {fed-config: trade}
spec:
  mode: BOUNDARY
  relationship: trade
  tls_context_selector: {relationship: trade}
  use_egress_gateway: true
  use_ingress_gateway: true
  allowed_namespaces: [payments, shop]
  peers:
  - name: kestrel
    subject_alt_names: [mesh.kestrel.example]
    networks: [203.0.113.0/24]
    domains: [kestrel.example]
  discovery: {announce: true}
---
apiVersion: v1
kind: Service
metadata:
  name: payments-api
  namespace: payments
spec:
  selector: {app: payments}
  ports:
  - {name: http, port: 8080}
---
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata:
  name: payments-api
  namespace: payments
spec:
  name: payments-api
  port: 8080
  alias: payments
  protocol: HTTP
  mesh_fed_config_selector: {fed-config: trade}
---
apiVersion: mm.ibm.istio.io/v1
kind: ServiceBinding
metadata:
  name: stock
  namespace: shop
spec:
  name: stock
  namespace: warehouse
  port: 9080
  protocol: HTTP
  peer: kestrel
  mesh_fed_config_selector: {fed-config: trade}
  endpoints: ['203.0.113.12:15443']
";

/// A mistake: what to replace in [`MESH`], and by what. Only the first occurrence is replaced.
pub(crate) const MISTAKES: &[(&str, &str, &str)] = &[
    // The kind and the version.
    ("old version", "istio.io/v1\nkind: MeshFedConfig", "istio.io/v1beta1\nkind: MeshFedConfig"),
    (
        "old version of a binding",
        "istio.io/v1\nkind: ServiceBinding",
        "istio.io/v1alpha1\nkind: ServiceBinding",
    ),
    ("group emcee.io", "mm.ibm.istio.io/v1\nkind: ServiceExposition", "emcee.io/v1\nkind: ServiceExposition"),
    (
        "group emcee.io of a binding",
        "mm.ibm.istio.io/v1\nkind: ServiceBinding",
        "emcee.io/v1\nkind: ServiceBinding",
    ),
    ("misspelt group", "mm.ibm.istio.io/v1\nkind: MeshFedConfig", "mm.imb.istio.io/v1\nkind: MeshFedConfig"),
    ("no group", "mm.ibm.istio.io/v1\nkind: MeshFedConfig", "v1\nkind: MeshFedConfig"),
    ("kind in lower case", "kind: MeshFedConfig", "kind: meshfedconfig"),
    ("kind in plural", "kind: ServiceBinding", "kind: ServiceBindings"),
    ("unknown kind", "kind: ServiceExposition", "kind: ServiceExport"),
    ("kind is a number", "kind: MeshFedConfig", "kind: 5"),
    ("kind is missing", "kind: MeshFedConfig\n", ""),
    (
        "apiversion",
        "apiVersion: mm.ibm.istio.io/v1\nkind: MeshFedConfig",
        "apiversion: mm.ibm.istio.io/v1\nkind: MeshFedConfig",
    ),
    // Metadata.
    ("lables", "labels: {fed-config: trade}", "lables: {fed-config: trade}"),
    ("annotation", "labels: {fed-config: trade}", "annotation: {a: b}"),
    ("unknown metadata", "labels: {fed-config: trade}", "owner: {a: b}"),
    ("label that is a number", "{fed-config: trade}", "{fed-config: 1}"),
    ("labels as a list", "labels: {fed-config: trade}", "labels: [fed-config]"),
    ("no name", "  name: trade\n", ""),
    ("empty name", "  name: trade\n", "  name: ''\n"),
    ("name with a capital", "  name: stock\n  namespace: shop", "  name: Stock\n  namespace: shop"),
    ("name with an underscore", "  name: stock\n  namespace: shop", "  name: my_stock\n  namespace: shop"),
    ("name that is a number", "  name: stock\n  namespace: shop", "  name: 1234\n  namespace: shop"),
    ("name that is a boolean", "  name: stock\n  namespace: shop", "  name: no\n  namespace: shop"),
    ("name with a slash", "  name: stock\n  namespace: shop", "  name: shop/stock\n  namespace: shop"),
    ("no namespace of a binding", "  namespace: shop\n", ""),
    (
        "no namespace of an exposition",
        "name: payments-api\n  namespace: payments\nspec:\n  name",
        "name: payments-api\nspec:\n  name",
    ),
    ("no namespace of a MeshFedConfig", "  namespace: fed-trade\n", ""),
    ("namespace with a capital", "namespace: shop\n", "namespace: Shop\n"),
    ("namespace that is a boolean", "namespace: shop\n", "namespace: y\n"),
    ("misspelt namespace", "namespace: shop\n", "namespace: shpo\n"),
    ("metadata is a list", "metadata:\n  name: stock\n  namespace: shop", "metadata: [a]"),
    ("metadata is missing", "metadata:\n  name: stock\n  namespace: shop\n", ""),
    // The spec as a whole.
    ("Spec", "spec:\n  mode", "Spec:\n  mode"),
    ("spec is missing", "spec:\n  name: stock", "status:\n  name: stock"),
    ("spec is empty", "spec:\n  mode: BOUNDARY", "spec: {}\nstatus:\n  mode: BOUNDARY"),
    ("spec is a list", "spec:\n  name: stock", "spec: []\nstatus:\n  name: stock"),
    ("spec is a text", "spec:\n  name: stock", "spec: stock\nstatus:\n  name: stock"),
    // Unknown fields.
    ("useIngressGateway", "use_ingress_gateway", "useIngressGateway"),
    ("useEgressGateway", "use_egress_gateway", "useEgressGateway"),
    ("use_ingres_gateway", "use_ingress_gateway", "use_ingres_gateway"),
    ("use-ingress-gateway", "use_ingress_gateway", "use-ingress-gateway"),
    ("UseEgressGateway", "use_egress_gateway", "UseEgressGateway"),
    ("tlsContextSelector", "tls_context_selector", "tlsContextSelector"),
    ("tls_context", "tls_context_selector", "tls_context"),
    ("meshFedConfigSelector", "mesh_fed_config_selector", "meshFedConfigSelector"),
    ("mesh_fed_selector", "mesh_fed_config_selector", "mesh_fed_selector"),
    ("subjectAltNames", "subject_alt_names", "subjectAltNames"),
    ("subject_alt_name", "subject_alt_names", "subject_alt_name"),
    ("allowedNamespaces", "allowed_namespaces", "allowedNamespaces"),
    ("style", "  mode: BOUNDARY", "  style: BOUNDARY"),
    ("Mode", "  mode: BOUNDARY", "  Mode: BOUNDARY"),
    ("prt", "  port: 9080", "  prt: 9080"),
    ("targetPort", "  port: 9080", "  port: 9080\n  targetPort: 80"),
    ("endpoint", "  endpoints:", "  endpoint:"),
    ("Endpoints", "  endpoints:", "  Endpoints:"),
    ("peers of a binding", "  peer: kestrel", "  peers: [kestrel]"),
    (
        "selector",
        "mesh_fed_config_selector: {fed-config: trade}\n  endpoints",
        "selector: {fed-config: trade}\n  endpoints",
    ),
    ("replicas", "  discovery: {announce: true}", "  replicas: 3"),
    ("expireAfter", "{announce: true}", "{expireAfter: 10m}"),
    ("anounce", "{announce: true}", "{anounce: true}"),
    // Style and gateways.
    ("misspelt style", "mode: BOUNDARY", "mode: BOUNDRY"),
    ("style that does not exist", "mode: BOUNDARY", "mode: MESH"),
    ("style is missing", "  mode: BOUNDARY\n", ""),
    ("style is empty", "mode: BOUNDARY", "mode: ''"),
    ("style is a number", "mode: BOUNDARY", "mode: 1"),
    ("style is null", "mode: BOUNDARY", "mode: null"),
    ("style with an invisible letter", "mode: BOUNDARY", "mode: \"BOUNDARY\\u200b\""),
    ("FLAT with gateways", "mode: BOUNDARY", "mode: FLAT"),
    ("PASSTHROUGH with an egress gateway", "mode: BOUNDARY", "mode: PASSTHROUGH"),
    ("no gateway", "  use_egress_gateway: true\n  use_ingress_gateway: true\n", ""),
    ("no egress gateway for a binding", "  use_egress_gateway: true\n", ""),
    ("no ingress gateway for an exposition", "  use_ingress_gateway: true\n", ""),
    ("boolean in quotes", "use_egress_gateway: true", "use_egress_gateway: 'true'"),
    ("boolean is a number", "use_egress_gateway: true", "use_egress_gateway: 1"),
    ("boolean is a word", "use_egress_gateway: true", "use_egress_gateway: enabled"),
    ("gateway port 0", "  use_egress_gateway: true", "  use_egress_gateway: true\n  egress_gateway_port: 0"),
    (
        "gateway port too large",
        "  use_egress_gateway: true",
        "  use_egress_gateway: true\n  egress_gateway_port: 70000",
    ),
    (
        "gateway port is a text",
        "  use_egress_gateway: true",
        "  use_egress_gateway: true\n  egress_gateway_port: '15443'",
    ),
    (
        "gateway that does not exist",
        "  use_egress_gateway: true",
        "  use_egress_gateway: true\n  egress_gateway_selector: {istio: egress}",
    ),
    (
        "gateway selector without a gateway",
        "  use_egress_gateway: true",
        "  egress_gateway_selector: {istio: egress}",
    ),
    (
        "gateway selector with matchLabels",
        "  use_egress_gateway: true",
        "  use_egress_gateway: true\n  egress_gateway_selector: {matchLabels: {istio: egress}}",
    ),
    ("replicas 0", "  use_egress_gateway: true", "  use_egress_gateway: true\n  gateway_replicas: 0"),
    ("replicas -1", "  use_egress_gateway: true", "  use_egress_gateway: true\n  gateway_replicas: -1"),
    ("replicas 1000", "  use_egress_gateway: true", "  use_egress_gateway: true\n  gateway_replicas: 1000"),
    (
        "type of the ingress Service",
        "  use_egress_gateway: true",
        "  use_egress_gateway: true\n  ingress_gateway_service_type: Loadbalancer",
    ),
    // Trust.
    ("no Secret selector", "  tls_context_selector: {relationship: trade}\n", ""),
    ("empty Secret selector", "tls_context_selector: {relationship: trade}", "tls_context_selector: {}"),
    (
        "Secret selector with matchLabels",
        "tls_context_selector: {relationship: trade}",
        "tls_context_selector: {matchLabels: {relationship: trade}}",
    ),
    (
        "Secret selector is a text",
        "tls_context_selector: {relationship: trade}",
        "tls_context_selector: trade",
    ),
    ("label key with a blank", "{relationship: trade}", "{'relation ship': trade}"),
    ("label value with a slash", "{relationship: trade}", "{relationship: a/b}"),
    (
        "no peers",
        "  peers:\n  - name: kestrel\n    subject_alt_names: [mesh.kestrel.example]\n    networks: [203.0.113.0/24]\n    domains: [kestrel.example]\n",
        "",
    ),
    (
        "peers is a map",
        "  peers:\n  - name: kestrel\n    subject_alt_names: [mesh.kestrel.example]\n    networks: [203.0.113.0/24]\n    domains: [kestrel.example]\n",
        "  peers: {kestrel: {}}\n",
    ),
    (
        "peers is a list of texts",
        "  peers:\n  - name: kestrel\n    subject_alt_names: [mesh.kestrel.example]\n    networks: [203.0.113.0/24]\n    domains: [kestrel.example]\n",
        "  peers: [kestrel]\n",
    ),
    ("peer without a name", "  - name: kestrel\n    subject", "  - subject"),
    ("peer with an empty name", "- name: kestrel", "- name: ''"),
    ("peer with a capital", "- name: kestrel", "- name: Kestrel"),
    ("peer name is a number", "- name: kestrel", "- name: 4"),
    (
        "peer listed twice",
        "  discovery:",
        "  - {name: kestrel, subject_alt_names: [b.example]}\n  discovery:",
    ),
    (
        "name of two peers",
        "  discovery:",
        "  - {name: heron, subject_alt_names: [mesh.kestrel.example]}\n  discovery:",
    ),
    ("no subject_alt_names", "    subject_alt_names: [mesh.kestrel.example]\n", ""),
    ("empty subject_alt_names", "[mesh.kestrel.example]", "[]"),
    ("subject_alt_names is a text", "[mesh.kestrel.example]", "mesh.kestrel.example"),
    ("name with DNS:", "[mesh.kestrel.example]", "['DNS:mesh.kestrel.example']"),
    ("wildcard", "[mesh.kestrel.example]", "['*.kestrel.example']"),
    ("name with a capital letter", "[mesh.kestrel.example]", "[Mesh.kestrel.example]"),
    ("name listed twice", "[mesh.kestrel.example]", "[mesh.kestrel.example, mesh.kestrel.example]"),
    ("empty name in the list", "[mesh.kestrel.example]", "['']"),
    ("SPIFFE ID without a path", "[mesh.kestrel.example]", "['spiffe://kestrel.example']"),
    ("SPIFFE ID with a capital", "[mesh.kestrel.example]", "['spiffe://Kestrel.example/ns/a']"),
    ("SPIFFE ID with an underscore", "[mesh.kestrel.example]", "['spiffe://kestrel_example/ns/a']"),
    ("https as a name", "[mesh.kestrel.example]", "['https://mesh.kestrel.example']"),
    ("name with a blank", "[mesh.kestrel.example]", "['mesh.kestrel.example ']"),
    ("network without a length", "[203.0.113.0/24]", "[203.0.113.0]"),
    ("network with a long prefix", "[203.0.113.0/24]", "[203.0.113.0/33]"),
    ("network with a leading zero", "[203.0.113.0/24]", "[203.0.013.0/24]"),
    ("network is a range", "[203.0.113.0/24]", "['203.0.113.0-203.0.113.255']"),
    ("network is a name", "[203.0.113.0/24]", "[kestrel.example]"),
    ("network is a text", "[203.0.113.0/24]", "203.0.113.0/24"),
    ("network with the address of a host", "[203.0.113.0/24]", "[203.0.113.12/24]"),
    ("every network", "[203.0.113.0/24]", "[0.0.0.0/0]"),
    ("every network of IPv6", "[203.0.113.0/24]", "[203.0.113.0/24, '::/0']"),
    ("domain with a wildcard", "[kestrel.example]", "['*.kestrel.example']"),
    ("domain with a dot in front", "[kestrel.example]", "[.kestrel.example]"),
    (
        "discovery of a peer is a URL",
        "    networks:",
        "    discovery: 'https://kestrel.example:15443'\n    networks:",
    ),
    ("discovery of a peer without a port", "    networks:", "    discovery: kestrel.example\n    networks:"),
    ("discovery of a peer is a boolean", "    networks:", "    discovery: true\n    networks:"),
    // Namespaces and relationship.
    ("no allowed_namespaces", "  allowed_namespaces: [payments, shop]\n", ""),
    ("empty allowed_namespaces", "[payments, shop]", "[]"),
    ("allowed_namespaces is a text", "[payments, shop]", "payments"),
    ("allowed_namespaces with a wildcard", "[payments, shop]", "[payments, '*']"),
    ("allowed_namespaces with a pattern", "[payments, shop]", "[payments, 'shop-*']"),
    ("namespace that is not allowed", "[payments, shop]", "[payments]"),
    ("relationship with a dot", "relationship: trade\n", "relationship: trade.example\n"),
    ("reserved relationship", "relationship: trade\n", "relationship: binding\n"),
    ("empty relationship", "relationship: trade\n", "relationship: ''\n"),
    ("server name with a wildcard inside", "  peers:", "  allowed_server_names: ['a.*.example']\n  peers:"),
    ("server name of all", "  peers:", "  allowed_server_names: ['*']\n  peers:"),
    // Discovery.
    ("import that does not exist", "{announce: true}", "{import: Always}"),
    ("import without namespaces", "{announce: true}", "{import: Automatic}"),
    ("discovery is a boolean", "discovery: {announce: true}", "discovery: true"),
    ("announce in quotes", "{announce: true}", "{announce: 'yes'}"),
    ("negative imports", "{announce: true}", "{max_imports: -1}"),
    ("duration in days", "{announce: true}", "{expire_after: 1d}"),
    ("duration without a unit", "{announce: true}", "{expire_after: '10'}"),
    ("duration of 0", "{announce: true}", "{expire_after: 0s}"),
    ("negative duration", "{announce: true}", "{expire_after: -5m}"),
    ("duration is a number", "{announce: true}", "{expire_after: 10}"),
    ("on_peer_loss that does not exist", "{announce: true}", "{on_peer_loss: Keep}"),
    ("export_to of a namespace", "{announce: true}", "{export_to: [shop]}"),
    // The Service.
    ("Service without ports", "  ports:\n  - {name: http, port: 8080}", "  ports: []"),
    ("UDP only", "{name: http, port: 8080}", "{name: http, port: 8080, protocol: UDP}"),
    (
        "ExternalName",
        "  selector: {app: payments}",
        "  type: ExternalName\n  externalName: a.example\n  selector: {app: payments}",
    ),
    ("ports is a map", "  ports:\n  - {name: http, port: 8080}", "  ports: {http: 8080}"),
    ("port of the Service is a text", "{name: http, port: 8080}", "{name: http, port: '8080'}"),
    (
        "label emcee.io/exposed",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  labels: {emcee.io/exposed: trade}\n  namespace: payments",
    ),
    (
        "annotation emcee.io/expose",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  annotations: {emcee.io/expose: trade}\n  namespace: payments",
    ),
    (
        "label emcee.io/expose-as",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  labels: {emcee.io/expose: trade, emcee.io/expose-as: pay}\n  namespace: payments",
    ),
    (
        "label with a misspelt relationship",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  labels: {emcee.io/expose: trad}\n  namespace: payments",
    ),
    (
        "empty label",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  labels: {emcee.io/expose: ''}\n  namespace: payments",
    ),
    (
        "alias in a label with a capital",
        "name: payments-api\n  namespace: payments",
        "name: payments-api\n  labels: {emcee.io/expose: trade, emcee.io/exposeAs: Pay}\n  namespace: payments",
    ),
    // The exposition.
    ("misspelt Service", "spec:\n  name: payments-api", "spec:\n  name: payment-api"),
    ("Service with a capital", "spec:\n  name: payments-api", "spec:\n  name: Payments-api"),
    ("Service with its namespace", "spec:\n  name: payments-api", "spec:\n  name: payments/payments-api"),
    ("Service with its host", "spec:\n  name: payments-api", "spec:\n  name: payments-api.payments.svc"),
    ("no name of the Service", "spec:\n  name: payments-api\n", "spec:\n"),
    (
        "exposition in another namespace",
        "  name: payments-api\n  namespace: payments\nspec:\n  name",
        "  name: payments-api\n  namespace: shop\nspec:\n  name",
    ),
    ("port that the Service does not have", "  port: 8080\n", "  port: 8081\n"),
    ("port is a name", "  port: 8080\n", "  port: http\n"),
    ("port in quotes", "  port: 8080\n", "  port: '8080'\n"),
    ("port 0", "  port: 8080\n", "  port: 0\n"),
    ("port 70000", "  port: 8080\n", "  port: 70000\n"),
    ("negative port", "  port: 8080\n", "  port: -1\n"),
    ("port with a fraction", "  port: 8080\n", "  port: 80.5\n"),
    ("port is a variable", "  port: 8080\n", "  port: ${PORT}\n"),
    ("port is a template", "  port: 8080\n", "  port: {{ .Values.port }}\n"),
    ("port is missing", "  port: 8080\n", ""),
    ("port is a list", "  port: 8080\n", "  port: [8080]\n"),
    ("port is null", "  port: 8080\n", "  port: null\n"),
    ("protocol mysql", "  protocol: HTTP\n", "  protocol: mysql\n"),
    ("protocol https", "  protocol: HTTP\n", "  protocol: https\n"),
    ("protocol UDP", "  protocol: HTTP\n", "  protocol: UDP\n"),
    ("protocol is a number", "  protocol: HTTP\n", "  protocol: 2\n"),
    ("alias with a dot", "alias: payments", "alias: pay.ments"),
    ("alias with an underscore", "alias: payments", "alias: pay_ments"),
    ("empty alias", "alias: payments", "alias: ''"),
    (
        "long alias",
        "alias: payments",
        "alias: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    ("subset that no rule defines", "  alias: payments", "  subset: v3"),
    ("unknown peer of an exposition", "  alias: payments", "  peers: [kestrl]"),
    ("no peer of an exposition", "  alias: payments", "  peers: []"),
    ("peers is a text", "  alias: payments", "  peers: kestrel"),
    (
        "selector that matches nothing",
        "{fed-config: trade}\n---\napiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding",
        "{fed-config: trad}\n---\napiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding",
    ),
    (
        "selector with another key",
        "{fed-config: trade}\n---\napiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding",
        "{fedconfig: trade}\n---\napiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding",
    ),
    (
        "empty selector",
        "mesh_fed_config_selector: {fed-config: trade}\n---",
        "mesh_fed_config_selector: {}\n---",
    ),
    ("no selector", "  mesh_fed_config_selector: {fed-config: trade}\n---", "---"),
    (
        "selector is a text",
        "mesh_fed_config_selector: {fed-config: trade}\n---",
        "mesh_fed_config_selector: trade\n---",
    ),
    // The binding.
    ("endpoint is a URL", "['203.0.113.12:15443']", "['http://203.0.113.12:15443']"),
    ("endpoint is an https URL", "['203.0.113.12:15443']", "['https://ingress.kestrel.example']"),
    ("endpoint without a port", "['203.0.113.12:15443']", "['203.0.113.12']"),
    ("endpoint with port 0", "['203.0.113.12:15443']", "['203.0.113.12:0']"),
    ("endpoint with a large port", "['203.0.113.12:15443']", "['203.0.113.12:154430']"),
    ("endpoint with the name of a port", "['203.0.113.12:15443']", "['203.0.113.12:tls']"),
    ("endpoint with a blank", "['203.0.113.12:15443']", "['203.0.113.12:15443 ']"),
    ("endpoint with a path", "['203.0.113.12:15443']", "['203.0.113.12:15443/']"),
    ("endpoint in smart quotes", "['203.0.113.12:15443']", "[“203.0.113.12:15443”]"),
    ("endpoint with a number too large", "['203.0.113.12:15443']", "['203.0.113.800:15443']"),
    ("endpoint with a leading zero", "['203.0.113.12:15443']", "['203.0.113.012:15443']"),
    ("endpoint with an underscore", "['203.0.113.12:15443']", "['my_ingress.kestrel.example:15443']"),
    ("endpoint with a wildcard", "['203.0.113.12:15443']", "['*.kestrel.example:15443']"),
    ("endpoint without quotes", "['203.0.113.12:15443']", "[203.0.113.12: 15443]"),
    ("endpoint is a text", "['203.0.113.12:15443']", "203.0.113.12:15443"),
    ("endpoints is empty", "['203.0.113.12:15443']", "[]"),
    ("endpoint listed twice", "['203.0.113.12:15443']", "['203.0.113.12:15443', '203.0.113.12:15443']"),
    ("IPv6 without brackets", "['203.0.113.12:15443']", "['2001:db8::7:15443']"),
    ("IPv6 without a port", "['203.0.113.12:15443']", "['[2001:db8::7]']"),
    ("unspecified address", "['203.0.113.12:15443']", "['0.0.0.0:15443']"),
    ("multicast address", "['203.0.113.12:15443']", "['224.0.0.1:15443']"),
    ("loopback address", "['203.0.113.12:15443']", "['127.0.0.1:15443']"),
    ("localhost", "['203.0.113.12:15443']", "['localhost:15443']"),
    ("link-local address", "['203.0.113.12:15443']", "['169.254.169.254:80']"),
    ("address outside of the networks", "['203.0.113.12:15443']", "['198.51.100.1:15443']"),
    ("host outside of the domains", "['203.0.113.12:15443']", "['ingress.heron.example:15443']"),
    ("no endpoints", "  endpoints: ['203.0.113.12:15443']\n", ""),
    ("unknown peer", "peer: kestrel", "peer: kestral"),
    ("port of a binding is a name", "port: 9080", "port: http"),
    ("port of a binding is missing", "  port: 9080\n", ""),
    ("alias of a binding with a dot", "  peer: kestrel", "  alias: a.b\n  peer: kestrel"),
    (
        "server name of another domain",
        "  peer: kestrel",
        "  server_name: stock.kestrel.example\n  peer: kestrel",
    ),
    ("server name with a capital", "  peer: kestrel", "  server_name: Stock.example\n  peer: kestrel"),
    ("export_to of a name", "  peer: kestrel", "  export_to: [everywhere]\n  peer: kestrel"),
    ("binding selects nothing", "{fed-config: trade}\n  endpoints", "{fed-config: trad}\n  endpoints"),
    // The notation.
    ("tab", "spec:\n  mode: BOUNDARY", "spec:\n\tmode: BOUNDARY"),
    ("key given twice", "  mode: BOUNDARY", "  mode: BOUNDARY\n  mode: FLAT"),
    (
        "no --- between two documents",
        "---\napiVersion: v1\nkind: Service\n",
        "apiVersion: v1\nkind: Service\n",
    ),
    ("two dashes", "---\napiVersion: v1\nkind: Service\n", "--\napiVersion: v1\nkind: Service\n"),
    ("bracket is not closed", "[payments, shop]", "[payments, shop"),
    ("quote is not closed", "mode: BOUNDARY", "mode: 'BOUNDARY"),
    ("colon in a text", "mode: BOUNDARY", "mode: BOUNDARY: really"),
    ("wrong indentation", "  mode: BOUNDARY", "   mode: BOUNDARY"),
    ("unknown anchor", "mode: BOUNDARY", "mode: *style"),
    (
        "same object twice",
        "kind: ServiceBinding\nmetadata:\n  name: stock\n  namespace: shop",
        "kind: ServiceExposition\nmetadata:\n  name: payments-api\n  namespace: payments",
    ),
    ("merge key of nothing", "  mode: BOUNDARY", "  <<: *none\n  mode: BOUNDARY"),
];
