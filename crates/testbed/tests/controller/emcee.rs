//! Emcee as a process beside a mesh, with the rights of its own ServiceAccount.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use emcee_testbed::Mesh;
use emcee_testbed::suite::emcee;
pub(crate) use emcee_testbed::suite::print;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// A replica. Dropped, it is killed.
pub(crate) struct Emcee {
    child: Child,
}

impl Emcee {
    /// Starts a replica. Its log is beside the mesh's others.
    pub(crate) fn start(mesh: &Mesh, fed_namespaces: &str) -> Result<Self> {
        let log = mesh.folder().join("logs/emcee.log");
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(emcee()?);
        command.args(["run", "--kubeconfig"]).arg(kubeconfig(mesh)?);
        command.args(["--namespace", "emcee-system", "--fed-namespaces", fed_namespaces]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().context("cannot start emcee")?;
        mesh.adopt(child.id(), "emcee")?;
        Ok(Self { child })
    }

    /// As SIGTERM does; waits for the end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    }

    /// As SIGKILL does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What a controller would still do in a cluster; nothing, if it has done its work.
pub(crate) fn undone(mesh: &Mesh) -> Result<String> {
    let mut diff = Command::new(emcee()?);
    diff.args(["diff", "--cluster", "--kubeconfig"]).arg(mesh.kubeconfig());
    let done = diff.output().context("cannot start emcee")?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    match done.status.code() {
        Some(0) => Ok(String::new()),
        Some(1) => Ok(said),
        _ => anyhow::bail!("emcee diff: {said}"),
    }
}

impl Drop for Emcee {
    fn drop(&mut self) {
        // It may have ended by itself, which its log says.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As the administrator's, but for whom it speaks.
pub(crate) fn kubeconfig(mesh: &Mesh) -> Result<PathBuf> {
    let mut config: Value = serde_saphyr::from_str(&fs::read_to_string(mesh.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token(mesh)?});
    let path = mesh.folder().join("emcee-kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

fn token(mesh: &Mesh) -> Result<String> {
    let client = mesh.client();
    mesh.run(async move {
        let accounts = Api::<ServiceAccount>::namespaced(client, "emcee-system");
        let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let granted = accounts.create_token_request("emcee", &PostParams::default(), &request).await?;
        Ok(granted.status.context("a token was asked for")?.token)
    })
}
