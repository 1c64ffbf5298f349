//! Others' code at the wire: a client of go-control-plane's and Kubernetes' own types follows m2's Emcee, by its ingress
//! gateway, as m1.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::users::{APPS, exposition};
use super::world::{World, gateway};
use crate::resource::until;

/// It is told of what is announced to m1 and of nothing else, follows what changes, and may refuse one resource: the
/// stream goes on, and a resource that was refused is taken back like any other.
pub(crate) fn go_client(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let address = ingress(&world.m2)?;
    let mut client = Client::start(&world.m1, bed, &address, "blue", "default/verdicts/IPv4")?;
    let first = client.response(|response| names(response).contains(&"default/reviews/IPv4"))?;
    ensure!(!first.to_string().contains("httpbin"), "{first}");
    let reviews = resource(&first, "default/reviews/IPv4")?;
    ensure!(reviews["slice"]["addressType"] == "IPv4", "{reviews}");
    ensure!(reviews["slice"]["ports"][0]["port"] == 15443, "{reviews}");
    ensure!(reviews["slice"]["endpoints"][0]["addresses"] == json!([host(&address)]), "{reviews}");
    let annotations = reviews["slice"]["metadata"]["annotations"].to_string();
    ensure!(annotations.contains("reviews.default.blue.emcee.internal"), "{annotations}");

    world.m2.apply(&exposition("blue", "reviews", "verdicts", ""))?;
    let refused = client.response(|response| names(response).contains(&"default/verdicts/IPv4"))?;
    ensure!(names(&refused) == ["default/verdicts/IPv4"], "only what has changed: {refused}");
    ensure!(refused["refused"] == json!(["default/verdicts/IPv4"]), "{refused}");

    world.m2.apply(&exposition("blue", "reviews", "appraisals", ""))?;
    let next = client.response(|response| !names(response).is_empty())?;
    ensure!(names(&next) == ["default/appraisals/IPv4"], "what was refused is not said again: {next}");

    world.m2.delete(&exposition("blue", "reviews", "verdicts", ""))?;
    let removed = client.response(|response| response["removed"] != json!([]))?;
    ensure!(removed["removed"] == json!(["default/verdicts/IPv4"]), "{removed}");
    world.m2.delete(&exposition("blue", "reviews", "appraisals", ""))?;
    client.response(|response| response["removed"] == json!(["default/appraisals/IPv4"]))?;
    ["verdicts", "appraisals"].into_iter().try_for_each(|name| gone(&world.m1, name))
}

/// By the gateway as well, another relationship's certificate opens nothing, nor does a connection that names none.
pub(crate) fn strangers(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let address = ingress(&world.m2)?;
    let of_yellow = Credential::of(&world.m1, "yellow")?;
    let blue = Credential::of(&world.m1, "blue")?;
    let other = Credential { ca: blue.ca.clone(), ..of_yellow };
    refused(Client::with(&world.m1, bed, &address, "discovery.blue.emcee.internal", &other, "")?)?;
    refused(Client::with(&world.m1, bed, &address, "discovery.yellow.emcee.internal", &other, "")?)?;
    refused(Client::with(&world.m1, bed, &address, "", &blue, "")?)?;
    // The same way with what is right, or those above might have failed for another reason.
    let mut client = Client::start(&world.m1, bed, &address, "blue", "")?;
    client.response(|response| !names(response).is_empty()).map(drop)
}

fn ingress(mesh: &Mesh) -> Result<String> {
    Ok(format!("{}:15443", mesh.wait_address("blue", &gateway(mesh, "blue", "ingress")?)?))
}

fn host(address: &str) -> &str {
    address.split(':').next().unwrap_or(address)
}

/// What m1 imported by itself meanwhile.
fn gone(m1: &Mesh, name: &str) -> Result<()> {
    let kind = ("mm.ibm.istio.io/v1", "ServiceBinding");
    until(m1, kind, (APPS, name), "what was taken back stays", |found| found.is_none())
}

