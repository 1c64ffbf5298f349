//! Commands in pods, and the logs of processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Mesh;
use crate::process::last_lines;

/// The result of a command.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    /// Exit code; -1 if a signal ended the command.
    pub code: i32,
    /// What the command wrote to stdout.
    pub stdout: String,
    /// What the command wrote to stderr.
    pub stderr: String,
}

/// A pod, or one of its containers: `namespace/pod[/container]`. The pod's name may be a prefix.
#[derive(Debug, Clone)]
pub struct PodTarget {
    namespace: String,
    pod: String,
    container: Option<String>,
}

impl std::str::FromStr for PodTarget {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(pod), container, None) => Ok(Self { namespace, pod, container }),
            _ => bail!("{text:?} is not namespace/pod[/container]"),
        }
    }
}

impl PodTarget {
    /// The pod's folder below the mesh's folder.
    pub fn folder(&self, mesh: &Path) -> Result<PathBuf> {
        let pods = mesh.join("pods");
        let start = format!("{}_{}", self.namespace, self.pod);
        let mut found: Vec<PathBuf> =
            list_files(&pods).filter(|path| file_name(path).starts_with(&start)).collect();
        // A running pod comes before one that is being removed. Then comes the shortest name: an exact name precedes all
        // names that start with it.
        found.sort_by_key(|path| (!is_running(path), file_name(path).len(), path.clone()));
        let missing = || format!("no pod {}/{} runs (see `kubectl get pods -A`)", self.namespace, self.pod);
        found.into_iter().next().with_context(missing)
    }

    /// The pid of the named container's process, by default of the application's.
    pub fn pid(&self, mesh: &Path) -> Result<u32> {
        let folder = self.folder(mesh)?;
        let named = |name: &str| folder.join(format!("{name}.pid"));
        let pid = match &self.container {
            Some(container) => named(container),
            None => first_app_pid_file(&folder).unwrap_or_else(|| named("istio-proxy")),
        };
        let text =
            fs::read_to_string(&pid).with_context(|| format!("no running process for {}", pid.display()))?;
        Ok(text.trim().parse()?)
    }
}

fn is_running(folder: &Path) -> bool {
    let pids = list_files(folder).filter(|path| path.extension().is_some_and(|end| end == "pid"));
    let mut pids = pids.filter_map(|path| fs::read_to_string(path).ok());
    pids.any(|pid| Path::new("/proc").join(pid.trim()).join("root").exists())
}

fn first_app_pid_file(folder: &Path) -> Option<PathBuf> {
    let mut own: Vec<PathBuf> = list_files(folder)
        .filter(|path| path.extension().is_some_and(|end| end == "pid"))
        .filter(|path| !file_name(path).starts_with("istio-"))
        .collect();
    own.sort();
    own.into_iter().next()
}

fn list_files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A command that runs in the environment of a process: its files, its network, its variables.
#[must_use]
pub fn nsenter_command(pid: u32, command: &[&str]) -> Command {
    let mut enter = Command::new("nsenter");
    enter.args(["-t", &pid.to_string(), "-m", "-n", "-r", "-w", "--"]).args(command);
    enter.env_clear().envs(process_environment(pid));
    enter
}

/// The environment with which a process was started.
fn process_environment(pid: u32) -> Vec<(OsString, OsString)> {
    let all = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let pairs = all.split(|byte| *byte == 0).filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((
            OsStr::from_bytes(&pair[..equals]).to_owned(),
            OsStr::from_bytes(&pair[equals + 1..]).to_owned(),
        ))
    });
    pairs.collect()
}

impl Mesh {
    /// Runs a command in a pod, for instance `mesh.exec("default/sleep", &["curl", …])`.
    pub fn exec(&self, target: &str, command: &[&str]) -> Result<CommandOutput> {
        let pid = target.parse::<PodTarget>()?.pid(self.folder())?;
        let done = nsenter_command(pid, command)
            .output()
            .context("cannot start nsenter; see `emcee-testbed doctor`")?;
        Ok(CommandOutput {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }

    /// The log of `istiod`, `kube-apiserver`, `etcd`, `kube-controller-manager`, or of a container.
    pub fn log(&self, of: &str) -> Result<String> {
        let path = log_path(self.folder(), of)?;
        fs::read_to_string(&path).with_context(|| format!("no log {}", path.display()))
    }

    /// The last lines of all logs, which a failing test prints.
    pub fn log_tails(&self, lines: usize) -> String {
        let pods = ["pods", "ended"].into_iter().flat_map(|kind| list_files(&self.folder().join(kind)));
        let folders = std::iter::once(self.folder().join("logs")).chain(pods);
        let logs = folders
            .flat_map(|folder| list_files(&folder))
            .filter(|path| path.extension().is_some_and(|end| end == "log"));
        let tails: Vec<String> =
            logs.map(|path| format!("--- {}\n{}", path.display(), last_lines(&path, lines))).collect();
        tails.join("\n")
    }
}

/// Path of the log of a process or container.
pub fn log_path(mesh: &Path, of: &str) -> Result<PathBuf> {
    if !of.contains('/') {
        return Ok(mesh.join("logs").join(format!("{of}.log")));
    }
    let target: PodTarget = of.parse()?;
    let folder = target.folder(mesh)?;
    let own = || first_app_pid_file(&folder).map(|pid| pid.with_extension("log"));
    let named = target.container.as_ref().map(|name| folder.join(format!("{name}.log")));
    Ok(named.or_else(own).unwrap_or_else(|| folder.join("istio-proxy.log")))
}
