//! A control plane without controllers, with everything that Emcee and its users need.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::raw::{each, send};
use super::resources::{Object, STYLES, SYSTEM, fed, services, surroundings};
use super::uids::Uids;
use super::{AT_ONCE, audit};
use crate::bed::node_namespace;
use crate::cluster::{Authority, ControlPlane, Setup};
use crate::istio::Manifests;
use crate::mesh::{Objects, documents};
use crate::network::{Forward, Inside, Namespace, Plan, Wan};
use crate::process::{Process, Spec, output};
use crate::state::State;
use crate::toolchain::Binaries;

/// Name of a single cluster.
const NAME: &str = "bench";
/// Names of two linked clusters: the first exports and the second imports.
const NAMES: [&str; 2] = ["exporter", "importer"];
/// The kubeconfig of Emcee's ServiceAccount.
const KUBECONFIG: &str = "emcee.kubeconfig";
/// Lifetime of Emcee's token, longer than any benchmark.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// This many expositions, with as many bindings, need as much disk as a mesh of the test bed.
const SIZE_OF_A_MESH: usize = 2000;

/// A control plane for a benchmark. Dropping it removes everything that it created.
pub(super) struct Stage {
    /// Declared before the state folder, because the processes must end before the folder is removed.
    parts: Parts,
    _ground: Arc<Ground>,
    emcee: PathBuf,
}

/// The state folder of one or several clusters; removed with the last of them.
struct Ground(Option<State>);

impl Ground {
    fn take(meshes: usize) -> Result<Arc<Self>> {
        let taken = Arc::new(Self(Some(State::take()?)));
        taken.state()?.require_room(meshes)?;
        Ok(taken)
    }

    fn state(&self) -> Result<&State> {
        self.0.as_ref().context("the state folder is already removed")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(State::remove) {
            crate::progress::say(format_args!("error: {error:#}"));
        }
    }
}

struct Parts {
    namespace: Namespace,
    inside: Inside,
    setup: Setup,
    control_plane: ControlPlane,
}

impl Stage {
    /// Starts etcd and kube-apiserver, and creates everything but the relationships.
    pub(super) fn set(binaries: &Binaries, emcee: &Path, size: usize) -> Result<Self> {
        Self::on(Ground::take(1 + size / SIZE_OF_A_MESH)?, NAME, Plan::new(1), binaries, emcee, size)
    }

    /// Starts two clusters on one network: the first has that many services, the second has none.
    pub(super) fn set_two(binaries: &Binaries, emcee: &Path, size: usize) -> Result<[Self; 2]> {
        let ground = Ground::take(2 + size / SIZE_OF_A_MESH)?;
        let stage = |name, plan, size| Self::on(Arc::clone(&ground), name, plan, binaries, emcee, size);
        let stages = [stage(NAMES[0], Plan::new(1), size)?, stage(NAMES[1], Plan::new(2), 0)?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut wan = Wan::make(ground.state()?.root(), NAME, 1).await?;
            for (stage, name) in stages.iter().zip(NAMES) {
                let parts = &stage.parts;
                wan.join(name, &parts.namespace, parts.setup.plan).await?;
            }
            anyhow::Ok(())
        })?;
        Ok(stages)
    }

    fn on(
        ground: Arc<Ground>,
        name: &str,
        plan: Plan,
        binaries: &Binaries,
        emcee: &Path,
        size: usize,
    ) -> Result<Self> {
        let parts = start(ground.state()?, name, plan, binaries)?;
        let (client, folder) = (parts.control_plane.client.clone(), parts.setup.folder.clone());
        let (binaries, program) = (binaries.clone(), emcee.to_owned());
        let made = Self { parts, _ground: ground, emcee: emcee.to_owned() };
        made.parts.inside.run(async move { prepare(client, &binaries, &program, &folder).await })?;
        let administrator = made.administrator();
        made.run(
            async move { create(&administrator.client().await?, services(size), &Uids::default()).await },
        )?;
        Ok(made)
    }

    /// Runs a future in the cluster's network, on all processors.
    pub(super) fn run<F, T>(&self, future: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.parts.inside.run_on_all(future)
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
    pub(super) fn administrator(&self) -> Access {
        Access(self.folder().join("inside.kubeconfig"))
    }

    /// Access with the rights of Emcee.
    pub(super) fn as_emcee(&self) -> Access {
        Access(self.folder().join(KUBECONFIG))
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
            format!("--fed-namespaces={}", feds()),
            format!("--concurrency={AT_ONCE}"),
        ];
        let log = folder.join("logs/emcee.log");
        let spec = Spec {
            name: "emcee".to_owned(),
            command: [&own[..], flags].concat(),
            env: Vec::new(),
            folder,
            log,
        };
        let root = parts.setup.root.clone();
        parts.inside.run(async move { Process::start(&root, &spec) })
    }
}

