//! Emcee as a process outside of the mesh, with the rights of its own ServiceAccount.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use emcee_testbed::Mesh;
pub(crate) use emcee_testbed::suite::emcee_output;
use emcee_testbed::suite::emcee_path;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// A replica of Emcee. Dropping it kills it.
pub(crate) struct Emcee {
    child: Child,
}

impl Emcee {
    /// Starts a replica. Its log is in the folder with the mesh's other logs.
    pub(crate) fn start(mesh: &Mesh, fed_namespaces: &str) -> Result<Self> {
        let log = mesh.folder().join("logs/emcee.log");
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(emcee_path()?);
        command.args(["run", "--kubeconfig"]).arg(kubeconfig(mesh)?);
        command.args(["--namespace", "emcee-system", "--fed-namespaces", fed_namespaces]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().context("cannot start emcee")?;
        mesh.record_process(child.id(), "emcee")?;
        Ok(Self { child })
    }

    /// Ends the replica with SIGTERM, and waits until it has exited successfully.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "it exited with {ended}");
        Ok(())
    }

    /// Ends the replica with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What `emcee diff --cluster` would change; empty if a controller has nothing left to do.
pub(crate) fn undone(mesh: &Mesh) -> Result<String> {
    let mut diff = Command::new(emcee_path()?);
    diff.args(["diff", "--cluster", "--kubeconfig"]).arg(mesh.kubeconfig());
    let done = diff.output().context("cannot start emcee")?;
    let output = [done.stdout, done.stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    match done.status.code() {
        Some(0) => Ok(String::new()),
        Some(1) => Ok(output),
        _ => anyhow::bail!("emcee diff: {output}"),
    }
}

impl Drop for Emcee {
    fn drop(&mut self) {
        // The process may have exited already; its log tells why.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The administrator's kubeconfig, but with a token of Emcee's ServiceAccount.
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
        Ok(granted.status.context("the TokenRequest has no token")?.token)
    })
}
