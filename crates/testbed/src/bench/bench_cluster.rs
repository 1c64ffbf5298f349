//! A control plane without controllers, with everything that Emcee and its users need.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::raw_client::{for_each_concurrently, send_request};
use super::resources::{BenchObject, STYLES, SYSTEM, fed_namespace, prerequisite_objects, workload_objects};
use super::uids::UidRegistry;
use super::{MAX_CONCURRENT_REQUESTS, audit};
use crate::bed::create_node_namespace;
use crate::cluster::{Authority, ControlPlane, ControlPlaneSetup};
use crate::istio::{CommonRoot, DEFAULT_CLUSTER_ID, IstioManifests, Istiod, MeshRoot};
use crate::mesh::{Objects, parse_documents};
use crate::network::{AddressPlan, NamespaceRuntime, NetworkNamespace, PhysicalNetwork, PortForward};
use crate::process::{Process, ProcessSpec, run_output};
use crate::state::StateFolder;
use crate::toolchain::Binaries;

/// Name of a single cluster.
const CLUSTER_NAME: &str = "bench";
/// Names of two linked clusters: the first exports and the second imports.
const PAIR_NAMES: [&str; 2] = ["exporter", "importer"];
/// The kubeconfig of Emcee's ServiceAccount.
const KUBECONFIG: &str = "emcee.kubeconfig";
/// Lifetime of Emcee's token, longer than any benchmark.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// Time that a process has to end by itself.
const TERMINATION_GRACE: Duration = Duration::from_secs(20);
/// This many expositions, with as many bindings, need as much disk as a mesh of the test bed.
const EXPOSITIONS_PER_MESH: usize = 2000;

/// A control plane for a benchmark. Dropping it removes everything that it created.
pub(super) struct BenchCluster {
    /// Declared before the state folder, because the processes must end before the folder is removed.
    parts: ClusterParts,
    _state_folder: Arc<SharedStateFolder>,
    emcee: PathBuf,
}

/// The state folder of one or several clusters; removed with the last of them.
struct SharedStateFolder(Option<StateFolder>);

impl SharedStateFolder {
    fn acquire(meshes: usize) -> Result<Arc<Self>> {
        let taken = Arc::new(Self(Some(StateFolder::acquire()?)));
        taken.state()?.require_room(meshes)?;
        Ok(taken)
    }

    fn state(&self) -> Result<&StateFolder> {
        self.0.as_ref().context("the state folder is already removed")
    }
}

impl Drop for SharedStateFolder {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(StateFolder::remove) {
            crate::progress::print_progress(format_args!("error: {error:#}"));
        }
    }
}

struct ClusterParts {
    namespace: NetworkNamespace,
    runtime: NamespaceRuntime,
    setup: ControlPlaneSetup,
    control_plane: ControlPlane,
}

impl BenchCluster {
    /// Starts etcd and kube-apiserver, and creates everything but the relationships.
    pub(super) fn start(binaries: &Binaries, emcee: &Path, size: usize) -> Result<Self> {
        Self::start_in(
            SharedStateFolder::acquire(1 + size / EXPOSITIONS_PER_MESH)?,
            CLUSTER_NAME,
            AddressPlan::new(1),
            binaries,
            emcee,
            size,
        )
    }

