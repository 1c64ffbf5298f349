//! One mesh of the demo: Emcee in file mode, in its own thread and runtime, so that it can be killed at any time.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::console::Console;
use crate::metrics::DiscoveryMetrics;
use crate::run::admin::{self, AdminState};
use crate::run::discovery::{DiscoveryArgs, MeshDiscovery};
use crate::run::file_mode::{FileMode, FileModeDirs, FileModeView};

/// Interval at which a mesh reads its resources.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A mesh of the demo, which can be started, killed and started again.
pub(super) struct DemoMesh {
    pub(super) name: &'static str,
    /// Directory of the mesh's resources.
    pub(super) dir: PathBuf,
    /// Directory of the generated objects and statuses.
    pub(super) out: PathBuf,
    trust_domain: &'static str,
    /// Addresses that Emcee listens on. Port 0 before the first start; a restart uses the same ports, as peers know
    /// them.
    ports: DemoPorts,
    running: Option<RunningEmcee>,
    views: watch::Receiver<FileModeView>,
}

#[derive(Clone, Copy)]
struct DemoPorts {
    discovery: SocketAddr,
    admin: SocketAddr,
}

/// A started Emcee. Dropping `kill` ends its thread.
struct RunningEmcee {
    kill: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl DemoMesh {
    pub(super) fn new(
        root: &Path,
        name: &'static str,
        trust_domain: &'static str,
        files: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let (dir, out) = (root.join(name), root.join("out").join(name));
        fs::create_dir_all(&dir)?;
        for (file, text) in files {
            fs::write(dir.join(file), text)?;
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports = DemoPorts { discovery: any, admin: any };
        let views = watch::channel(FileModeView::default()).1;
        Ok(Self { name, dir, out, trust_domain, ports, running: None, views })
    }

    /// Address at which peers reach its discovery service.
    pub(super) fn discovery_address(&self) -> SocketAddr {
        self.ports.discovery
    }

    /// Address of its admin port.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.ports.admin
    }

    /// Subscribes to the views of the Emcee that was started last.
    pub(super) fn subscribe_views(&self) -> watch::Receiver<FileModeView> {
        self.views.clone()
    }

    /// Replaces the first occurrence of `from` in the mesh's resources.
    ///
    /// # Errors
    /// `from` does not occur, or the file cannot be read or written.
    pub(super) fn edit_resources(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.dir.join("mesh.yaml");
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{}: {from:?} is not in it", path.display());
        Ok(fs::write(&path, text.replacen(from, to, 1))?)
    }

    /// Starts Emcee in a new thread, and waits until its ports are open.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let settings = TranslationSettings {
            trust_domain: self.trust_domain.to_owned(),
            coverage: InputCoverage::Partial,
            now: Timestamp::now(),
            ..TranslationSettings::default()
        };
        let folders = FileModeDirs { dir: self.dir.clone(), out: self.out.clone() };
        let file_mode = FileMode::open(folders, settings)?;
        self.views = file_mode.subscribe_views();
        let (kill, killed) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let ports = self.ports;
        let thread = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            if let Err(error) = run_until_killed(file_mode, ports, killed, &listens) {
                // `start` receives an error that occurs before the ports are open. There is no receiver for a later
                // one: it shows as a step of the walkthrough that times out.
                let _no_receiver = listens.send(Err(error));
            }
        })?;
        self.ports = listening.recv().map_err(|_| anyhow!("{} ended before it listened", self.name))??;
        self.running = Some(RunningEmcee { kill, thread });
        Ok(())
    }

    /// Stops Emcee immediately, without notifying its peers.
    pub(super) fn kill(&mut self) {
        if let Some(RunningEmcee { kill, thread }) = self.running.take() {
            drop(kill);
            // An error means that the thread has panicked: it has ended as well.
            let _ended = thread.join();
        }
    }
}

impl Drop for DemoMesh {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reports the opened ports, or why they could not be opened.
type ReadySender = std::sync::mpsc::Sender<anyhow::Result<DemoPorts>>;

/// Runs Emcee in file mode until `killed` resolves. Dropping the runtime then closes all its connections.
fn run_until_killed(
    mut file_mode: FileMode,
    ports: DemoPorts,
    killed: oneshot::Receiver<()>,
    listens: &ReadySender,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut registry = crate::metrics::new_registry();
        let metrics = DiscoveryMetrics::register(&mut registry);
        let discovery = MeshDiscovery::open(&DiscoveryArgs::listening_on(ports.discovery), metrics)?;
        let admin = admin::bind_admin_listener(ports.admin, false)?;
        let address = discovery.listen_address().context("it listens")?;
        // Both ports are open here, and connections to them wait in the backlog until they are served below.
        listens.send(Ok(DemoPorts { discovery: address, admin: admin.local_addr()? }))?;
        let state = AdminState { registry: Arc::new(registry), health: Arc::new(file_mode.health()) };
        let admin_server = tokio::spawn(admin::serve_admin(admin, state, std::future::pending()));
        let ends = file_mode.connect_discovery();
        let discovering = tokio::spawn(discovery.run(ends, std::future::pending()));
        let (mut out, mut err) = (io::sink(), io::sink());
        let mut console = Console::new(&mut out, &mut err);
        // Resolves when the sender is dropped, too.
        let killed = async { drop(killed.await) };
        file_mode.run(POLL_INTERVAL, killed, &mut console).await?;
        // Discovery must not shut down in order: its peers have to see a lost connection, as after a crash.
        discovering.abort();
        admin_server.abort();
        Ok(())
    })
}
