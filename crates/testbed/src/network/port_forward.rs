//! Forwards a port on the host's loopback into a namespace.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::NamespaceRuntime;

/// A listener on the host. A socket stays in the namespace in which it was created, so one process can have both ends.
#[derive(Debug)]
pub struct PortForward {
    listener: TcpListener,
    port: u16,
}

impl PortForward {
    /// Listens on a port that the system chooses.
    pub fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The port on the host's loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards connections to `target` for as long as the thread inside the namespace lives.
    pub fn start(self, inside: &NamespaceRuntime, target: SocketAddr) {
        inside.handle().spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(self.listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward_connection(stream, target));
            }
        });
    }
}

async fn forward_connection(mut outside: TcpStream, target: SocketAddr) {
    if let Ok(mut inside) = TcpStream::connect(target).await {
        // Either side may close first; both ends notice it.
        let _ = copy_bidirectional(&mut outside, &mut inside).await;
    }
}
