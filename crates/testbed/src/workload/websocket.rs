//! WebSocket: the server answers each text with what it received.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{self, Body};
use super::{ServeArgs, ServerAnswer};

/// Accepts an upgrade request, and answers on it in the background.
pub(super) fn accept(
    serve: &ServeArgs,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, hyper::http::Error> {
    let seen = http::describe_request(serve, &request);
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client may disconnect at any time.
        let _ = echo_texts(upgrade, seen).await;
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header(CONNECTION, "upgrade").header(UPGRADE, "websocket");
    response.header(SEC_WEBSOCKET_ACCEPT, key.unwrap_or_default()).body(Empty::new().boxed_unsync())
}

async fn echo_texts(upgrade: hyper::upgrade::OnUpgrade, seen: ServerAnswer) -> Result<()> {
    let stream = TokioIo::new(upgrade.await?);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            let answer = ServerAnswer { said: Some(text.to_string()), ..seen.clone() };
            socket.send(Message::text(serde_json::to_string(&answer)?)).await?;
        }
    }
    Ok(())
}

/// Sends `text` `count` times and returns the answers.
pub(super) async fn call(stream: TcpStream, url: &str, text: &str, count: usize) -> Result<Vec<String>> {
    let (mut socket, _) =
        client_async(url, stream).await.context("the server does not accept the WebSocket")?;
    let mut answers = Vec::new();
    for _ in 0..count {
        socket.send(Message::text(text)).await?;
        match socket.next().await.context("the server hung up")?? {
            Message::Text(answer) => answers.push(answer.to_string()),
            other => bail!("not a text message: {other:?}"),
        }
    }
    socket.close(None).await?;
    Ok(answers)
}
