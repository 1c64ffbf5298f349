//! A server that prints everything that a client sends to it.

use std::io::Write;

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

pub(super) async fn serve(port: u16) -> Result<()> {
    let listener =
        TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port} is taken"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(print_received(stream));
    }
}

async fn print_received(mut stream: TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        // Escaped, so that a test can search the log for the words of a request.
        writeln!(std::io::stdout(), "sink: {}", buffer[..length].escape_ascii())?;
    }
}
