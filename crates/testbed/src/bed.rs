//! A bed: several meshes and the networks between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kube::Client;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::bench::audit_flags;
use crate::cluster::{ControlPlane, ControlPlaneSetup};
use crate::istio::{CommonRoot, DEFAULT_CLUSTER_ID, IstioManifests, Istiod, MeshRoot, wait_for_webhooks};
use crate::mesh::{Mesh, MeshParts, Objects};
use crate::network::{AddressPlan, NamespaceRuntime, NetworkNamespace, PhysicalNetwork, PortForward};
use crate::node::{self, Images, Node};
use crate::progress::print_progress;
use crate::state::StateFolder;
use crate::toolchain::{self, Binaries, doctor};

/// Which meshes and networks a bed has.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names of the meshes.
    pub meshes: Vec<String>,
    /// The physical networks and the meshes on each; empty: one network with all meshes.
    pub networks: Vec<(String, Vec<String>)>,
    /// The meshes whose Istio root is an intermediate of a common one. The others have their own roots.
    pub common_root: Vec<String>,
    /// Trust domains other than `cluster.local`, by mesh.
    pub trust_domains: BTreeMap<String, String>,
    /// The `emcee-testbed` program, which sample pods run.
    pub program: PathBuf,
    /// Additional images and the command that each runs, for instance the `emcee` under test.
    pub images: BTreeMap<String, Vec<String>>,
    /// Whether the meshes can become one multi-primary mesh: each istiod and its proxies have the mesh's name as the ID of
    /// their cluster, and all have the same mesh ID. See [`Mesh::add_remote_cluster`].
    pub multi_primary: bool,
    /// Whether the API servers log their writes, for benchmarks.
    pub audit: bool,
}

impl Options {
    /// Meshes on one network, each with its own root.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, meshes: &[&str]) -> Self {
        Self {
            meshes: meshes.iter().map(|name| (*name).to_owned()).collect(),
            networks: Vec::new(),
            common_root: Vec::new(),
            trust_domains: BTreeMap::new(),
            program: program.into(),
            images: BTreeMap::new(),
            multi_primary: false,
            audit: false,
        }
    }

    /// Puts all meshes under one Istio root, which the end-to-end styles need.
    #[must_use]
    pub fn with_common_root(mut self) -> Self {
        self.common_root.clone_from(&self.meshes);
        self
    }

    /// Gives each cluster its own ID, and all of them one mesh ID and one root.
    #[must_use]
    pub fn with_multi_primary(self) -> Self {
        Self { multi_primary: true, ..self.with_common_root() }
    }

    fn validate(&self) -> Result<()> {
        ensure!(!self.meshes.is_empty() && self.meshes.len() <= 40, "a bed has 1 to 40 meshes");
        for name in &self.meshes {
            // A device's name has at most 15 characters, and only the name distinguishes a pod's folder from a mesh's.
            let fits = name.len() <= 8 && name.starts_with(|c: char| c.is_ascii_lowercase());
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            ensure!(
                fits && plain,
                "mesh name {name:?}: 1 to 8 lower-case letters and digits, a letter first"
            );
            ensure!(
                self.meshes.iter().filter(|other| *other == name).count() == 1,
                "mesh {name} is named twice"
            );
        }
        let members = self.networks.iter().flat_map(|(_, members)| members).chain(&self.common_root);
        for name in members {
            ensure!(
                self.meshes.contains(name),
                "unknown mesh {name}; the meshes are {}",
                self.meshes.join(", ")
            );
        }
        Ok(())
    }

    fn networks(&self) -> Vec<(String, Vec<String>)> {
        if self.networks.is_empty() {
            return vec![("wan".to_owned(), self.meshes.clone())];
        }
        self.networks.clone()
    }
}

/// A running bed. Dropping it stops and removes everything that it created.
pub struct Bed {
    meshes: Vec<Mesh>,
    state: Option<StateFolder>,
    binaries: Binaries,
}

impl Bed {
    /// Builds missing binaries, then starts everything. If that fails, what was started is removed.
    pub fn up(options: &Options) -> Result<Self> {
        options.validate()?;
        doctor::require()?;
        let binaries = toolchain::build()?;
        let started = Instant::now();
        let mut bed = Self { meshes: Vec::new(), state: Some(StateFolder::acquire()?), binaries };
        bed.state.as_ref().map_or(Ok(()), |state| state.require_room(options.meshes.len()))?;
        bed.start_meshes(options)?;
        print_progress(format_args!("bed is up after {:.1} s", started.elapsed().as_secs_f32()));
        Ok(bed)
    }

