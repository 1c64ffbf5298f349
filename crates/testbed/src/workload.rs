//! The sample server and client: every protocol of a mesh, and what each end sees.

mod call;
pub(crate) mod grpc;
mod http;
mod outcomes;
mod sink;
mod tcp;
mod websocket;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

pub use outcomes::OutcomeChange;
pub(crate) use outcomes::microseconds_now;

/// What a sample pod runs.
#[derive(Debug, Subcommand)]
pub enum SampleWorkload {
    /// Serve HTTP/1.1, HTTP/2, gRPC, WebSocket and TCP; each answer shows the server and the request
    Serve(ServeArgs),
    /// Do nothing until terminated; for pods in which `exec` runs commands
    Wait,
    /// Accept connections, answer nothing, and print what is received
    Sink {
        /// Port to listen on
        #[arg(long)]
        port: u16,
    },
    /// Call a server and print its answer
    Call(call::CallArgs),
    /// Call hosts given on stdin without a pause, and print every change of the outcome
    Outcomes(outcomes::OutcomeArgs),
}

/// Ports of the server, and the name that it reports.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The name in every answer
    #[arg(long, env = "SERVER_NAME", default_value = "server")]
    name: String,
    /// The version in every answer
    #[arg(long, env = "SERVER_VERSION", default_value = "v1")]
    version: String,
    /// Ports for HTTP/1.1, HTTP/2, gRPC and WebSocket
    #[arg(long, value_delimiter = ',', default_values_t = [5000, 7000, 7001])]
    http: Vec<u16>,
    /// Ports that echo each line after the server's name
    #[arg(long, value_delimiter = ',', default_values_t = [9000])]
    tcp: Vec<u16>,
}

/// The server's answer to a request.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ServerAnswer {
    /// Name of the server.
    pub name: String,
    /// Version of the server.
    pub version: String,
    /// Protocol version: `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The Host or authority that the server received.
    pub host: String,
    /// The path that the server received.
    pub path: String,
    /// `X-Forwarded-Client-Cert`: the caller's identity, from the sidecar.
    pub caller: Option<String>,
    /// All headers that the server received, by lower-case name. Of several with the same name, the last.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Content of the request, if any.
    pub said: Option<String>,
}

/// Runs a workload to its end.
pub fn run(workload: SampleWorkload) -> Result<()> {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = run_workload(workload) => done,
            // A pod is terminated with SIGTERM, after which the workload exits with success.
            () = crate::interrupt::wait_for_signal() => Ok(()),
        }
    })
}

async fn run_workload(workload: SampleWorkload) -> Result<()> {
    match workload {
        SampleWorkload::Serve(serve) => self::serve(serve).await,
        SampleWorkload::Wait => std::future::pending().await,
        SampleWorkload::Sink { port } => sink::serve(port).await,
        SampleWorkload::Call(call) => call.run().await,
        SampleWorkload::Outcomes(outcomes) => outcomes.run().await,
    }
}

async fn serve(serve: ServeArgs) -> Result<()> {
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
