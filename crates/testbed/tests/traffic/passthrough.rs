//! Through the peer's ingress, which does not terminate the caller's TLS.

use anyhow::{Result, ensure};
use emcee_testbed::Bed;

use super::objects::{Port, consuming_objects, gateway_objects, tls_passthrough};
use super::workloads::{ask, call, client, client_pod, command, server, sink};

const HTTP: Port = Port { alias: "hola", number: 5000, protocol: "http" };
const TCP: Port = Port { alias: "echo", number: 9000, protocol: "tcp" };

/// Exposes in m2 and binds in m1, in namespaces of the test.
fn link(bed: &Bed, namespace: &str, fed: &str) -> Result<()> {
    let (here, there) = (bed.mesh("m1")?, bed.mesh("m2")?);
    server(there, namespace, &["v1"])?;
    there.apply(&gateway_objects(fed, "ingress", "LoadBalancer", 15443))?;
    client(here, namespace)?;
    let address = there.wait_address(fed, "ingress")?;
    for port in [&HTTP, &TCP] {
        there.apply(&tls_passthrough(port, fed, namespace))?;
        here.apply(&consuming_objects(port, fed, namespace, &[(address.clone(), 15443)]))?;
    }
    Ok(())
}

pub(crate) fn http_and_tcp(bed: &Bed) -> Result<()> {
    link(bed, "pass", "passfed")?;
    let here = bed.mesh("m1")?;
    let answer = ask(here, "pass", &["http", "hola-passfed.pass:5000"])?;
    ensure!(answer["host"] == "helloworld.pass.svc.cluster.local", "{answer}");
    let caller = answer["caller"].as_str().unwrap_or_default();
    ensure!(caller.contains("URI=spiffe://cluster.local/ns/pass/sa/sleep"), "{answer}");
    let echo = call(here, "pass", &["tcp", "echo-passfed.pass:9000", "--say", "hey"])?;
    ensure!(echo == ["helloworld v1: hey"], "{echo:?}");
    Ok(())
}

/// A sink replaces the remote ingress. With the rule it receives TLS, without the rule it receives nothing.
pub(crate) fn no_rule_no_plaintext(bed: &Bed) -> Result<()> {
    let (here, there) = (bed.mesh("m1")?, bed.mesh("m2")?);
    client(here, "norule")?;
    let address = sink(there, "norule")?;
    here.apply(&consuming_objects(&HTTP, "nofed", "norule", &[(address, 15443)]))?;
    let ask_it = ["http", "hola-nofed.norule:5000", "--say", "secret", "--within", "3"];
    here.eventually(&client_pod("norule"), &command(&ask_it), |_| {
        there.log("norule/sink").is_ok_and(|log| log.contains(r"sink: \x16\x03"))
    })?;
    here.delete(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hola-nofed, namespace: norule}",
    )?;
    here.eventually(&client_pod("norule"), &command(&ask_it), |output| output.stderr.contains("503"))?;
    let seen = there.log("norule/sink")?;
    ensure!(!seen.contains("secret") && !seen.contains("HTTP/1.1"), "{seen}");
    Ok(())
}
