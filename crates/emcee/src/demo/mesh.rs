//! One mesh of the demo: Emcee without a cluster, in a thread of its own, so that it can be killed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use emcee_core::inputs::{Knowledge, Settings};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::admin::{self, AdminState};
use crate::console::Console;
use crate::discovery::{Discovery, DiscoveryArgs};
use crate::standalone::{Folders, Standalone, View};

/// Between two looks at a folder.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Mesh {
    pub(super) name: &'static str,
    /// Its resources.
    pub(super) dir: PathBuf,
    /// What comes of them.
    pub(super) out: PathBuf,
    trust_domain: &'static str,
    /// Where its Emcee listens: any ports at first, and the same ones after.
    ports: Ports,
    running: Option<Running>,
    views: watch::Receiver<View>,
}

#[derive(Clone, Copy)]
struct Ports {
    discovery: SocketAddr,
    admin: SocketAddr,
}

struct Running {
    kill: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Mesh {
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
        let ports = Ports { discovery: any, admin: any };
        let views = watch::channel(View::default()).1;
        Ok(Self { name, dir, out, trust_domain, ports, running: None, views })
    }

    /// Where its peers find it.
    pub(super) fn address(&self) -> SocketAddr {
        self.ports.discovery
    }

    /// Where people look in.
    pub(super) fn admin(&self) -> SocketAddr {
        self.ports.admin
    }

    /// What it knows and wants, as it changes.
    pub(super) fn views(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Replaces text in its resources.
    pub(super) fn edit(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.dir.join("mesh.yaml");
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{}: {from:?} is not in it", path.display());
        Ok(fs::write(&path, text.replacen(from, to, 1))?)
    }

    /// Starts its Emcee, and waits until it listens.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let settings = Settings {
            trust_domain: self.trust_domain.to_owned(),
            knowledge: Knowledge::Partial,
            now: Timestamp::now(),
            ..Settings::default()
        };
        let folders = Folders { dir: self.dir.clone(), out: self.out.clone() };
        let standalone = Standalone::open(folders, settings)?;
        self.views = standalone.views();
        let (kill, killed) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let ports = self.ports;
        let thread = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            if let Err(error) = follow(standalone, ports, killed, &listens) {
                // Whoever waits for it to listen is told; later, what does not come about says it.
                let _nobody_waits = listens.send(Err(error));
            }
        })?;
        self.ports = listening.recv().map_err(|_| anyhow!("{} ended before it listened", self.name))??;
        self.running = Some(Running { kill, thread });
        Ok(())
    }

    /// Ends its Emcee at once, in the midst of whatever it does: nobody is told.
    pub(super) fn kill(&mut self) {
        if let Some(Running { kill, thread }) = self.running.take() {
            drop(kill);
            // It has panicked if this fails, and is as dead.
            let _ended = thread.join();
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.kill();
    }
}

type Listens = std::sync::mpsc::Sender<anyhow::Result<Ports>>;

/// Until it is killed. The runtime goes then, and all its connections with it.
fn follow(
    mut standalone: Standalone,
    ports: Ports,
    killed: oneshot::Receiver<()>,
    listens: &Listens,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let discovery = Discovery::open(&DiscoveryArgs::at(ports.discovery)).await?;
        let admin = admin::bind_admin(ports.admin, false).await?;
        let address = discovery.address().context("it listens")?;
        listens.send(Ok(Ports { discovery: address, admin: admin.local_addr()? }))?;
        let state = AdminState { registry: Arc::default(), health: Arc::new(standalone.health()) };
        let looking_in = tokio::spawn(admin::serve_admin(admin, state, std::future::pending()));
        let ends = standalone.discovery();
        let discovering = tokio::spawn(discovery.run(ends, std::future::pending()));
        let (mut out, mut err) = (io::sink(), io::sink());
        let mut console = Console::new(&mut out, &mut err);
        let killed = async { drop(killed.await) };
        standalone.run(LOOK, killed, &mut console).await?;
        discovering.abort();
        looking_in.abort();
        Ok(())
    })
}
