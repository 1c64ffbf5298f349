use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use emcee_controller::FINALIZER;
use emcee_testkit::apiserver::{ApiServer, Fault, Verb};
use emcee_testkit::prelude::*;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::*;

const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
const LEASES: &str = "leases.coordination.k8s.io";

#[derive(Parser)]
struct UninstallCommand {
    #[command(flatten)]
    args: UninstallArgs,
}

struct UninstallRun {
    outcome: anyhow::Result<ExitStatus>,
    out: String,
    err: String,
}

async fn run_command(server: &ApiServer, flags: &str) -> UninstallRun {
    let arguments = ["emcee"].into_iter().chain(flags.split_whitespace());
    let args = UninstallCommand::try_parse_from(arguments).expect("flags are right").args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run_uninstall(&args, server.client(), &mut Console::new(&mut out, &mut err)).await;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    UninstallRun { outcome, out: text(out), err: text(err) }
}

impl UninstallRun {
    fn error_text(&self) -> String {
        format!("{:#}", self.outcome.as_ref().expect_err("it is refused"))
    }
}

/// API server with a relationship that has Emcee's finalizer, and a Service that Emcee wrote.
async fn server() -> ApiServer {
    let server = ApiServer::new();
    let mut fed = flat("blue").build();
    fed["metadata"]["finalizers"] = json!([FINALIZER]);
    server.put(FEDS, fed);
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]},
        "metadata": {"name": "egress", "namespace": "blue", "labels": {
            "app.kubernetes.io/managed-by": "emcee", "emcee.io/mesh-fed-config": "blue.blue",
            "emcee.io/owner-kind": "MeshFedConfig", "emcee.io/owner-name": "blue", "emcee.io/owner-namespace": "blue"}}});
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
    let services = Api::<DynamicObject>::namespaced_with(server.client(), "blue", &resource);
    let applied = services.patch("egress", &PatchParams::apply("emcee"), &Patch::Apply(service)).await;
    applied.expect("the Service is applied");
    server
}

fn put_lease(server: &ApiServer, renewed: &str) {
    server.put(
        LEASES,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "emcee", "namespace": "emcee-system"},
            "spec": {"holderIdentity": "emcee-0", "renewTime": renewed, "leaseDurationSeconds": 15}}),
    );
}

fn finalizers(server: &ApiServer) -> Value {
    server.get(FEDS, "blue", "blue").expect("the user's")["metadata"]["finalizers"].clone()
}

#[tokio::test]
async fn each_object_has_a_line_and_the_command_succeeds() {
    let server = server().await;
    let ran = run_command(&server, "--all --yes --namespace emcee-system").await;
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Success);
    assert_eq!(
        ran.out,
        "removed: Service blue/egress\nreleased from Emcee's finalizer: MeshFedConfig blue/blue\n"
    );
    assert_eq!(ran.err, "MeshFedConfigs, ServiceExpositions and ServiceBindings are yours and are kept\n");
    assert_eq!(server.get("services", "blue", "egress"), None);
    assert!(finalizers(&server).as_array().is_none_or(Vec::is_empty));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let server = server().await;
    let before = server.read_state(emcee_testkit::apiserver::ServerState::writes);
    let ran = run_command(&server, "--relationship blue/blue --dry-run").await;
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Success);
    assert_eq!(
        ran.out,
        "would be removed: Service blue/egress\nwould be released from Emcee's finalizer: MeshFedConfig blue/blue\n"
    );
    assert_eq!(server.read_state(emcee_testkit::apiserver::ServerState::writes), before);
}

#[tokio::test]
async fn leftover_objects_are_reported_with_exit_code_1() {
    let server = server().await;
    server.inject(Fault::code(403).verb(Verb::Delete));
    let ran = run_command(&server, "--all --yes --namespace emcee-system").await;
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Findings);
    assert!(ran.err.contains("left: Service blue/egress "), "{}", ran.err);
    assert!(ran.err.contains("left: MeshFedConfig blue/blue keeps its finalizer"), "{}", ran.err);
    assert_eq!(finalizers(&server), json!([FINALIZER]));
}

#[tokio::test]
async fn a_running_controller_requires_force() {
    let server = server().await;
    put_lease(&server, &Timestamp::now().to_string());
    let refused = run_command(&server, "--all --yes --namespace emcee-system").await.error_text();
    assert!(refused.contains("a controller runs (emcee-0)"), "{refused}");
    server.inject(Fault::code(403).plural(LEASES));
    let refused = run_command(&server, "--all --yes --namespace emcee-system").await.error_text();
    assert!(
        refused.contains(
            "cannot find out whether a controller runs: failed to read the Lease emcee-system/emcee"
        ),
        "{refused}"
    );
    assert!(server.get("services", "blue", "egress").is_some());
    let ran = run_command(&server, "--all --yes --force --namespace emcee-system").await;
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Success);
    assert!(ran.err.contains("warning: a controller runs"), "{}", ran.err);
}

#[tokio::test]
async fn an_expired_lease_does_not_block() {
    let server = server().await;
    put_lease(&server, "2026-01-01T00:00:00.000000Z");
    let ran = run_command(&server, "--all --yes --namespace emcee-system").await;
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Success);
}

#[tokio::test]
async fn with_stop_the_controller_is_scaled_down_first() {
    let server = server().await;
    put_lease(&server, &Timestamp::now().to_string());
    server.put(
        "deployments.apps",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2},
            "metadata": {"name": "emcee", "namespace": "emcee-system"}}),
    );
    let flags = "--all --yes --namespace emcee-system --stop emcee";
    let late = run_command(&server, &format!("{flags} --timeout 0s")).await.error_text();
    assert!(late.contains("emcee-0 still holds the Lease"), "{late}");
    assert!(server.get("services", "blue", "egress").is_some(), "it may still write");
    let looks = AtomicUsize::new(0);
    let stopped = server.wait_until(|state| {
        let leases = state.log().iter().filter(|logged| logged.path.ends_with("/leases/emcee"));
        looks.store(leases.count(), Ordering::Relaxed);
        looks.load(Ordering::Relaxed) >= 3
    });
    let given_back = async {
        stopped.await;
        put_lease(&server, "2026-01-01T00:00:00.000000Z");
    };
    let (ran, ()) = tokio::join!(run_command(&server, flags), given_back);
    assert_eq!(ran.outcome.expect("it is done"), ExitStatus::Success);
    assert_eq!(server.get("services", "blue", "egress"), None);
    let deployment = server.get("deployments.apps", "emcee-system", "emcee").expect("it stays");
    assert_eq!(deployment["spec"]["replicas"], 0);
}

#[test]
fn exactly_one_of_relationship_and_all_is_required() {
    for (flags, right) in [
        ("--all", true),
        ("--relationship blue/blue --timeout 2m", true),
        ("", false),
        ("--all --relationship blue/blue", false),
        ("--relationship blue", false),
        ("--relationship a/b/c", false),
        ("--all --timeout soon", false),
        ("--all --timeout -5s", false),
    ] {
        let arguments = ["emcee"].into_iter().chain(flags.split_whitespace());
        assert_eq!(UninstallCommand::try_parse_from(arguments).is_ok(), right, "{flags}");
    }
}
