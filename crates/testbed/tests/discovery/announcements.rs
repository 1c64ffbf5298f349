//! m1 uses reviews of m2 over blue, and ratings of m4 over yellow.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::install::{EMCEE, HOME};
use super::users::{APPS, binding};
use super::world::{World, binding_resource, gateway_name};
use crate::workloads::ask;

/// No user wrote their endpoints. Both answer, and each sees the caller that its style shows.
pub(crate) fn announced_services_answer(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let reviews = ask(&world.m1, APPS, &["http", "reviews:9080"])?;
    let caller = reviews["caller"].as_str().unwrap_or_default();
    ensure!(reviews["name"] == "reviews", "{reviews}");
    ensure!(caller.contains("DNS=m1.blue.example"), "the peer's certificate: {reviews}");
    ensure!(caller.contains("URI=spiffe://two.example/ns/blue/sa/"), "the ingress: {reviews}");
    let ratings = ask(&world.m1, APPS, &["http", "ratings:9080"])?;
    let caller = ratings["caller"].as_str().unwrap_or_default();
    ensure!(ratings["name"] == "ratings", "{ratings}");
    ensure!(caller.contains("URI=spiffe://cluster.local/ns/default/sa/sleep"), "{ratings}");
    for (name, peer) in [("reviews", "m2"), ("ratings", "m4")] {
        let binding = user_resource(&world.m1, "ServiceBinding", APPS, name)?;
        ensure!(binding["spec"]["endpoints"].is_null(), "{binding}");
        ensure!(binding["status"]["source"] == peer, "{binding}");
    }
    Ok(())
}

/// httpbin is exposed with `directory: false`: it is not announced, and a caller that knows it can call it.
pub(crate) fn unannounced_service_answers(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let exposition = user_resource(&world.m2, "ServiceExposition", APPS, "httpbin")?;
    let announced_count = exposition["status"]["announced_to"].as_array().map_or(0, Vec::len);
    ensure!(announced_count == 0, "{exposition}");
    let relationship = user_resource(&world.m1, "MeshFedConfig", "blue", "blue")?;
    let peer = &relationship["status"]["peers"][0];
    ensure!(peer["name"] == "m2" && peer["connected"] == true && peer["announced"] == 1, "{relationship}");
    let none = world.m1.get("mm.ibm.istio.io/v1", "ServiceBinding", APPS, "httpbin")?;
    ensure!(none.is_none(), "{none:?}");
    let at = &exposition["status"]["endpoints"];
    world.m1.apply(&binding("blue", "httpbin", &format!("endpoints: {at}\n  port: 9080")))?;
    binding_resource("httpbin").wait(&world.m1, "Ready", "Ready")?;
    let answer = ask(&world.m1, APPS, &["http", "httpbin:9080"])?;
    ensure!(answer["name"] == "httpbin", "{answer}");
    Ok(())
}

/// m1's Emcee connects through its egress gateway to m2's ingress, and to m4's Emcee directly.
pub(crate) fn discovery_uses_gateways(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let egress = gateway_pods(&world.m1, "egress")?;
    let ingress = gateway_pods(&world.m2, "ingress")?;
    let calls = connections(&world.m1, |connection| connection.remote)?;
    ensure!(calls.iter().any(|(address, _)| egress.contains(address)), "{calls:?} has none of {egress:?}");
    ensure!(!calls.iter().any(|(address, _)| address.octets()[1] == 102), "directly into m2: {calls:?}");
    ensure!(calls.iter().any(|(address, port)| address.octets()[1] == 103 && *port == 15443), "{calls:?}");
    let callers: BTreeSet<_> = connections(&world.m2, |connection| connection.remote)?;
    let at_discovery = connections(&world.m2, |connection| connection.local)?;
    ensure!(at_discovery.iter().any(|(_, port)| *port == 15443), "{at_discovery:?}");
    ensure!(callers.iter().any(|(address, _)| ingress.contains(address)), "{callers:?}, not {ingress:?}");
    Ok(())
}

fn gateway_pods(mesh: &Mesh, side: &str) -> Result<Vec<Ipv4Addr>> {
    let pods = mesh.wait_endpoints("blue", &gateway_name(mesh, "blue", side)?, 1)?;
    pods.iter().map(|pod| Ok(pod.parse()?)).collect()
}

type Address = (Ipv4Addr, u16);

struct Connection {
    local: Address,
    remote: Address,
}

/// One end of each connection of a mesh's Emcee, as chosen by `end`.
fn connections(mesh: &Mesh, end: impl Fn(&Connection) -> Address) -> Result<BTreeSet<Address>> {
    let pod = format!("{HOME}/{EMCEE}");
    let table = mesh.exec(&pod, &["cat", "/proc/net/tcp", "/proc/net/tcp6"])?.stdout;
    Ok(table.lines().filter_map(parse_established).map(|connection| end(&connection)).collect())
}

/// Parses a line of the kernel's table: number, local, remote, state, …
fn parse_established(line: &str) -> Option<Connection> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    (state == "01").then_some(())?;
    Some(Connection { local: parse_address(local)?, remote: parse_address(remote)? })
}

/// Parses an address: four bytes in reverse order; of IPv4 addresses in IPv6, only the last word.
fn parse_address(text: &str) -> Option<Address> {
    let (address, port) = text.split_once(':')?;
    let word = u32::from_str_radix(address.get(address.len().checked_sub(8)?..)?, 16).ok()?;
    Some((Ipv4Addr::from(word.swap_bytes()), u16::from_str_radix(port, 16).ok()?))
}

/// A resource of a user, with its status.
pub(crate) fn user_resource(mesh: &Mesh, kind: &str, namespace: &str, name: &str) -> Result<Value> {
    let found = mesh.get("mm.ibm.istio.io/v1", kind, namespace, name)?;
    found.with_context(|| format!("{} has no {kind} {namespace}/{name}", mesh.name()))
}
