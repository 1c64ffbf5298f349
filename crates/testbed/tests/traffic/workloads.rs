//! Sample workloads for the tests.

use anyhow::{Context, Result};
use emcee_testbed::Mesh;
use emcee_testbed::mesh::CommandOutput;
use serde_json::Value;

/// Deploys a client, in which `exec` runs commands: namespace, account and Deployment.
pub(crate) fn client(mesh: &Mesh, namespace: &str) -> Result<()> {
    mesh.apply(&namespaced(namespace))?;
    mesh.apply(&deployment(namespace, "sleep", "v1", "emcee-testbed/client"))?;
    mesh.wait_rolled_out(namespace, "sleep-v1")
}

/// Deploys a server: namespace, STRICT policy, account, Service and Deployments.
pub(crate) fn server(mesh: &Mesh, namespace: &str, versions: &[&str]) -> Result<()> {
    mesh.apply(&namespaced(namespace))?;
    mesh.apply(&service(namespace))?;
    for version in versions {
        mesh.apply(&deployment(namespace, "helloworld", version, "emcee-testbed/server"))?;
    }
    versions.iter().try_for_each(|version| mesh.wait_rolled_out(namespace, &format!("helloworld-{version}")))
}

/// A namespace with mesh mTLS only.
pub(crate) fn namespaced(namespace: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---{}", strict(namespace))
}

/// A policy for mesh mTLS only, in one namespace.
pub(crate) fn strict(namespace: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: {namespace}}}
spec: {{mtls: {{mode: STRICT}}}}
"
    )
}

/// Service of the server.
pub(crate) fn service(namespace: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: helloworld, namespace: {namespace}}}
spec:
  selector: {{app: helloworld}}
  ports:
  - {{name: http, port: 5000}}
  - {{name: grpc, port: 7000}}
  - {{name: http-ws, port: 7001}}
  - {{name: tcp-echo, port: 9000}}
"
    )
}

/// Account and Deployment of one version of an application, with a sidecar.
pub(crate) fn deployment(namespace: &str, app: &str, version: &str, image: &str) -> String {
    let probe = if image.ends_with("server") {
        "readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1},"
    } else {
        ""
    };
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {app}, namespace: {namespace}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}-{version}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {app}, version: {version}}}}}
  template:
    metadata: {{labels: {{app: {app}, version: {version}, sidecar.istio.io/inject: \"true\"}}}}
    spec:
      serviceAccountName: {app}
      containers:
      - {{name: app, image: {image}, {probe} env: [{{name: SERVER_NAME, value: {app}}}, {{name: SERVER_VERSION, value: {version}}}]}}
"
    )
}

/// Deploys a server that answers nothing and logs what it receives; returns its address.
pub(crate) fn sink(mesh: &Mesh, namespace: &str) -> Result<String> {
    let program = env!("CARGO_BIN_EXE_emcee-testbed");
    mesh.apply(&format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sink, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: sink}}}}
  template:
    metadata: {{labels: {{app: sink}}}}
    spec:
      containers:
      - {{name: app, image: emcee-testbed/server, command: [{program}, workload, sink, --port, \"15443\"]}}
---
apiVersion: v1
kind: Service
metadata: {{name: sink, namespace: {namespace}}}
spec: {{type: LoadBalancer, selector: {{app: sink}}, ports: [{{name: tls, port: 15443}}]}}
"
    ))?;
    mesh.wait_rolled_out(namespace, "sink")?;
    mesh.wait_address(namespace, "sink")
}

/// Calls from the client's pod until a call succeeds; returns the lines of the answer.
pub(crate) fn call(mesh: &Mesh, namespace: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let output = mesh.eventually(&client_pod(namespace), &command(arguments), |output| output.code == 0)?;
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

/// Like [`call`], for answers in JSON.
pub(crate) fn ask(mesh: &Mesh, namespace: &str, arguments: &[&str]) -> Result<Value> {
    let lines = call(mesh, namespace, arguments)?;
    serde_json::from_str(lines.first().context("no answer")?)
        .context("the answer is not from the sample server")
}

/// Makes one call, without checking its result.
pub(crate) fn call_once(mesh: &Mesh, namespace: &str, arguments: &[&str]) -> Result<CommandOutput> {
    mesh.exec(&client_pod(namespace), &command(arguments))
}

pub(crate) fn client_pod(namespace: &str) -> String {
    format!("{namespace}/sleep-v1")
}

pub(crate) fn command<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&[env!("CARGO_BIN_EXE_emcee-testbed"), "workload", "call"], arguments].concat()
}
