//! The sample server and client: every protocol a mesh carries, and what each end saw.

mod call;
mod grpc;
mod http;
mod sink;
mod tcp;
mod websocket;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

/// What a sample pod runs.
#[derive(Debug, Subcommand)]
pub enum Workload {
    /// Serves HTTP/1.1, HTTP/2, gRPC, WebSocket and TCP, and says who was asked by whom
    Serve(Serve),
    /// Does nothing until it is ended; for pods that `exec` is used in
    Wait,
    /// Takes connections, answers nothing, and prints what it was sent
    Sink {
        /// The port
        #[arg(long)]
        port: u16,
    },
    /// Calls a server and prints its answer
    Call(call::Call),
}

/// Where and as whom to serve.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The name in every answer
    #[arg(long, env = "SERVER_NAME", default_value = "server")]
    name: String,
    /// The version in every answer
    #[arg(long, env = "SERVER_VERSION", default_value = "v1")]
    version: String,
    /// Ports for HTTP/1.1, HTTP/2, gRPC and WebSocket alike
    #[arg(long, value_delimiter = ',', default_values_t = [5000, 7000, 7001])]
    http: Vec<u16>,
    /// Ports that echo lines, each after the server's name
    #[arg(long, value_delimiter = ',', default_values_t = [9000])]
    tcp: Vec<u16>,
}

/// What the server says about a request.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The Host or authority it saw.
    pub host: String,
    /// The path it saw.
    pub path: String,
    /// `X-Forwarded-Client-Cert`: the caller's identity, from the sidecar.
    pub caller: Option<String>,
    /// All headers it saw, by their names in lower case; of several of one name the last.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the request carried.
    pub said: Option<String>,
}

/// Runs a workload to its end.
pub fn run(workload: Workload) -> Result<()> {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = act(workload) => done,
            // A pod is asked to end with SIGTERM; the answer to that is success.
            () = crate::interrupt::asked_to_end() => Ok(()),
        }
    })
}

async fn act(workload: Workload) -> Result<()> {
    match workload {
        Workload::Serve(serve) => self::serve(serve).await,
        Workload::Wait => std::future::pending().await,
        Workload::Sink { port } => sink::serve(port).await,
        Workload::Call(call) => call.run().await,
    }
}

async fn serve(serve: Serve) -> Result<()> {
    let mut listeners = tokio::task::JoinSet::new();
    for port in serve.http.clone() {
        listeners.spawn(http::serve(port, serve.clone()));
    }
    for port in serve.tcp.clone() {
        listeners.spawn(tcp::serve(port, serve.clone()));
    }
    while let Some(ended) = listeners.join_next().await {
        ended??;
    }
    Ok(())
}