    /// Starts two clusters on one network: the first has that many services, the second has none.
    pub(super) fn start_pair(binaries: &Binaries, emcee: &Path, size: usize) -> Result<[Self; 2]> {
        let ground = SharedStateFolder::acquire(2 + size / EXPOSITIONS_PER_MESH)?;
        let stage = |name, plan, size| Self::start_in(Arc::clone(&ground), name, plan, binaries, emcee, size);
        let stages =
            [stage(PAIR_NAMES[0], AddressPlan::new(1), size)?, stage(PAIR_NAMES[1], AddressPlan::new(2), 0)?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut wan = PhysicalNetwork::create(ground.state()?.root(), CLUSTER_NAME, 1).await?;
            for (stage, name) in stages.iter().zip(PAIR_NAMES) {
                let parts = &stage.parts;
                wan.connect_mesh(name, &parts.namespace, parts.setup.plan).await?;
            }
            anyhow::Ok(())
        })?;
        Ok(stages)
    }

    fn start_in(
        ground: Arc<SharedStateFolder>,
        name: &str,
        plan: AddressPlan,
        binaries: &Binaries,
        emcee: &Path,
        size: usize,
    ) -> Result<Self> {
        let parts = start_control_plane(ground.state()?, name, plan, binaries)?;
        let (client, folder) = (parts.control_plane.client.clone(), parts.setup.folder.clone());
        let (binaries, program) = (binaries.clone(), emcee.to_owned());
        let made = Self { parts, _state_folder: ground, emcee: emcee.to_owned() };
        made.parts
            .runtime
            .run(async move { install_prerequisites(client, &binaries, &program, &folder).await })?;
        let administrator = made.administrator_access();
        made.run(async move {
            create_objects(&administrator.client().await?, workload_objects(size), &UidRegistry::default())
                .await
        })?;
        Ok(made)
    }

    /// Runs a future in the cluster's network, on all processors.
    pub(super) fn run<F, T>(&self, future: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.parts.runtime.run_multi_threaded(future)
    }

    /// The folder with logs and kubeconfigs.
    pub(super) fn folder(&self) -> &Path {
        &self.parts.setup.folder
    }

    /// Process ids of the API server and its etcd.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.parts.control_plane.pids()
    }

    /// Access as an administrator.
    pub(super) fn administrator_access(&self) -> ClusterAccess {
        ClusterAccess(self.folder().join("inside.kubeconfig"))
    }

    /// Access with the rights of Emcee.
    pub(super) fn emcee_access(&self) -> ClusterAccess {
        ClusterAccess(self.folder().join(KUBECONFIG))
    }

    /// The address at which the other cluster reaches this one.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.parts.setup.plan.node()
    }

    /// Starts Emcee with the rights of its own ServiceAccount, and with these additional flags.
    pub(super) fn start_emcee(&self, flags: &[String]) -> Result<Process> {
        let parts = &self.parts;
        let folder = parts.setup.folder.clone();
        let text = |path: PathBuf| path.display().to_string();
        let own = [
            text(self.emcee.clone()),
            "run".to_owned(),
            format!("--kubeconfig={}", text(folder.join(KUBECONFIG))),
            format!("--namespace={SYSTEM}"),
            format!("--fed-namespaces={}", fed_namespaces()),
            format!("--concurrency={MAX_CONCURRENT_REQUESTS}"),
        ];
        let log = folder.join("logs/emcee.log");
        let spec = ProcessSpec {
            name: "emcee".to_owned(),
            command: [&own[..], flags].concat(),
            env: Vec::new(),
            folder,
            log,
        };
        let root = parts.setup.root.clone();
        parts.runtime.run(async move { Process::start(&root, &spec) })
    }

    /// Ends a process like SIGTERM, and waits until it has ended.
    pub(super) fn terminate(&self, process: Process) -> Result<()> {
        self.parts.runtime.run(async move {
            process.terminate(TERMINATION_GRACE).await;
            Ok(())
        })
    }

    /// Ends a process like SIGKILL.
    pub(super) fn kill(&self, mut process: Process) -> Result<()> {
        self.parts.runtime.run(async move { process.kill().await })
    }

    /// Starts an istiod that reads configuration from this source, and waits until it is ready.
    pub(super) fn start_istiod(&self, config_source: &str) -> Result<Istiod> {
        let setup = self.parts.setup.clone();
        let sources = format!("\nconfigSources:\n- address: {config_source}\n- address: k8s://\n");
        self.parts.runtime.run(async move {
            let mut manifests =
                IstioManifests::generate(&setup.binaries, "cluster.local", DEFAULT_CLUSTER_ID).await?;
            manifests.mesh_config += &sources;
            let root = MeshRoot::Common(CommonRoot::new()?);
            Istiod::start(CLUSTER_NAME, &setup, &manifests, &root).await
        })
    }
}