/// It ends by itself, in error, and was told nothing.
fn refused(mut client: Client) -> Result<()> {
    let line = client.line()?;
    ensure!(line.is_none(), "a stranger was told {line:?}");
    let ended = client.ended()?;
    ensure!(ended.code() == Some(1), "{ended}");
    Ok(())
}

fn names(response: &Value) -> Vec<&str> {
    let resources = response["resources"].as_array().into_iter().flatten();
    resources.filter_map(|resource| resource["name"].as_str()).collect()
}

fn resource<'a>(response: &'a Value, name: &str) -> Result<&'a Value> {
    let mut resources = response["resources"].as_array().into_iter().flatten();
    resources.find(|resource| resource["name"] == name).with_context(|| format!("no {name}: {response}"))
}

/// What a peer shows.
#[derive(Clone)]
struct Credential {
    certificate: String,
    key: String,
    ca: String,
}

impl Credential {
    /// A mesh's own for a relationship.
    fn of(mesh: &Mesh, relationship: &str) -> Result<Self> {
        let api = Api::<Secret>::namespaced(mesh.client(), relationship);
        let secret = mesh.run(async move { Ok(api.get("rel").await?) })?;
        let data = secret.data.context("the Secret has data")?;
        let text = |key: &str| {
            let bytes = data.get(key).with_context(|| format!("the Secret has no {key}"))?;
            Ok::<_, anyhow::Error>(String::from_utf8(bytes.0.clone())?)
        };
        Ok(Self { certificate: text("tls.crt")?, key: text("tls.key")?, ca: text("ca.crt")? })
    }

    fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("tls.crt"), &self.certificate)?;
        std::fs::write(folder.join("tls.key"), &self.key)?;
        Ok(std::fs::write(folder.join("ca.crt"), &self.ca)?)
    }
}

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// The Go client; it ends with this.
struct Client {
    child: Child,
    lines: Receiver<String>,
    _files: TempDir,
}

impl Client {
    /// With a mesh's own credential of a relationship with m2.
    fn start(mesh: &Mesh, bed: &Bed, address: &str, relationship: &str, refuse: &str) -> Result<Self> {
        let server_name = format!("discovery.{relationship}.emcee.internal");
        Self::with(mesh, bed, address, &server_name, &Credential::of(mesh, relationship)?, refuse)
    }

    fn with(
        mesh: &Mesh,
        bed: &Bed,
        address: &str,
        server_name: &str,
        credential: &Credential,
        refuse: &str,
    ) -> Result<Self> {
        let files = tempfile::tempdir()?;
        credential.write(files.path())?;
        let mut command = Command::new(bed.binaries().path("discovery-client"));
        command.args(["-address", address, "-server-name", server_name, "-peer", "m2.blue.example"]);
        command.args(["-certificate", "tls.crt", "-key", "tls.key", "-ca", "ca.crt", "-refuse", refuse]);
        command.current_dir(files.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Where it is started it is in the mesh's network.
        let mut child = mesh.run(async move { command.spawn().context("cannot start discovery-client") })?;
        let said = BufReader::new(child.stdout.take().context("its output is piped")?);
        let (sender, lines) = channel();
        // It ends with the client's output, or when nobody listens.
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, lines, _files: files })
    }

    /// The next response that is so.
    fn response(&mut self, is: impl Fn(&Value) -> bool) -> Result<Value> {
        while let Some(line) = self.line()? {
            let response = serde_json::from_str(&line).with_context(|| line.clone())?;
            if is(&response) {
                return Ok(response);
            }
        }
        bail!("discovery-client ended: {}", self.ended()?)
    }

    /// What it says next; nothing once it has ended.
    fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("discovery-client waits and says nothing"),
        }
    }

    fn ended(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends when its input does; if it has ended by itself there is nothing to close.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
