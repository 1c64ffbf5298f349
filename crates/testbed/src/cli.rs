//! The command line.

mod bench;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, Options};
use crate::interrupt::Interrupt;
use crate::mesh::{Mesh, PodTarget, log_path, nsenter_command};
use crate::toolchain::{self, doctor};
use crate::workload::SampleWorkload;
use crate::{state, workload};

/// Real Kubernetes control planes, istiods and Envoys on one machine
#[derive(Debug, Parser)]
#[command(name = "emcee-testbed", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the binaries that are missing in the cache
    Build,
    /// Show what this machine lacks
    Doctor {
        /// Install the Debian packages that are missing (as root)
        #[arg(long, conflicts_with = "clean")]
        install: bool,
        /// Remove what a killed run has left behind
        #[arg(long)]
        clean: bool,
    },
    /// Start meshes and keep them running until Ctrl-C
    Up(UpArgs),
    /// Stop the running bed, and remove what it created
    Down,
    /// Run a command in a pod
    Exec {
        /// mesh/namespace/pod[/container]; the pod's name may be a prefix
        target: String,
        /// Command to run in the pod
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Print a log: mesh/istiod, mesh/kube-apiserver, mesh/namespace/pod[/container]
    Logs {
        /// Process or container whose log is printed
        target: String,
    },
    /// Run a benchmark
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Run a sample workload; pods use this
    #[command(subcommand, hide = true)]
    Workload(SampleWorkload),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// Names of the meshes
    #[arg(long, value_delimiter = ',', default_value = "m1,m2")]
    meshes: Vec<String>,
    /// Physical network and the meshes on it, as blue=m1,m2 (repeatable; default: one network for all)
    #[arg(long = "networks", value_parser = network)]
    networks: Vec<(String, Vec<String>)>,
    /// Meshes whose Istio root is an intermediate of a common one, which PASSTHROUGH, WHARF and FLAT need
    #[arg(long, value_delimiter = ',', num_args = 0.., default_missing_value = "")]
    common_root: Option<Vec<String>>,
    /// Trust domain of a mesh, as m1=one.example (repeatable)
    #[arg(long = "trust-domain", value_parser = pair)]
    trust_domains: Vec<(String, String)>,
    /// Image and the program that pods with it run, as example/emcee=/path/to/emcee (repeatable)
    #[arg(long = "image", value_parser = pair)]
    images: Vec<(String, String)>,
    /// Make all meshes one multi-primary mesh on one network
    #[arg(long)]
    multi_primary: bool,
}

