//! `--mcp-listen`: serves Emcee's objects to istiod over MCP. Objects of Istio's kinds are then not written to the API
//! server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use emcee_controller::McpUpdate;
use emcee_discovery::counters::McpCounters;
use emcee_discovery::mcp::{McpServerTls, McpSnapshot, McpStore, serve};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::run::admin;

/// Interval at which the files of the certificate are read again.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Flags of the MCP server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Feeding istiod")]
pub(crate) struct McpArgs {
    /// Address on which istiod gets Emcee's objects over MCP, such as 127.0.0.1:15010; objects of Istio's kinds are
    /// then not written to the cluster
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

/// MCP server whose port is open.
pub(crate) struct McpServer {
    listener: TcpListener,
    files: Option<CertificateFiles>,
}

/// Files of the certificate and its key, reloaded when they change.
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// Content of the two files (certificate chain, key) that was loaded last.
    pem: (Vec<u8>, Vec<u8>),
    tls: watch::Sender<McpServerTls>,
}

impl McpArgs {
    /// Whether `--mcp-listen` is set.
    pub(crate) fn is_enabled(&self) -> bool {
        self.listen.is_some()
    }

    /// Opens the port; returns `None` if `--mcp-listen` is not set.
    ///
    /// # Errors
    /// The address cannot be bound, or is not on loopback although there is no certificate; or the certificate cannot
    /// be used.
    pub(crate) fn open(&self) -> anyhow::Result<Option<McpServer>> {
        let Some(address) = self.listen else { return Ok(None) };
        let files = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles::load(certificate.clone(), key.clone())?),
            _ => None,
        };
        // Without TLS any process on the network could read the configuration, or pretend to be its source.
        if files.is_none() && !address.ip().is_loopback() {
            bail!(
                "--mcp-listen {address}: without TLS, MCP is served on loopback only (127.0.0.1, or give --mcp-certificate and --mcp-key)"
            );
        }
        Ok(Some(McpServer { listener: admin::bind_listener(address)?, files }))
    }
}

impl McpServer {
    /// Serves the objects of `updates`, from the first complete set on. Runs until the future is dropped or the
    /// server fails.
    pub(crate) async fn run(
        self,
        updates: mpsc::UnboundedReceiver<Vec<McpUpdate>>,
        counters: Arc<McpCounters>,
    ) {
        let mut store = McpStore::default();
        let (snapshot, snapshots) = watch::channel(store.snapshot());
        // New connections use the certificate that is current when they arrive.
        let tls = self.files.as_ref().map(|files| files.tls.subscribe());
        let serving = serve(self.listener, snapshots, tls, counters, std::future::pending());
        tokio::select! {
            served = serving => if let Err(error) = served {
                warn!(%error, "mcp server failed");
            },
            () = publish_objects(&mut store, updates, &snapshot) => {}
            () = reload_certificate(self.files) => {}
        }
    }
}

/// Applies updates to the store, and publishes a snapshot whenever they are complete. Before the first time nothing is
/// published: an incomplete set would remove configuration of istiod.
async fn publish_objects(
    store: &mut McpStore,
    mut updates: mpsc::UnboundedReceiver<Vec<McpUpdate>>,
    snapshot: &watch::Sender<McpSnapshot>,
) {
    while let Some(batch) = updates.recv().await {
        if apply_updates(store, batch) {
            snapshot.send_replace(store.publish());
        }
    }
    // The controller has stopped and the process is about to end. Returning would stop the server too early.
    std::future::pending::<()>().await;
}

/// Applies a batch of updates. Returns whether istiod may receive the objects as they are now.
fn apply_updates(store: &mut McpStore, batch: Vec<McpUpdate>) -> bool {
    let mut is_complete = false;
    for update in batch {
        match update {
            McpUpdate::Objects(unit, objects) => {
                store.set_objects(&unit, &objects);
                is_complete = false;
            }
            McpUpdate::Complete => is_complete = true,
        }
    }
    is_complete
}

/// Reloads the certificate when its files change. Keeps the current one if the new one cannot be used.
async fn reload_certificate(files: Option<CertificateFiles>) {
    let Some(mut files) = files else {
        return std::future::pending().await;
    };
    // Polled, as Kubernetes swaps a link above the files of a mounted Secret, which watches of the files miss.
    let mut ticks = tokio::time::interval(CERTIFICATE_POLL_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = files.reload_if_changed() {
            warn!("mcp certificate not reloaded, keeping the previous one: {error:#}");
        }
    }
}

impl CertificateFiles {
    fn load(certificate: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let content = read_pem_files(&certificate, &key)?;
        let tls = watch::channel(parse_server_tls(&certificate, &content)?).0;
        Ok(Self { certificate, key, pem: content, tls })
    }

    /// Reads the files, and replaces the certificate if they have changed.
    ///
    /// # Errors
    /// A file cannot be read, or the two do not form a usable certificate. Then nothing is replaced, and the next call
    /// tries again.
    fn reload_if_changed(&mut self) -> anyhow::Result<()> {
        let content = read_pem_files(&self.certificate, &self.key)?;
        if content != self.pem {
            // Certificate and key are written one after the other. A pair that does not match is an error here, so
            // `content` keeps its old value and the next call reads both again.
            self.tls.send_replace(parse_server_tls(&self.certificate, &content)?);
            self.pem = content;
        }
        Ok(())
    }
}

fn read_pem_files(certificate: &Path, key: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok((read(certificate)?, read(key)?))
}

fn parse_server_tls(certificate: &Path, content: &(Vec<u8>, Vec<u8>)) -> anyhow::Result<McpServerTls> {
    McpServerTls::from_pem(&content.0, &content.1).with_context(|| format!("{}", certificate.display()))
}
