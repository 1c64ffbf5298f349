//! A container as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Node, rootfs, sandbox::PodNetwork, variables};
use crate::process::{Process, ProcessSpec, last_lines};

/// What does not change about a container when it restarts.
pub(super) struct ContainerPlan {
    root: PathBuf,
    spec: ProcessSpec,
}

impl ContainerPlan {
    /// Determines what to run, and writes its script.
    pub(super) async fn prepare(
        node: &Node,
        pod: &Pod,
        container: &Container,
        sandbox: &PodNetwork,
        folder: &Path,
    ) -> Result<Self> {
        let env =
            variables::container_environment(node, pod, container, &sandbox.address.to_string()).await?;
        let program = container_command(node, container, &env.iter().cloned().collect())?;
        let script = rootfs::write_script(node, pod, container, folder)?;
        let net = format!("--net={}", sandbox.namespace.path().display());
        let enter =
            ["nsenter", &net, "unshare", "--mount", "--propagation", "private", "sh"].map(str::to_owned);
        let command = enter.into_iter().chain([script.display().to_string()]).chain(program).collect();
        let log = folder.join(format!("{}.log", container.name));
        let name = format!("{}/{}", folder.file_name().unwrap_or_default().display(), container.name);
        Ok(Self {
            root: node.root.clone(),
            spec: ProcessSpec { name, command, env, folder: folder.to_owned(), log },
        })
    }

    /// Starts the process, and records its pid for `exec`.
    pub(super) fn start(&self) -> Result<Process> {
        let process = Process::start(&self.root, &self.spec)?;
        std::fs::write(self.spec.log.with_extension("pid"), process.pid().to_string())?;
        Ok(process)
    }

    /// Runs the process until it ends, which must be successful and within 60 s.
    pub(super) async fn run_to_end(&self) -> Result<()> {
        let limit = Duration::from_mins(1);
        let code = tokio::time::timeout(limit, async { self.start()?.wait().await }).await;
        match code.with_context(|| format!("{} timed out after 60 s", self.spec.name))?? {
            0 => Ok(()),
            code => bail!("{} exited with {code}:\n{}", self.spec.name, last_lines(&self.spec.log, 15)),
        }
    }
}

fn container_command(
    node: &Node,
    container: &Container,
    env: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let image = container.image.as_deref().unwrap_or_default();
    let command = match container.command.as_deref() {
        Some(command) if !command.is_empty() => command,
        _ => node
            .images
            .entrypoint(image)
            .with_context(|| format!("no program is known for image {image:?}"))?,
    };
    let arguments = container.args.iter().flatten();
    Ok(command.iter().chain(arguments).map(|text| variables::expand_variables(text, env)).collect())
}
