//! Directly to the remote pods.

use anyhow::{Result, ensure};
use emcee_testbed::Bed;

use super::objects::{Port, consuming_objects};
use super::workloads::{ask, call, client, server};

const PORTS: [Port; 4] = [
    Port { alias: "hola", number: 5000, protocol: "http" },
    Port { alias: "rpc", number: 7000, protocol: "grpc" },
    Port { alias: "ws", number: 7001, protocol: "http" },
    Port { alias: "echo", number: 9000, protocol: "tcp" },
];

pub(crate) fn every_protocol(bed: &Bed) -> Result<()> {
    let (here, there) = (bed.mesh("m1")?, bed.mesh("m2")?);
    server(there, "flat", &["v1", "v2"])?;
    client(here, "flat")?;
    let pods = there.wait_endpoints("flat", "helloworld", 2)?;
    ensure!(pods.len() == 2, "{pods:?}");
    for port in &PORTS {
        let endpoints: Vec<_> = pods.iter().map(|pod| (pod.clone(), port.number)).collect();
        here.apply(&consuming_objects(port, "peer", "flat", &endpoints))?;
    }
    for protocol in ["http", "http2"] {
        let answer = ask(here, "flat", &[protocol, "hola-peer.flat:5000"])?;
        ensure!(answer["host"] == "helloworld.flat.svc.cluster.local", "{answer}");
        let caller = answer["caller"].as_str().unwrap_or_default();
        ensure!(caller.contains("URI=spiffe://cluster.local/ns/flat/sa/sleep"), "{answer}");
    }
    for count in ["1", "20"] {
        let answers = call(here, "flat", &["grpc", "rpc-peer.flat:7000", "--count", count])?;
        ensure!(answers.len().to_string() == count, "{answers:?}");
    }
    let answers = call(here, "flat", &["websocket", "ws-peer.flat:7001", "--count", "3", "--say", "hey"])?;
    ensure!(answers.len() == 3 && answers.iter().all(|one| one.contains("\"said\":\"hey\"")), "{answers:?}");
    let echo = call(here, "flat", &["tcp", "echo-peer.flat:9000", "--say", "hey", "--count", "2"])?;
    ensure!(echo.len() == 2 && echo[0].starts_with("helloworld v"), "{echo:?}");
    Ok(())
}
