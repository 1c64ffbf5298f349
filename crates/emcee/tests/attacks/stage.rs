//! The target of the attacks: the program with two relationships, or the webhook.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use emcee::metrics::WebhookMetrics;
use emcee::run::admin::{self, AdminState, EngineHealth};
use emcee::webhook::{self, WebhookOptions};
use emcee_controller::CatalogueState;
use emcee_testkit::apiserver::ApiServer;
use emcee_testkit::certs::Ca;
use emcee_testkit::prelude::*;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

const MESH: &str = include_str!("mesh.yaml");

/// Kind of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `emcee run --dir`.
    Emcee,
    /// The webhook and the probe port, in one process.
    Webhook,
}

/// A process that is attacked, and killed when this is dropped.
pub(crate) struct Stage {
    pub(crate) target: Target,
    folder: TempDir,
    process: Child,
    pub(crate) probes: SocketAddr,
    /// Address of discovery or of the webhook.
    pub(crate) service: SocketAddr,
    /// Certificate of m1 in yellow.
    pub(crate) yellow: TlsPair,
}

/// Returns a command that runs on this processor, if there are at least two.
pub(crate) fn pinned_command(processor: usize, program: &PathBuf) -> Command {
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    if !several || Command::new("taskset").arg("--version").output().is_err() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.arg("-c").arg(processor.to_string()).arg(program);
    command
}

/// Returns a command that runs this test program in another role.
pub(crate) fn role_command(processor: usize, role: &str) -> Command {
    let mut command = pinned_command(processor, &std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--ignored", "--nocapture"]).env("EMCEE_ROLE", role);
    command
}

impl Stage {
    pub(crate) fn new(target: Target) -> Self {
        let folder = TempDir::new().unwrap();
        let yellow = Ca::shared("yellow").issue(&Leaf::dns("m1.yellow.example"));
        let mut command = match target {
            Target::Emcee => emcee_command(&folder),
            Target::Webhook => role_command(0, "webhook"),
        };
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let [probes, service] = match target {
            Target::Emcee => {
                let discovery = fs::read_to_string(folder.path().join("discovery")).unwrap();
                let line = wait_for_line(process.stderr.take().unwrap(), "the probe port is at ");
                [line, discovery]
            }
            Target::Webhook => {
                let line = wait_for_line(process.stdout.take().unwrap(), "ready ");
                let (probes, service) = line.split_once(' ').unwrap();
                [probes.to_owned(), service.to_owned()]
            }
        };
        let stage = Self {
            target,
            folder,
            process,
            probes: probes.parse().unwrap(),
            service: service.parse().unwrap(),
            yellow,
        };
        if target == Target::Emcee {
            stage.change_identity(0);
        }
        stage
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Changes the identity of the service ratings in yellow, and returns it.
    pub(crate) fn change_identity(&self, number: usize) -> String {
        let identity = format!("spiffe://m4.example/ns/default/sa/ratings-{number}");
        let exposition = exposition("default", "ratings").port(9080).fed("yellow").build();
        let mut exposition = exposition;
        exposition["spec"]["subject_alt_names"] = json!([identity]);
        let next = self.folder.path().join("next");
        fs::write(&next, exposition.to_string()).unwrap();
        fs::rename(next, self.folder.path().join("in/ratings.json")).unwrap();
        identity
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The process may already have exited.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn emcee_command(folder: &TempDir) -> Command {
    let resources = folder.path().join("in");
    fs::create_dir(&resources).unwrap();
    fs::write(resources.join("mesh.yaml"), MESH).unwrap();
    for relationship in ["blue", "yellow"] {
        let pair = Ca::shared(relationship).issue(&Leaf::dns(&format!("m4.{relationship}.example")));
        let secret = secret_tls(relationship, "source").label("relationship", relationship).pair(&pair);
        fs::write(resources.join(format!("{relationship}.json")), secret.build().to_string()).unwrap();
    }
    // The port was free a moment ago.
    let discovery = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(folder.path().join("discovery"), discovery.to_string()).unwrap();
    let mut command = pinned_command(0, &PathBuf::from(env!("CARGO_BIN_EXE_emcee")));
    command.args([
        "run",
        "--dir",
        "in",
        "--out",
        "out",
        "--interval",
        "20",
        "--probe-address",
        "127.0.0.1:0",
    ]);
    command.arg(format!("--discovery-address={discovery}")).current_dir(folder.path());
    command
}

/// Waits for a line with these words, and returns the rest of the line. Later output is read and discarded.
fn wait_for_line(output: impl std::io::Read + Send + 'static, words: &'static str) -> String {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let found = lines.find_map(|line| line.split_once(words).map(|(_, rest)| rest.to_owned()));
    std::thread::spawn(move || lines.for_each(drop));
    found.expect("a line with the address")
}

struct Well;

impl EngineHealth for Well {
    fn readiness_blockers(&self) -> Vec<String> {
        Vec::new()
    }
    fn stall_reason(&self) -> Option<String> {
        None
    }
    fn config_dump(&self) -> BoxFuture<'_, Value> {
        Box::pin(async { Value::Null })
    }
    fn catalogue_reports(&self) -> BoxFuture<'_, Option<CatalogueState>> {
        Box::pin(async { None })
    }
}

/// Serves the webhook and the probe port, as a replica does, until the process is killed.
pub(crate) fn serve_webhook() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let api = ApiServer::new();
        let client = json!({"service": {"name": "emcee-webhook", "namespace": "emcee", "path": "/validate"}});
        api.put(
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "emcee"}, "webhooks": [{"name": "emcee.io", "clientConfig": client}]}),
        );
        let bind = || admin::bind_listener(([127, 0, 0, 1], 0).into());
        let (probes, reviews) = (bind().unwrap(), bind().unwrap());
        let addresses = (probes.local_addr().unwrap(), reviews.local_addr().unwrap());
        let state = AdminState { registry: Arc::new(Registry::default()), health: Arc::new(Well) };
        tokio::spawn(admin::serve_probes(probes, state, std::future::pending()));
        let options = WebhookOptions::for_namespace("emcee");
        tokio::spawn(webhook::serve(
            reviews,
            api.client(),
            options,
            WebhookMetrics::default(),
            std::future::pending(),
        ));
        api.wait_until(|state| state.get("secrets", "emcee", "emcee-webhook").is_some()).await;
        println!("ready {} {}", addresses.0, addresses.1);
        std::future::pending::<()>().await;
    });
}