    fn start_meshes(&mut self, options: &Options) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let seeds = self.prepare_meshes(options, &runtime)?;
        let (made, all) = mpsc::channel();
        for seed in seeds {
            let made = made.clone();
            // Meshes start in parallel: most of the time is spent waiting for their processes.
            std::thread::spawn(move || made.send(seed.bring_up()));
        }
        drop(made);
        let (meshes, failures): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        self.meshes = meshes.into_iter().flatten().collect();
        self.meshes.sort_by(|one, other| one.name().cmp(other.name()));
        failures.into_iter().next().map_or(Ok(()), |failure| failure.map(drop))
    }

    /// Creates the namespaces and networks, which the meshes need before they start.
    fn prepare_meshes(&self, options: &Options, runtime: &Runtime) -> Result<Vec<PendingMesh>> {
        let state = self.state.as_ref().context("the bed has no state folder")?;
        let common = CommonRoot::new()?;
        let mut images = Images::new(&self.binaries, &options.program.display().to_string());
        options.images.iter().for_each(|(name, command)| images.insert(name, command.clone()));
        let mut seeds = Vec::new();
        for (name, place) in options.meshes.iter().zip(1..) {
            let is_common = options.common_root.contains(name);
            let folder = state.mesh_folder(name);
            std::fs::create_dir_all(folder.join("logs"))?;
            let forward = PortForward::listen()?;
            seeds.push(PendingMesh {
                name: name.clone(),
                namespace: runtime.block_on(create_node_namespace(state, name, AddressPlan::new(place)))?,
                setup: ControlPlaneSetup {
                    root: state.root().to_owned(),
                    plan: AddressPlan::new(place),
                    binaries: self.binaries.clone(),
                    host_port: forward.port(),
                    apiserver_flags: if options.audit { audit_flags(&folder)? } else { Vec::new() },
                    folder,
                },
                forward,
                root: if is_common { MeshRoot::Common(common.clone()) } else { MeshRoot::Own },
                trust_domain: options
                    .trust_domains
                    .get(name)
                    .map_or("cluster.local", String::as_str)
                    .to_owned(),
                cluster_id: if options.multi_primary { name.clone() } else { DEFAULT_CLUSTER_ID.to_owned() },
                images: images.clone(),
            });
        }
        for ((network, members), number) in options.networks().iter().zip(1..) {
            runtime.block_on(connect_meshes(state, network, number, members, &seeds))?;
        }
        Ok(seeds)
    }

    /// Returns a mesh by name.
    pub fn mesh(&self, name: &str) -> Result<&Mesh> {
        let found = self.meshes.iter().find(|mesh| mesh.name() == name);
        found.with_context(|| format!("the bed has no mesh {name}"))
    }

    /// All meshes of the bed, sorted by name.
    pub fn meshes(&self) -> &[Mesh] {
        &self.meshes
    }

    /// The binaries that the bed runs, including `istioctl` and `kubectl`.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Stops and removes everything; fails if something cannot be removed.
    pub fn down(mut self) -> Result<()> {
        self.stop_and_remove()
    }

    fn stop_and_remove(&mut self) -> Result<()> {
        self.meshes.clear();
        self.state.take().map_or(Ok(()), StateFolder::remove)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(error) = self.stop_and_remove() {
            print_progress(format_args!(
                "error: {error:#}; `emcee-testbed doctor --clean` removes what is left"
            ));
        }
    }
}

pub(crate) async fn create_node_namespace(
    state: &StateFolder,
    name: &str,
    plan: AddressPlan,
) -> Result<NetworkNamespace> {
    let namespace = NetworkNamespace::create(state.root(), &format!("{name}-node")).await?;
    namespace.add_bridge("br0").await?;
    namespace.add_address("br0", plan.node(), 16).await?;
    Ok(namespace)
}

async fn connect_meshes(
    state: &StateFolder,
    network: &str,
    number: u8,
    members: &[String],
    seeds: &[PendingMesh],
) -> Result<()> {
    let mut wan = PhysicalNetwork::create(state.root(), network, number).await?;
    for seed in seeds.iter().filter(|seed| members.contains(&seed.name)) {
        wan.connect_mesh(&seed.name, &seed.namespace, seed.setup.plan).await?;
    }
    Ok(())
}

/// Everything that is needed to start a mesh.
struct PendingMesh {
    name: String,
    namespace: NetworkNamespace,
    setup: ControlPlaneSetup,
    forward: PortForward,
    root: MeshRoot,
    trust_domain: String,
    cluster_id: String,
    images: Images,
}

impl PendingMesh {
    fn bring_up(self) -> Result<Mesh> {
        let name = self.name.clone();
        self.start().with_context(|| format!("mesh {name}"))
    }

    fn start(self) -> Result<Mesh> {
        let inside = NamespaceRuntime::start(&self.namespace)?;
        self.forward.start(&inside, (self.setup.plan.node(), 6443).into());
        let (name, setup, trust_domain) = (self.name.clone(), self.setup.clone(), self.trust_domain.clone());
        let cluster_id = self.cluster_id;
        let (control_plane, manifests) = inside.run(async move {
            let manifests = IstioManifests::generate(&setup.binaries, &trust_domain, &cluster_id);
            tokio::try_join!(ControlPlane::start(&name, &setup), manifests)
        })?;
        let client = control_plane.client.clone();
        let (name, setup, root, to) = (self.name.clone(), self.setup.clone(), self.root, client.clone());
        let istiod = inside.run(async move { install_istio(&name, &setup, &manifests, &root, to).await })?;
        let node = Node::new(&self.name, &self.setup, self.namespace, self.images, client.clone());
        inside.handle().spawn(async move {
            if let Err(error) = Box::pin(node::run_agent(node)).await {
                print_progress(format_args!("node agent: {error:#}"));
            }
        });
        Ok(Mesh::new(MeshParts {
            runtime: inside,
            name: self.name,
            setup: self.setup,
            objects: Objects::new(client.clone()),
            client,
            istiod: Arc::new(Mutex::new(istiod)),
            control_plane: Arc::new(Mutex::new(control_plane)),
        }))
    }
}

async fn install_istio(
    mesh: &str,
    setup: &ControlPlaneSetup,
    manifests: &IstioManifests,
    root: &MeshRoot,
    client: Client,
) -> Result<Istiod> {
    let objects = Objects::new(client.clone());
    let namespace =
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}});
    objects.apply(vec![namespace]).await?;
    objects.apply(manifests.definitions.clone()).await?;
    objects.apply(manifests.objects.clone()).await?;
    let istiod = Istiod::start(mesh, setup, manifests, root).await?;
    wait_for_webhooks(client).await?;
    Ok(istiod)
}
