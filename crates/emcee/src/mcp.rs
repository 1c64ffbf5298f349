//! `--mcp-listen`: istiod gets Emcee's objects over MCP, and the API server none of Istio's kinds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use emcee_core::plan::Object;
use emcee_discovery::mcp::{ServerTls, Snapshot, Store, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;

use crate::admin;

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// How MCP is served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Feeding istiod")]
pub(crate) struct McpArgs {
    /// Address on which istiod gets Emcee's objects over MCP, such as 127.0.0.1:15010; objects of Istio's kinds are then
    /// not written to the cluster
    #[arg(long = "mcp-listen", id = "mcp_listen", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// File with the certificate chain for it, in PEM; without one it is served on loopback only
    #[arg(
        long = "mcp-certificate",
        id = "mcp_certificate",
        value_name = "FILE",
        requires = "mcp_key",
        requires = "mcp_listen"
    )]
    certificate: Option<PathBuf>,

    /// File with its private key, in PEM
    #[arg(long = "mcp-key", id = "mcp_key", value_name = "FILE", requires = "mcp_certificate")]
    key: Option<PathBuf>,
}

/// MCP, with its port open.
pub(crate) struct Mcp {
    listener: TcpListener,
    files: Option<Files>,
}

/// Where certificate and key are.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// What was read of them last.
    content: (Vec<u8>, Vec<u8>),
    tls: watch::Sender<ServerTls>,
}

impl McpArgs {
    /// Whether it is wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.listen.is_some()
    }

    /// Opens the port, if one is wanted.
    ///
    /// # Errors
    /// The port cannot be had, or is not on loopback and there is no certificate; the certificate cannot be used.
    pub(crate) async fn open(&self) -> anyhow::Result<Option<Mcp>> {
        let Some(address) = self.listen else { return Ok(None) };
        let files = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(Files::read(certificate.clone(), key.clone())?),
            _ => None,
        };
        if files.is_none() && !address.ip().is_loopback() {
            bail!(
                "--mcp-listen {address}: without TLS, MCP is served on loopback only (127.0.0.1, or give --mcp-certificate and --mcp-key)"
            );
        }
        Ok(Some(Mcp { listener: admin::bind(address).await?, files }))
    }
}

impl Mcp {
    /// Serves `objects`, from the first time that they are said, for as long as the future is polled.
    pub(crate) async fn run(self, objects: watch::Receiver<Vec<Object>>) {
        let mut store = Store::default();
        let (snapshot, snapshots) = watch::channel(store.snapshot());
        let tls = self.files.as_ref().map(|files| files.tls.subscribe());
        let serving = serve(self.listener, snapshots, tls, std::future::pending());
        tokio::select! {
            served = serving => if let Err(error) = served {
                warn!(%error, "MCP is not served");
            },
            () = keep(&mut store, objects, &snapshot) => {}
            () = renew(self.files) => {}
        }
    }
}

async fn keep(
    store: &mut Store,
    mut objects: watch::Receiver<Vec<Object>>,
    snapshot: &watch::Sender<Snapshot>,
) {
    while objects.changed().await.is_ok() {
        let new = store.set(objects.borrow_and_update().iter());
        snapshot.send_replace(new);
    }
    // The controller has ended, and the process is about to.
    std::future::pending::<()>().await;
}

/// A certificate that cannot be used does not displace one that can.
async fn renew(files: Option<Files>) {
    let Some(mut files) = files else {
        return std::future::pending().await;
    };
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if let Err(error) = files.look() {
            warn!("the certificate of MCP stays as it is: {error:#}");
        }
    }
}

impl Files {
    fn read(certificate: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let content = content(&certificate, &key)?;
        let tls = watch::channel(pair(&certificate, &content)?).0;
        Ok(Self { certificate, key, content, tls })
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let content = content(&self.certificate, &self.key)?;
        if content != self.content {
            self.tls.send_replace(pair(&self.certificate, &content)?);
            self.content = content;
        }
        Ok(())
    }
}

fn content(certificate: &Path, key: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok((read(certificate)?, read(key)?))
}

fn pair(certificate: &Path, content: &(Vec<u8>, Vec<u8>)) -> anyhow::Result<ServerTls> {
    ServerTls::from_pem(&content.0, &content.1).with_context(|| format!("{}", certificate.display()))
}
