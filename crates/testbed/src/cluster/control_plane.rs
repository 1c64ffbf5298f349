//! etcd, kube-apiserver and kube-controller-manager.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::{Instant, sleep};

use super::{Authority, certificates, kubeconfig};
use crate::network::AddressPlan;
use crate::process::{Process, ProcessSpec};
use crate::toolchain::Binaries;

const PATIENCE: Duration = Duration::from_mins(1);

/// The processes of a control plane. Dropping it kills them.
pub struct ControlPlane {
    /// An administrator's client, for use inside the mesh's namespace.
    pub client: Client,
    setup: ControlPlaneSetup,
    server: Process,
    /// etcd, and the controller manager if one runs.
    others: Vec<Process>,
}

/// Parameters of a mesh's control plane.
#[derive(Debug, Clone)]
pub struct ControlPlaneSetup {
    /// The bed's state folder.
    pub root: PathBuf,
    /// The mesh's own folder in it.
    pub folder: PathBuf,
    /// Addresses of the mesh.
    pub plan: AddressPlan,
    /// Binaries that the mesh runs.
    pub binaries: Binaries,
    /// The port on the host's loopback that leads to the apiserver.
    pub host_port: u16,
    /// Additional flags of the apiserver, as `--name=value`.
    pub apiserver_flags: Vec<String>,
}

impl ControlPlane {
    /// Starts a control plane. Must run inside the node's namespace.
    pub async fn start(mesh: &str, setup: &ControlPlaneSetup) -> Result<Self> {
        let mut begun = Self::start_without_controllers(mesh, setup).await?;
        begun.others.push(start_process(
            setup,
            "kube-controller-manager",
            setup.controller_manager_command(),
            None,
        )?);
        Ok(begun)
    }

    /// Like [`start`](Self::start), but without Kubernetes' controllers: nothing acts on what is written.
    pub async fn start_without_controllers(mesh: &str, setup: &ControlPlaneSetup) -> Result<Self> {
        write_credentials(mesh, setup)?;
        let etcd = start_process(setup, "etcd", setup.etcd_command(), None)?;
        let mut server = start_apiserver(setup)?;
        let client = kube_client(&setup.folder.join("inside.kubeconfig")).await?;
        wait_ready(&client, &mut server).await?;
        Ok(Self { client, setup: setup.clone(), server, others: vec![etcd] })
    }

    /// Process ids of the apiserver, of etcd and of the controller manager.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        [&self.server].into_iter().chain(&self.others).map(Process::pid).collect()
    }

    /// Kills the apiserver, runs `meanwhile`, and starts the apiserver again on the same data.
    pub async fn restart_apiserver(&mut self, meanwhile: impl FnOnce() + Send + 'static) -> Result<()> {
        self.server.kill().await?;
        // On a separate thread: `meanwhile` may itself need this thread, which runs everything in the mesh.
        tokio::task::spawn_blocking(meanwhile).await?;
        self.server = start_apiserver(&self.setup)?;
        wait_ready(&self.client, &mut self.server).await
    }
}

impl ControlPlaneSetup {
    fn file_path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn etcd_command(&self) -> Vec<String> {
        let mut command = vec!["etcd".to_owned()];
        command.extend(format_flags(&[
            ("data-dir", &self.file_path("etcd")),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            ("listen-peer-urls", "http://127.0.0.1:2380"),
        ]));
        // The data does not outlive the bed, so it need not reach the disk.
        command.push("--unsafe-no-fsync".to_owned());
        command
    }

