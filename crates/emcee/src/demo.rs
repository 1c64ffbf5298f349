//! `emcee demo`: three meshes in one process, on loopback. Each mesh has a directory for its resources and one for the
//! generated objects. The demo needs neither a cluster nor root.
//!
//! ```text
//!   m2 ──blue (BOUNDARY)──► m1 ◄──yellow (FLAT)── m4
//! ```
//! [`mesh`] runs one mesh, [`walkthrough`] lists the expected results and waits for them, and [`output`] formats them.

mod mesh;
mod output;
mod walkthrough;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tracing::level_filters::LevelFilter;

use crate::certs::{self, CertsArgs, KeyType};
use crate::console::Console;
use crate::logging::LogArgs;
use mesh::DemoMesh;
use walkthrough::Walkthrough;

const EXAMPLES: &str = "\
Examples:
  emcee demo --once
  emcee demo --dir /tmp/demo

Without --once, the demo keeps running and shows which files to change.";

/// Run three meshes on this machine that announce their services to each other.
///
/// m1 uses reviews of m2 through gateways, and ratings of m4 directly from its pods. No cluster is needed: each mesh is
/// a folder of resources, and its Istio configuration is written to another folder.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Exit after the last step; the exit code is 0 only if every step succeeded
    #[arg(long)]
    once: bool,

    /// Folder for the meshes, kept after the demo; default: a temporary folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    log: LogArgs,
}

/// Root directory of the demo. A temporary one is removed on drop.
enum DemoDir {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl DemoDir {
    fn create(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = given else {
            return Ok(Self::Temporary(tempfile::tempdir().context("cannot create a temporary folder")?));
        };
        std::fs::create_dir_all(dir)
            .with_context(|| format!("{} cannot be created (--dir)", dir.display()))?;
        let mut entries = std::fs::read_dir(dir).with_context(|| format!("{} (--dir)", dir.display()))?;
        anyhow::ensure!(
            entries.next().is_none(),
            "{} is not empty, and the demo does not write among other files (--dir: choose another folder)",
            dir.display()
        );
        Ok(Self::Given(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Runs the demo until it is complete or `end` resolves.
///
/// # Errors
/// A step did not succeed in time, or `end` resolved before the last step.
pub(crate) fn run<E: Future<Output = ()>>(
    args: &DemoArgs,
    end: impl FnOnce() -> anyhow::Result<E>,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    // What goes well is told on stdout; only what does not is logged.
    args.log.install(LevelFilter::WARN);
    let place = DemoDir::create(args.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut end = std::pin::pin!(end()?);
        let mut meshes = prepare_meshes(place.path())?;
        let mut story = Walkthrough::new(&mut meshes, console);
        tokio::select! {
            // Ctrl-C before the last step is an error, so that `--once` never exits with 0 by accident.
            told = story.run() => told?,
            () = &mut end => anyhow::bail!("interrupted before the last step"),
        }
        if !args.once {
            output::print_next_steps(place.path(), &meshes, console)?;
            end.await;
        }
        Ok(())
    })
}

/// The three meshes of the demo.
struct DemoMeshes {
    m1: DemoMesh,
    m2: DemoMesh,
    m4: DemoMesh,
}

/// Creates certificates and directories for all meshes, and starts m2 and m4.
///
/// m1 is not started. Its resources contain the addresses of m2 and m4, which are known only once these listen.
fn prepare_meshes(root: &Path) -> anyhow::Result<DemoMeshes> {
    create_certificates(root, "blue", &["m1", "m2"])?;
    create_certificates(root, "yellow", &["m1", "m4"])?;
    let mut m2 = DemoMesh::new(
        root,
        "m2",
        "m2.example",
        &[("mesh.yaml", include_str!("demo/meshes/m2.yaml").to_owned())],
    )?;
    let mut m4 = DemoMesh::new(
        root,
        "m4",
        "m4.example",
        &[("mesh.yaml", include_str!("demo/meshes/m4.yaml").to_owned())],
    )?;
    m2.start()?;
    m4.start()?;
    // The ports were chosen by the kernel, so the template has placeholders for them.
    let m1 = include_str!("demo/meshes/m1.yaml")
        .replace("@m2@", &m2.discovery_address().to_string())
        .replace("@m4@", &m4.discovery_address().to_string());
    let m1 = DemoMesh::new(root, "m1", "m1.example", &[("mesh.yaml", m1)])?;
    Ok(DemoMeshes { m1, m2, m4 })
}

/// Creates the CA of a relationship, and copies each mesh's Secret into the directory of its resources.
fn create_certificates(root: &Path, relationship: &str, meshes: &[&str]) -> anyhow::Result<()> {
    let folder = root.join("certs").join(relationship);
    let args = CertsArgs {
        relationship: relationship.to_owned(),
        meshes: meshes.iter().map(|mesh| format!("{mesh}={mesh}.{relationship}.example")).collect(),
        output: folder.clone(),
        labels: Vec::new(),
        spiffe: Vec::new(),
        rotate: Vec::new(),
        namespace: None,
        validity: "90d".to_owned(),
        ca_validity: "90d".to_owned(),
        key_type: KeyType::default(),
    };
    certs::run(&args, &mut std::io::sink())?;
    for mesh in meshes {
        let dir = root.join(mesh);
        std::fs::create_dir_all(&dir)?;
        std::fs::copy(folder.join(format!("{mesh}.yaml")), dir.join(format!("{relationship}-secret.yaml")))?;
    }
    Ok(())
}
