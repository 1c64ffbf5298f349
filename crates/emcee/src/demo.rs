//! `emcee demo`: three meshes in one process, on loopback, each with a folder for its resources and one for what comes of
//! them. No cluster and no root.
//!
//! ```text
//!   m2 ──blue (BOUNDARY)──► m1 ◄──yellow (FLAT)── m4
//! ```
//! [`mesh`] runs one, [`story`] says what is to be seen and waits for it, [`scene`] tells it.

mod mesh;
mod scene;
mod story;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::certs::{self, CertsArgs, KeyType};
use crate::console::Console;
use mesh::Mesh;
use story::Story;

const EXAMPLES: &str = "\
Examples:
  emcee demo --once
  emcee demo --dir /tmp/demo

Without --once it stays up, and says which files to change to see what happens.";

/// See three meshes tell each other what they offer, on this machine alone.
///
/// m1 takes reviews from m2 through gateways, and ratings from m4 straight from its pods. It needs no cluster: the meshes
/// are folders, and what would be Istio's configuration is written into other folders.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// End when all has been seen; the exit code is 0 only if it was
    #[arg(long)]
    once: bool,

    /// Folder for the meshes, kept at the end; by default one that goes with the demo
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where the demo's folders are. A temporary one goes when this is dropped.
enum Place {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn of(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = given else {
            return Ok(Self::Temporary(tempfile::tempdir().context("cannot make a temporary folder")?));
        };
        std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made (--dir)", dir.display()))?;
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

/// Runs it, until it is through or the process is asked to `end`. What was not to be seen in time is an error.
pub(crate) fn run<E: Future<Output = ()>>(
    args: &DemoArgs,
    end: impl FnOnce() -> anyhow::Result<E>,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let place = Place::of(args.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut end = std::pin::pin!(end()?);
        let mut meshes = prepare(place.path())?;
        let mut story = Story::new(&mut meshes, console);
        tokio::select! {
            told = story.tell() => told?,
            () = &mut end => anyhow::bail!("ended before all was seen"),
        }
        if !args.once {
            scene::stay(place.path(), &meshes, console)?;
            end.await;
        }
        Ok(())
    })
}

/// The three meshes.
struct Meshes {
    m1: Mesh,
    m2: Mesh,
    m4: Mesh,
}

/// Fresh certificates, a folder each, and m2 and m4 running: m1 has to be told where they listen.
fn prepare(root: &Path) -> anyhow::Result<Meshes> {
    certificates(root, "blue", &["m1", "m2"])?;
    certificates(root, "yellow", &["m1", "m4"])?;
    let mut m2 = Mesh::new(
        root,
        "m2",
        "m2.example",
        &[("mesh.yaml", include_str!("demo/meshes/m2.yaml").to_owned())],
    )?;
    let mut m4 = Mesh::new(
        root,
        "m4",
        "m4.example",
        &[("mesh.yaml", include_str!("demo/meshes/m4.yaml").to_owned())],
    )?;
    m2.start()?;
    m4.start()?;
    let m1 = include_str!("demo/meshes/m1.yaml")
        .replace("@m2@", &m2.address().to_string())
        .replace("@m4@", &m4.address().to_string());
    let m1 = Mesh::new(root, "m1", "m1.example", &[("mesh.yaml", m1)])?;
    Ok(Meshes { m1, m2, m4 })
}

/// A CA, and for each mesh its Secret, in the folder of its resources.
fn certificates(root: &Path, relationship: &str, meshes: &[&str]) -> anyhow::Result<()> {
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
