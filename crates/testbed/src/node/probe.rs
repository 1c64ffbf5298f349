//! Probes, from the node to a pod.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::run_output;

/// Status code of a GET. Must run in a network namespace that can reach the address.
pub(crate) async fn http_status(address: SocketAddr, path: &str) -> Result<u16> {
    timeout(Duration::from_secs(3), http_get(address, path)).await?
}

async fn http_get(address: SocketAddr, path: &str) -> Result<u16> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status().as_u16())
}

/// Whether the probe of a container succeeds.
pub(super) async fn probe_succeeds(probe: &Probe, container: &Container, address: IpAddr, pid: u32) -> bool {
    run_probe(probe, container, address, pid).await.is_ok()
}

async fn run_probe(probe: &Probe, container: &Container, address: IpAddr, pid: u32) -> Result<()> {
    if let Some(http) = &probe.http_get {
        let port = resolve_port(&http.port, container)?;
        let status = http_status((address, port).into(), http.path.as_deref().unwrap_or("/")).await?;
        anyhow::ensure!((200..400).contains(&status), "status {status}");
    } else if let Some(tcp) = &probe.tcp_socket {
        check_tcp((address, resolve_port(&tcp.port, container)?).into()).await?;
    } else if let Some(grpc) = &probe.grpc {
        check_tcp((address, u16::try_from(grpc.port)?).into()).await?;
    } else if let Some(exec) = &probe.exec {
        let pid = pid.to_string();
        let enter = ["-t", &pid, "-m", "-n", "-r", "-w", "--"].map(str::to_owned);
        let whole: Vec<String> = enter.into_iter().chain(exec.command.clone().unwrap_or_default()).collect();
        run_output("nsenter", &whole.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

async fn check_tcp(address: SocketAddr) -> Result<()> {
    timeout(Duration::from_secs(1), TcpStream::connect(address)).await??;
    Ok(())
}

fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => named_port(name, container.ports.as_deref().unwrap_or_default())?,
    };
    Ok(u16::try_from(number)?)
}

fn named_port(name: &str, ports: &[ContainerPort]) -> Result<i32> {
    let found = ports.iter().find(|port| port.name.as_deref() == Some(name));
    match found {
        Some(port) => Ok(port.container_port),
        None => bail!("no port has the name {name}"),
    }
}

/// Period of a probe that has passed, at least one second.
pub(super) fn probe_period(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1))
}
