//! TCP: each line is returned after the server's name.

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::ServeArgs;

pub(super) async fn serve(port: u16, serve: ServeArgs) -> Result<()> {
    let listener =
        TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port} is taken"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let name = format!("{} {}", serve.name, serve.version);
        tokio::spawn(async move {
            // A client may disconnect at any time.
            let _ = echo(stream, &name).await;
        });
    }
}

async fn echo(stream: TcpStream, name: &str) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("{name}: {line}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Sends `text` `count` times and returns the answers.
pub(super) async fn call(stream: TcpStream, text: &str, count: usize) -> Result<Vec<String>> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut answers = Vec::new();
    for _ in 0..count {
        write.write_all(format!("{text}\n").as_bytes()).await?;
        answers.push(lines.next_line().await?.context("the server hung up")?);
    }
    Ok(answers)
}