/// Parses the command line and runs the command.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Build => toolchain::build().and_then(|binaries| print_line(binaries.folder().display())),
        Command::Doctor { clean: true, .. } => clean_up(),
        Command::Doctor { install, .. } => return run_doctor(install),
        Command::Up(up) => up.run(),
        Command::Down => stop_bed(),
        Command::Exec { target, command } => return exec_in_pod(&target, &command),
        Command::Logs { target } => print_log(&target),
        Command::Bench(bench) => return bench.run(),
        Command::Workload(workload) => workload::run(workload),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn print_line(line: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

fn run_doctor(install: bool) -> Result<ExitCode> {
    if install {
        doctor::install()?;
    }
    let findings = doctor::examine();
    for finding in &findings {
        print_line(format_args!("{:<17} {}", finding.name, finding.problem.as_deref().unwrap_or("ok")))?;
    }
    let well = findings.iter().all(|finding| finding.problem.is_none());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn clean_up() -> Result<()> {
    let removed = state::remove_leftovers()?;
    removed.iter().try_for_each(|what| print_line(format_args!("removed {what}")))?;
    if removed.is_empty() { print_line("nothing to remove") } else { Ok(()) }
}

impl UpArgs {
    fn run(self) -> Result<()> {
        let options = self.options()?;
        let interrupt = Interrupt::listen()?;
        let Some(bed) = interrupt.run_unless_interrupted(move || Bed::up(&options))? else {
            state::remove_before_exit();
            bail!("interrupted; everything that was started is removed");
        };
        let bed = bed?;
        if self.multi_primary {
            join_meshes(&bed)?;
        }
        bed.meshes().iter().try_for_each(print_mesh)?;
        print_line("press Ctrl-C, or run `cargo xtask bed down`, to stop the bed")?;
        interrupt.wait()?;
        bed.down()
    }

    fn options(&self) -> Result<Options> {
        let common_root = match &self.common_root {
            None if self.multi_primary => self.meshes.clone(),
            Some(names) if names.iter().all(String::is_empty) => self.meshes.clone(),
            names => names.clone().unwrap_or_default(),
        };
        Ok(Options {
            meshes: self.meshes.clone(),
            networks: self.networks.clone(),
            common_root,
            trust_domains: self.trust_domains.iter().cloned().collect(),
            program: std::env::current_exe().context("cannot find this program's own path")?,
            images: self.images.iter().map(|(name, program)| (name.clone(), vec![program.clone()])).collect(),
            multi_primary: self.multi_primary,
            audit: false,
        })
    }
}

/// Lets each istiod read all API servers.
fn join_meshes(bed: &Bed) -> Result<()> {
    let pairs = bed.meshes().iter().flat_map(|mesh| bed.meshes().iter().map(move |other| (mesh, other)));
    let mut others = pairs.filter(|(mesh, other)| mesh.name() != other.name());
    others.try_for_each(|(mesh, other)| mesh.add_remote_cluster(other))
}

fn print_mesh(mesh: &Mesh) -> Result<()> {
    let (name, kubeconfig) = (mesh.name(), mesh.kubeconfig());
    print_line(format_args!("{name}: kubectl --kubeconfig {}", kubeconfig.display()))?;
    print_line(format_args!(
        "    cargo xtask bed exec {name}/NAMESPACE/POD -- COMMAND; logs below {}",
        mesh.folder().display()
    ))
}

fn stop_bed() -> Result<()> {
    let Ok(text) = std::fs::read_to_string(state::root().join("bed.pid")) else { bail!("no bed is up") };
    let pid: i32 = text.trim().parse().context("bed.pid is damaged: run `emcee-testbed doctor --clean`")?;
    let patience = Instant::now() + Duration::from_secs(30);
    // While the lock is held, the pid belongs to the bed: it cannot have been reused.
    while state::is_bed_up() {
        Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
        ensure!(
            Instant::now() < patience,
            "the bed (pid {pid}) does not stop; kill it and run `doctor --clean`"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    state::remove_leftovers().map(drop)
}

fn exec_in_pod(target: &str, command: &[String]) -> Result<ExitCode> {
    let (mesh, target) = split_target(target)?;
    let pid = target.parse::<PodTarget>()?.pid(&mesh)?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let status = nsenter_command(pid, &command)
        .status()
        .context("cannot start nsenter; see `emcee-testbed doctor`")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

fn print_log(target: &str) -> Result<()> {
    let (mesh, of) = split_target(target)?;
    let path = log_path(&mesh, of)?;
    let mut file = std::fs::File::open(&path).with_context(|| format!("no log {}", path.display()))?;
    std::io::copy(&mut file, &mut std::io::stdout().lock())?;
    Ok(())
}

fn split_target(target: &str) -> Result<(PathBuf, &str)> {
    let (mesh, rest) =
        target.split_once('/').with_context(|| format!("{target:?} does not begin with a mesh's name"))?;
    let folder = state::root().join(mesh);
    ensure!(folder.is_dir(), "no mesh {mesh} is up");
    Ok((folder, rest))
}

fn pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn network(text: &str) -> Result<(String, Vec<String>)> {
    let (name, members) = pair(text)?;
    Ok((name, members.split(',').map(str::to_owned).collect()))
}
