//! A single mesh: what the bed promises before tests use two meshes.

use anyhow::{Result, ensure};
use emcee_testbed::Bed;

use super::workloads::{ask, call, call_once, client, client_pod, command, server};

pub(crate) fn caller_identity(bed: &Bed) -> Result<()> {
    let mesh = bed.mesh("m1")?;
    server(mesh, "local", &["v1"])?;
    client(mesh, "local")?;
    let answer = ask(mesh, "local", &["http", "helloworld.local:5000", "--path", "/who"])?;
    ensure!(answer["name"] == "helloworld" && answer["path"] == "/who", "{answer}");
    let caller = answer["caller"].as_str().unwrap_or_default();
    ensure!(caller.contains("URI=spiffe://cluster.local/ns/local/sa/sleep"), "{answer}");
    let echo = call(mesh, "local", &["tcp", "helloworld.local:9000", "--say", "hey"])?;
    ensure!(echo == ["helloworld v1: hey"], "{echo:?}");
    Ok(())
}

pub(crate) fn plaintext_is_refused(bed: &Bed) -> Result<()> {
    let mesh = bed.mesh("m1")?;
    server(mesh, "strict", &["v1"])?;
    client(mesh, "strict")?;
    let plain = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain, namespace: strict}
spec: {host: helloworld.strict.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}";
    ask(mesh, "strict", &["http", "helloworld.strict:5000"])?;
    mesh.apply(plain)?;
    mesh.eventually(&client_pod("strict"), &command(&["http", "helloworld.strict:5000"]), |output| {
        output.code != 0
    })?;
    let refused = call_once(mesh, "strict", &["http", "helloworld.strict:5000"])?;
    ensure!(refused.stderr.contains("503"), "{refused:?}");
    Ok(())
}

pub(crate) fn load_balancer_follows_its_pod(bed: &Bed) -> Result<()> {
    let mesh = bed.mesh("m2")?;
    server(mesh, "balanced", &["v1"])?;
    mesh.apply(
        "apiVersion: v1
kind: Service
metadata: {name: public, namespace: balanced}
spec: {type: LoadBalancer, selector: {app: helloworld}, ports: [{name: tcp, port: 9000}]}",
    )?;
    let before = mesh.wait_address("balanced", "public")?;
    ensure!(mesh.wait_endpoints("balanced", "public", 1)? == [before.clone()], "{before}");
    mesh.restart("balanced", "helloworld-v1")?;
    mesh.wait_other_address("balanced", "public", &before)?;
    Ok(())
}

pub(crate) fn control_plane_restarts(bed: &Bed) -> Result<()> {
    let mesh = bed.mesh("m1")?;
    server(mesh, "steady", &["v1"])?;
    client(mesh, "steady")?;
    let to = ["http", "helloworld.steady:5000"];
    ask(mesh, "steady", &to)?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let call = || {
        let (caller, sender) = (mesh.clone(), sender.clone());
        move || drop(sender.send(call_once(&caller, "steady", &to)))
    };
    mesh.without_apiserver(call())?;
    mesh.without_istiod(call())?;
    for answer in [receiver.recv()??, receiver.recv()??] {
        ensure!(answer.code == 0, "{answer:?}");
    }
    mesh.restart("steady", "helloworld-v1")?;
    ask(mesh, "steady", &to).map(drop)
}