    fn apiserver_command(&self) -> Vec<String> {
        let node = self.plan.node().to_string();
        let mut command = vec![self.binaries.command("kube-apiserver")];
        command.extend(format_flags(&[
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("bind-address", "0.0.0.0"),
            ("advertise-address", &node),
            ("secure-port", "6443"),
            ("tls-cert-file", &self.file_path("apiserver.crt")),
            ("tls-private-key-file", &self.file_path("apiserver.key")),
            ("client-ca-file", &self.file_path("ca.crt")),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &self.file_path("sa.pub")),
            ("service-account-signing-key-file", &self.file_path("sa.key")),
            ("service-cluster-ip-range", &self.plan.services()),
            ("authorization-mode", "RBAC"),
            ("allow-privileged", "true"),
            // Calls a webhook's endpoints instead of its Service address: nothing routes cluster addresses here.
            ("enable-aggregator-routing", "true"),
        ]));
        command.extend_from_slice(&self.apiserver_flags);
        command
    }

    fn controller_manager_command(&self) -> Vec<String> {
        let mut command = vec![self.binaries.command("kube-controller-manager")];
        command.extend(format_flags(&[
            ("kubeconfig", &self.file_path("inside.kubeconfig")),
            ("service-account-private-key-file", &self.file_path("sa.key")),
            ("root-ca-file", &self.file_path("ca.crt")),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            // The node agent renews no lease, so a controller that watches leases would evict every pod.
            (
                "controllers",
                "*,-node-lifecycle-controller,-node-ipam-controller,-cloud-node-lifecycle-controller",
            ),
        ]));
        command
    }
}

fn start_apiserver(setup: &ControlPlaneSetup) -> Result<Process> {
    start_process(setup, "kube-apiserver", setup.apiserver_command(), Some(write_hosts_file(setup)?))
}

fn format_flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn start_process(
    setup: &ControlPlaneSetup,
    name: &str,
    command: Vec<String>,
    hosts: Option<PathBuf>,
) -> Result<Process> {
    let log = setup.folder.join("logs").join(format!("{name}.log"));
    let command = match hosts {
        Some(hosts) => with_hosts_file(&hosts, command),
        None => command,
    };
    let spec =
        ProcessSpec { name: name.to_owned(), command, env: Vec::new(), folder: setup.folder.clone(), log };
    Process::start(&setup.root, &spec)
}

/// Writes a hosts file for the apiserver. It calls Istio's webhooks by the name in their certificate, which is in no DNS.
fn write_hosts_file(setup: &ControlPlaneSetup) -> Result<PathBuf> {
    let path = setup.folder.join("hosts");
    let text = format!("127.0.0.1 localhost\n{} istiod.istio-system.svc\n", setup.plan.node());
    std::fs::write(&path, text).context("cannot write the hosts file")?;
    Ok(path)
}

fn with_hosts_file(hosts: &Path, command: Vec<String>) -> Vec<String> {
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"".to_owned();
    let own_mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-c"].map(str::to_owned);
    let mut whole = own_mounts.to_vec();
    whole.extend([script, "sh".to_owned(), hosts.display().to_string()]);
    whole.extend(command);
    whole
}

fn write_credentials(mesh: &str, setup: &ControlPlaneSetup) -> Result<()> {
    let folder = &setup.folder;
    let authority = Authority::root(&format!("kubernetes-{mesh}"))?;
    let ca = authority.identity().certificate;
    authority.identity().write_files(folder, "ca")?;
    let addresses: [IpAddr; 2] = [setup.plan.node().into(), Ipv4Addr::LOCALHOST.into()];
    let names = ["localhost", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    authority.issue("kube-apiserver", None, &names, &addresses)?.write_files(folder, "apiserver")?;
    certificates::write_token_keys(folder)?;
    let admin = authority.issue("admin", Some("system:masters"), &[], &[])?;
    let inside = format!("https://{}:6443", setup.plan.node());
    let outside = format!("https://127.0.0.1:{}", setup.host_port);
    for (name, server) in [("inside.kubeconfig", inside), ("kubeconfig", outside)] {
        std::fs::write(folder.join(name), kubeconfig(mesh, &server, &ca, &admin).to_string())?;
    }
    Ok(())
}

/// A client from a kubeconfig file.
async fn kube_client(path: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn wait_ready(client: &Client, server: &mut Process) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_ready(client).await {
        server.check_alive()?;
        if Instant::now() > deadline {
            bail!("kube-apiserver is not ready after {} s", PATIENCE.as_secs());
        }
        // kube-apiserver does not announce that it is ready, so it has to be polled.
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn is_ready(client: &Client) -> bool {
    match http_get("/readyz") {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}

fn http_get(path: &str) -> Result<hyper::Request<Vec<u8>>> {
    Ok(hyper::Request::get(path).body(Vec::new())?)
}