/// A kubeconfig. Each runtime creates its own client from it, because a client belongs to the runtime that uses it.
#[derive(Debug, Clone)]
pub(super) struct Access(PathBuf);

impl Access {
    pub(super) async fn client(&self) -> Result<Client> {
        let config = Kubeconfig::read_from(&self.0)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }
}

fn start(state: &State, name: &str, plan: Plan, binaries: &Binaries) -> Result<Parts> {
    let folder = state.mesh(name);
    std::fs::create_dir_all(folder.join("logs"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let namespace = runtime.block_on(node_namespace(state, name, plan))?;
    let forward = Forward::listen()?;
    let setup = Setup {
        root: state.root().to_owned(),
        plan,
        binaries: binaries.clone(),
        host_port: forward.port(),
        apiserver_flags: audit::flags(&folder)?,
        folder,
    };
    let inside = Inside::enter(&namespace)?;
    forward.start(&inside, (plan.node(), 6443).into());
    let own = setup.clone();
    let of = name.to_owned();
    let control_plane =
        inside.run(async move { ControlPlane::start_without_controllers(&of, &own).await })?;
    Ok(Parts { namespace, inside, setup, control_plane })
}

/// Installs definitions, rights and namespaces, and creates the relationship's credential.
async fn prepare(client: Client, binaries: &Binaries, emcee: &Path, folder: &Path) -> Result<()> {
    let objects = Objects::new(client.clone());
    let manifests = Manifests::generate(binaries, "cluster.local").await?;
    objects.apply(manifests.definitions).await?;
    let emcee = emcee.display().to_string();
    objects.apply(documents(&output(&emcee, &["manifests", "crds"]).await?)?).await?;
    objects.apply(surroundings()).await?;
    let feds = feds();
    let rights = output(&emcee, &["manifests", "rbac", "--fed-namespaces", &feds]).await?;
    objects.apply(documents(&rights)?).await?;
    objects.apply(vec![credential()?]).await?;
    let token = token(client).await?;
    let administrator = std::fs::read_to_string(folder.join("inside.kubeconfig"))?;
    let mut config: Value = serde_json::from_str(&administrator)?;
    config["users"][0]["user"] = json!({"token": token});
    std::fs::write(folder.join(KUBECONFIG), config.to_string()).context("cannot write a kubeconfig")
}

fn feds() -> String {
    STYLES.map(fed).join(",")
}

fn credential() -> Result<Value> {
    let authority = Authority::root("a relationship")?;
    let own = authority.issue("bench", None, &["bench.example"], &[])?;
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "relationship", "namespace": fed(STYLES[0]), "labels": {"relationship": "blue"}},
        "stringData": {
            "tls.crt": own.certificate, "tls.key": own.key, "ca.crt": authority.identity().certificate,
        },
    }))
}

async fn token(client: Client) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(client, SYSTEM);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let granted = accounts.create_token_request("emcee", &PostParams::default(), &request).await?;
    Ok(granted.status.context("the TokenRequest has no token")?.token)
}

/// Creates objects, several at a time, and records their UIDs.
pub(super) async fn create(client: &Client, objects: Vec<Object>, uids: &Uids) -> Result<()> {
    let (client, uids) = (client.clone(), uids.clone());
    each(objects, AT_ONCE, move |object| {
        let (client, uids) = (client.clone(), uids.clone());
        async move {
            let answer = send(&client, object.to_create()).await?;
            ensure!(answer.is_success(), "cannot create {}: {}", object.key(), answer.words());
            uids.note(object.key(), answer.uid()?);
            Ok(())
        }
    })
    .await
}