/// A kubeconfig. Each runtime creates its own client from it, because a client belongs to the runtime that uses it.
#[derive(Debug, Clone)]
pub(super) struct ClusterAccess(PathBuf);

impl ClusterAccess {
    pub(super) async fn client(&self) -> Result<Client> {
        let config = Kubeconfig::read_from(&self.0)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }
}

fn start_control_plane(
    state: &StateFolder,
    name: &str,
    plan: AddressPlan,
    binaries: &Binaries,
) -> Result<ClusterParts> {
    let folder = state.mesh_folder(name);
    std::fs::create_dir_all(folder.join("logs"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let namespace = runtime.block_on(create_node_namespace(state, name, plan))?;
    let forward = PortForward::listen()?;
    let setup = ControlPlaneSetup {
        root: state.root().to_owned(),
        plan,
        binaries: binaries.clone(),
        host_port: forward.port(),
        apiserver_flags: audit::audit_flags(&folder)?,
        folder,
    };
    let inside = NamespaceRuntime::start(&namespace)?;
    forward.start(&inside, (plan.node(), 6443).into());
    let own = setup.clone();
    let of = name.to_owned();
    let control_plane =
        inside.run(async move { ControlPlane::start_without_controllers(&of, &own).await })?;
    Ok(ClusterParts { namespace, runtime: inside, setup, control_plane })
}

/// Installs definitions, rights and namespaces, and creates the relationship's credential.
async fn install_prerequisites(
    client: Client,
    binaries: &Binaries,
    emcee: &Path,
    folder: &Path,
) -> Result<()> {
    let objects = Objects::new(client.clone());
    let manifests = IstioManifests::generate(binaries, "cluster.local", DEFAULT_CLUSTER_ID).await?;
    objects.apply(manifests.definitions).await?;
    let emcee = emcee.display().to_string();
    objects.apply(parse_documents(&run_output(&emcee, &["manifests", "crds"]).await?)?).await?;
    objects.apply(prerequisite_objects()).await?;
    let feds = fed_namespaces();
    let rights = run_output(&emcee, &["manifests", "rbac", "--fed-namespaces", &feds]).await?;
    objects.apply(parse_documents(&rights)?).await?;
    objects.apply(vec![relationship_secret()?]).await?;
    let token = request_token(client).await?;
    let administrator = std::fs::read_to_string(folder.join("inside.kubeconfig"))?;
    let mut config: Value = serde_json::from_str(&administrator)?;
    config["users"][0]["user"] = json!({"token": token});
    std::fs::write(folder.join(KUBECONFIG), config.to_string()).context("cannot write a kubeconfig")
}

fn fed_namespaces() -> String {
    STYLES.map(fed_namespace).join(",")
}

fn relationship_secret() -> Result<Value> {
    let authority = Authority::root("a relationship")?;
    let own = authority.issue("bench", None, &["bench.example"], &[])?;
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "relationship", "namespace": fed_namespace(STYLES[0]), "labels": {"relationship": "blue"}},
        "stringData": {
            "tls.crt": own.certificate, "tls.key": own.key, "ca.crt": authority.identity().certificate,
        },
    }))
}

async fn request_token(client: Client) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(client, SYSTEM);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let granted = accounts.create_token_request("emcee", &PostParams::default(), &request).await?;
    Ok(granted.status.context("the TokenRequest has no token")?.token)
}

/// Creates objects, several at a time, and records their UIDs.
pub(super) async fn create_objects(
    client: &Client,
    objects: Vec<BenchObject>,
    uids: &UidRegistry,
) -> Result<()> {
    let (client, uids) = (client.clone(), uids.clone());
    for_each_concurrently(objects, MAX_CONCURRENT_REQUESTS, move |object| {
        let (client, uids) = (client.clone(), uids.clone());
        async move {
            let answer = send_request(&client, object.create_request()).await?;
            ensure!(answer.is_success(), "cannot create {}: {}", object.key(), answer.describe());
            uids.record(object.key(), answer.uid()?);
            Ok(())
        }
    })
    .await
}
