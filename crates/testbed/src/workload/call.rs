//! The sample client.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{grpc, tcp, websocket};

/// A call of the sample client.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Protocol of the call
    #[arg(value_enum)]
    protocol: CallProtocol,
    /// Server to call: host:port
    to: String,
    /// Path of the request
    #[arg(long, default_value = "/")]
    path: String,
    /// Text to send
    #[arg(long, default_value = "hello")]
    say: String,
    /// Number of times to send it, over one connection (gRPC: in one stream)
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// For HTTP/1.1: headers to send, as NAME=VALUE
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Seconds to wait for the answers
    #[arg(long, default_value_t = 10)]
    within: u64,
}

/// The protocols of the sample server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CallProtocol {
    /// HTTP/1.1
    Http,
    /// HTTP/2 with prior knowledge
    Http2,
    /// gRPC; with a count of 1 it is a unary call
    Grpc,
    /// WebSocket
    Websocket,
    /// Lines over TCP
    Tcp,
}

impl CallArgs {
    /// Calls the server, and prints each answer on a line.
    pub async fn run(&self) -> Result<()> {
        let limit = Duration::from_secs(self.within);
        let answers = timeout(limit, self.send_calls())
            .await
            .with_context(|| format!("no answer within {} s", self.within))?;
        for answer in answers? {
            writeln!(std::io::stdout(), "{}", answer.trim_end())?;
        }
        Ok(())
    }

    async fn send_calls(&self) -> Result<Vec<String>> {
        let stream =
            TcpStream::connect(&self.to).await.with_context(|| format!("cannot connect to {}", self.to))?;
        match self.protocol {
            CallProtocol::Http => self.call_http1(stream).await,
            CallProtocol::Http2 => self.call_http2(stream).await,
            CallProtocol::Grpc => self.call_grpc(stream).await,
            CallProtocol::Websocket => {
                let url = format!("ws://{}{}", self.to, self.path);
                websocket::call(stream, &url, &self.say, self.count).await
            }
            CallProtocol::Tcp => tcp::call(stream, &self.say, self.count).await,
        }
    }

    async fn call_http1(&self, stream: TcpStream) -> Result<Vec<String>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..self.count {
            let mut request = Request::post(&self.path).header(HOST, &self.to);
            for header in &self.headers {
                let (name, value) = header.split_once('=').context("a header is NAME=VALUE")?;
                request = request.header(name, value);
            }
            let request = request.body(self.body())?;
            answers.push(read_text(sender.send_request(request).await?).await?);
        }
        Ok(answers)
    }

    async fn call_http2(&self, stream: TcpStream) -> Result<Vec<String>> {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..self.count {
            let request = Request::post(format!("http://{}{}", self.to, self.path)).body(self.body())?;
            answers.push(read_text(sender.send_request(request).await?).await?);
        }
        Ok(answers)
    }

    fn body(&self) -> Full<Bytes> {
        Full::new(self.say.clone().into())
    }

    async fn call_grpc(&self, stream: TcpStream) -> Result<Vec<String>> {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let questions = vec![grpc::frame(self.say.as_bytes()); self.count];
        let frames = questions.into_iter().map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes)));
        let request = Request::post(format!("http://{}/emcee.testbed.Echo/Chat", self.to));
        let request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        let response = sender.send_request(request.body(StreamBody::new(stream::iter(frames)))?).await?;
        read_grpc(response).await
    }
}

async fn read_text(response: hyper::Response<hyper::body::Incoming>) -> Result<String> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    ensure!(status.is_success(), "status {status}: {}", body.trim());
    Ok(body)
}

async fn read_grpc(response: hyper::Response<hyper::body::Incoming>) -> Result<Vec<String>> {
    ensure!(response.status().is_success(), "status {}", response.status());
    let mut status = grpc::grpc_status(response.headers()).map(str::to_owned);
    let mut body = response.into_body();
    let mut messages = grpc::MessageBuffer::default();
    let mut answers = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => messages.push(data),
            Err(frame) => {
                status = frame.trailers_ref().and_then(grpc::grpc_status).map(str::to_owned).or(status);
            }
        }
        answers.extend(
            std::iter::from_fn(|| messages.pop()).map(|one| String::from_utf8_lossy(&one).into_owned()),
        );
    }
    match status.as_deref() {
        Some("0") => Ok(answers),
        other => bail!("grpc-status {}", other.unwrap_or("missing")),
    }
}
