//! The client with types of go-control-plane and Kubernetes, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::Value;
use tempfile::TempDir;

/// The credential that a peer presents.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

impl Credential {
    /// The credential of a mesh for a relationship.
    pub(crate) fn read(mesh: &Mesh, relationship: &str) -> Result<Self> {
        let api = Api::<Secret>::namespaced(mesh.client(), relationship);
        let secret = mesh.run(async move { Ok(api.get("rel").await?) })?;
        let data = secret.data.context("the Secret has no data")?;
        let text = |key: &str| {
            let bytes = data.get(key).with_context(|| format!("the Secret has no {key}"))?;
            Ok::<_, anyhow::Error>(String::from_utf8(bytes.0.clone())?)
        };
        Ok(Self { certificate: text("tls.crt")?, key: text("tls.key")?, ca: text("ca.crt")? })
    }

    fn write_files(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("tls.crt"), &self.certificate)?;
        std::fs::write(folder.join("tls.key"), &self.key)?;
        Ok(std::fs::write(folder.join("ca.crt"), &self.ca)?)
    }
}

/// Time limit for each response on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// The Go client. Dropping it ends it.
pub(crate) struct GoClient {
    child: Child,
    lines: Receiver<String>,
    _files: TempDir,
}

impl GoClient {
    /// Starts it with the mesh's own credential for a relationship with m2.
    pub(crate) fn start(
        mesh: &Mesh,
        bed: &Bed,
        address: &str,
        relationship: &str,
        refuse: &str,
    ) -> Result<Self> {
        let server_name = format!("discovery.{relationship}.emcee.internal");
        Self::start_with(mesh, bed, address, &server_name, &Credential::read(mesh, relationship)?, refuse)
    }

    pub(crate) fn start_with(
        mesh: &Mesh,
        bed: &Bed,
        address: &str,
        server_name: &str,
        credential: &Credential,
        refuse: &str,
    ) -> Result<Self> {
        let files = tempfile::tempdir()?;
        credential.write_files(files.path())?;
        let mut command = Command::new(bed.binaries().path("discovery-client"));
        command.args(["-address", address, "-server-name", server_name, "-peer", "m2.blue.example"]);
        command.args(["-certificate", "tls.crt", "-key", "tls.key", "-ca", "ca.crt", "-refuse", refuse]);
        command.current_dir(files.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A process that is started here is in the mesh's network.
        let mut child = mesh.run(async move { command.spawn().context("cannot start discovery-client") })?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is not piped")?);
        let (sender, lines) = channel();
        // The thread ends with the client's output, or when the receiver is dropped.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, lines, _files: files })
    }

    /// The next response that meets the condition.
    pub(crate) fn wait_for_response(&mut self, is: impl Fn(&Value) -> bool) -> Result<Value> {
        while let Some(line) = self.next_line()? {
            let response = serde_json::from_str(&line).with_context(|| line.clone())?;
            if is(&response) {
                return Ok(response);
            }
        }
        bail!("discovery-client exited: {}", self.wait_for_exit()?)
    }

    /// The next line of output; `None` after the client has exited.
    pub(crate) fn next_line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("discovery-client prints nothing"),
        }
    }

    pub(crate) fn wait_for_exit(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for GoClient {
    fn drop(&mut self) {
        // Closing stdin ends the client; if it has exited already, nothing happens.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
