//! `emcee run`: runs the controller, or file mode.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use emcee_core::inputs::TranslationSettings;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

use super::ExitStatus;
use super::common_args::MeshSettings;
use crate::console::Console;
use crate::logging::LogArgs;
use crate::metrics::{self, DiscoveryMetrics};
use crate::run::admin::{AdminState, PortArgs};
use crate::run::controller::{self, ClusterArgs};
use crate::run::discovery::MeshDiscovery;
use crate::run::file_mode::{FileMode, FileModeDirs};
use crate::run::shutdown;

const EXAMPLES: &str = "\
Examples:
  emcee run
  emcee run --kubeconfig ~/.kube/config --context m1
  emcee run --dir mesh/ --out istio/
  emcee run --dir mesh/ --out istio/ --admin-address 127.0.0.1:15000

On Kubernetes: in a pod, Emcee uses the pod's ServiceAccount; elsewhere, the kubeconfig that kubectl would choose.

With --dir: OUT contains one file for each object, NAMESPACE/KIND-NAME.yaml, and status/ with the status of each resource. Emcee never changes files that it did not write.";

/// Flags that have no meaning in file mode.
const CLUSTER_ONLY_FLAGS: [&str; 10] = [
    "kubeconfig",
    "context",
    "request_timeout",
    "yes",
    "namespace",
    "watch_namespaces",
    "fed_namespaces",
    "webhook_address",
    "mcp_listen",
    "concurrency",
];

/// Keep a mesh in the state that its resources ask for: on Kubernetes, or from one folder into another.
///
/// On Kubernetes: watches the resources of the cluster and keeps the objects that they ask for up to date. With --dir:
/// watches a folder, and prints a line for each change. If a resource becomes invalid, its last valid version stays in
/// effect, and Emcee reports the problem. Stops on SIGTERM or Ctrl-C.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("folder").multiple(true).conflicts_with_all(CLUSTER_ONLY_FLAGS)))]
pub(super) struct RunArgs {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    mesh_settings: MeshSettings,

    #[command(flatten)]
    log: LogArgs,
}

/// Arguments of file mode.
#[derive(Args, Debug)]
#[command(next_help_heading = "Without a cluster")]
struct FolderArgs {
    /// Folder with the resources of the mesh, and with its Services, Secrets and so on
    #[arg(long, value_name = "DIR", requires = "out", group = "folder")]
    dir: Option<PathBuf>,

    /// Folder to write to
    #[arg(long, value_name = "DIR", requires = "dir", group = "folder")]
    out: Option<PathBuf>,

    /// Write once, then exit
    #[arg(long, requires = "dir", group = "folder")]
    once: bool,

    /// Milliseconds between two scans of the folder
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    interval: u64,
}

pub(super) fn run(args: &RunArgs, console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    match (&args.folder.dir, &args.folder.out) {
        (Some(dir), Some(out)) => {
            args.log.install(LevelFilter::INFO);
            let folders = FileModeDirs { dir: dir.clone(), out: out.clone() };
            follow_folder(args, folders, console)
        }
        _ => {
            if !controller::confirm_start(&args.cluster, console)? {
                console.print_note("nothing was started")?;
                return Ok(ExitStatus::Failed);
            }
            // After the check, whose error is one line.
            args.log.install(LevelFilter::INFO);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            // Install the signal handlers before anything is written.
            let end = shutdown::shutdown_requested()?;
            shutdown::run_to_completion(
                runtime,
                controller::run_controller(&args.cluster, &args.mesh_settings, end),
            )?;
            Ok(ExitStatus::Success)
        }
    }
}

/// Runs file mode: once, or until the process is asked to shut down.
fn follow_folder(
    args: &RunArgs,
    folders: FileModeDirs,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let cluster_networks = args.cluster.discovery_args().cluster_networks().to_vec();
    let settings = TranslationSettings { cluster_networks, ..args.mesh_settings.to_settings() };
    let mut file_mode = FileMode::open(folders, settings)?;
    if args.folder.once {
        file_mode.poll(true, console)?;
        return Ok(exit_status(&file_mode));
    }
    let end = shutdown::shutdown_requested()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    shutdown::run_to_completion(runtime, async {
        let mut registry = metrics::new_registry();
        let metrics = DiscoveryMetrics::register(&mut registry);
        let _ports = open_ports(args.cluster.port_args(), &file_mode, registry, console)?;
        let discovery = MeshDiscovery::open(args.cluster.discovery_args(), metrics)?;
        let ends = file_mode.connect_discovery();
        // Discovery stops when `until` is dropped below, after the last write.
        let (until, ended) = tokio::sync::oneshot::channel::<()>();
        let discovering = tokio::spawn(discovery.run(ends, async { drop(ended.await) }));
        file_mode.run(Duration::from_millis(args.folder.interval), end, console).await?;
        // Dropping `until` stops discovery. Dropping file mode closes its end of the channels, so that discovery does
        // not wait to hand over further announcements.
        drop((until, file_mode));
        shutdown::join_with_timeout(discovering, shutdown::DISCOVERY_SHUTDOWN_TIMEOUT).await?;
        Ok(ExitStatus::Success)
    })
}

/// Returns the exit status of `--once`: a failed write counts more than a refused resource.
fn exit_status(file_mode: &FileMode) -> ExitStatus {
    if file_mode.has_failures() {
        ExitStatus::Failed
    } else if file_mode.has_refusals() {
        ExitStatus::Findings
    } else {
        ExitStatus::Success
    }
}

/// Serves the probe and admin ports. Without them, file mode keeps no data for them either.
fn open_ports(
    args: &PortArgs,
    file_mode: &FileMode,
    registry: Registry,
    console: &mut Console<'_>,
) -> anyhow::Result<JoinSet<()>> {
    if !args.is_given() {
        return Ok(JoinSet::new());
    }
    let health = Arc::new(file_mode.health());
    let state = AdminState { registry: Arc::new(registry), health };
    let (ports, opened) = args.open_ports(&state)?;
    for opened in opened {
        console.print_note(format_args!("emcee: {opened}"))?;
    }
    Ok(ports)
}
