//! istiod as a process on a mesh's node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::{IstioManifests, MeshRoot};
use crate::cluster::ControlPlaneSetup;
use crate::node::probe::http_status;
use crate::process::{Process, ProcessSpec};

const PATIENCE: Duration = Duration::from_mins(1);

/// Disables what needs filters that only Istio's own Envoy has, and what a bed does not use.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("POD_NAMESPACE", "istio-system"),
    ("REVISION", "default"),
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
    ("PILOT_DISABLE_MX_ALPN", "true"),
    ("PILOT_ENABLE_TELEMETRY_LABEL", "false"),
    ("PILOT_ENDPOINT_TELEMETRY_LABEL", "false"),
    ("PILOT_ENABLE_GATEWAY_API", "false"),
    ("ENABLE_LEADER_ELECTION", "false"),
    ("INJECTION_WEBHOOK_CONFIG_NAME", "istio-sidecar-injector"),
    ("VALIDATION_WEBHOOK_CONFIG_NAME", "istio-validator-istio-system"),
];

/// The istiod process. Dropping it kills it.
#[derive(Debug)]
pub struct Istiod {
    setup: ControlPlaneSetup,
    spec: ProcessSpec,
    process: Process,
}

impl Istiod {
    /// Starts istiod and waits until it is ready. Must run inside the node's namespace.
    pub async fn start(
        mesh: &str,
        setup: &ControlPlaneSetup,
        manifests: &IstioManifests,
        root: &MeshRoot,
    ) -> Result<Self> {
        let folder = write_config_files(mesh, setup, manifests, root)?;
        let spec = ProcessSpec {
            name: "istiod".to_owned(),
            command: istiod_command(setup),
            env: istiod_environment(mesh, &manifests.cluster_id),
            folder,
            log: setup.folder.join("logs/istiod.log"),
        };
        let mut process = Process::start(&setup.root, &spec)?;
        wait_ready(setup, &mut process).await?;
        Ok(Self { setup: setup.clone(), spec, process })
    }

    /// Process id of istiod.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills istiod, runs `meanwhile`, and starts it again.
    pub async fn restart(&mut self, meanwhile: impl FnOnce() + Send + 'static) -> Result<()> {
        self.process.kill().await?;
        // On a separate thread: `meanwhile` may itself need this thread, which runs everything in the mesh.
        tokio::task::spawn_blocking(meanwhile).await?;
        self.process = Process::start(&self.setup.root, &self.spec)?;
        wait_ready(&self.setup, &mut self.process).await
    }
}

/// Writes the files of istiod, which reads templates and authority below its working folder.
fn write_config_files(
    mesh: &str,
    setup: &ControlPlaneSetup,
    manifests: &IstioManifests,
    root: &MeshRoot,
) -> Result<PathBuf> {
    let folder = setup.folder.join("istiod");
    root.write_files(mesh, &folder.join("etc/cacerts"))?;
    let inject = folder.join("var/lib/istio/inject");
    write_file(&inject, "config", &manifests.injection.0)?;
    write_file(&inject, "values", &manifests.injection.1)?;
    write_file(&folder, "mesh.yaml", &manifests.mesh_config)?;
    Ok(folder)
}

fn write_file(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), text).with_context(|| format!("cannot write {name} of istiod"))
}

fn istiod_command(setup: &ControlPlaneSetup) -> Vec<String> {
    let node = setup.plan.node();
    let flags = [
        format!("--kubeconfig={}", setup.folder.join("inside.kubeconfig").display()),
        "--meshConfig=./mesh.yaml".to_owned(),
        format!("--httpAddr={node}:8080"),
        format!("--httpsAddr={node}:15017"),
        format!("--grpcAddr={node}:15010"),
        format!("--secureGRPCAddr={node}:15012"),
        format!("--monitoringAddr={node}:15014"),
        "--ctrlz_port=9876".to_owned(),
    ];
    let program = [setup.binaries.command("pilot-discovery"), "discovery".to_owned()];
    program.into_iter().chain(flags).collect()
}

fn istiod_environment(mesh: &str, cluster_id: &str) -> Vec<(String, String)> {
    let own = [
        ("POD_NAME", format!("istiod-{mesh}")),
        ("ROOT_CA_DIR", "./etc/cacerts".to_owned()),
        ("CLUSTER_ID", cluster_id.to_owned()),
    ];
    let fixed = ENVIRONMENT.iter().map(|(name, value)| (*name, (*value).to_owned()));
    fixed.chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn wait_ready(setup: &ControlPlaneSetup, process: &mut Process) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let address = (setup.plan.node(), 8080).into();
    while !http_status(address, "/ready").await.is_ok_and(|status| status == 200) {
        process.check_alive()?;
        if Instant::now() > deadline {
            bail!("istiod is not ready after {} s", PATIENCE.as_secs());
        }
        // istiod does not announce that it is ready, so it has to be polled.
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
