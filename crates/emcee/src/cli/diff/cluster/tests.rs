use clap::Parser;
use emcee_testkit::apiserver::{ApiServer, ServerState, Verb};
use emcee_testkit::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

#[derive(Parser)]
struct DiffCommand {
    #[command(flatten)]
    args: DiffArgs,
}

struct DiffRun {
    outcome: ExitStatus,
    out: String,
    err: String,
}

async fn run_diff(server: &ApiServer, files: &[Value]) -> DiffRun {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("mesh.json");
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": files});
    std::fs::write(&path, list.to_string()).expect("a file can be written");
    let mut arguments = vec!["emcee".to_owned(), "--cluster".to_owned()];
    if !files.is_empty() {
        arguments.extend(["-f".to_owned(), path.display().to_string()]);
    }
    let args = DiffCommand::try_parse_from(arguments).expect("flags are right").args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err);
    let reading = read_files(&args, &mut console).expect("a console").expect("files can be read");
    let found = compute_diff(&args, server.client(), reading).await.expect("the cluster can be read");
    let outcome = print_diff(found, &mut console).expect("a console");
    let text = |bytes| anstream::adapter::strip_str(&String::from_utf8(bytes).expect("UTF-8")).to_string();
    DiffRun { outcome, out: text(out), err: text(err) }
}

fn static_binding(name: &str, address: &str) -> Value {
    let mut object = binding("shop", name).port(9080).fed("blue").endpoints([address]).build();
    object["spec"]["subject_alt_names"] = serde_json::json!(["spiffe://cluster.local/ns/there/sa/details"]);
    object
}

fn lines<'t>(text: &'t str, sign: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(sign)).collect()
}

#[tokio::test]
async fn files_are_applied_to_the_snapshot_and_nothing_is_written() {
    let server = ApiServer::new();
    server.put(FEDS, flat("blue").build());
    assert_eq!(run_diff(&server, &[]).await.outcome, ExitStatus::Success, "FLAT needs no objects of its own");
    let ran = run_diff(&server, &[static_binding("details", "203.0.113.7:15443")]).await;
    assert_eq!((ran.outcome, ran.err.as_str()), (ExitStatus::Findings, ""));
    assert!(lines(&ran.out, "+ ServiceEntry ").len() == 1, "{}", ran.out);
    assert_eq!(lines(&ran.out, "+ ").len(), ran.out.lines().count());
    assert_eq!(server.read_state(ServerState::writes), 0);
}

#[tokio::test]
async fn invalid_files_are_refused_and_missing_objects_are_reported() {
    let server = ApiServer::new();
    let twice = [flat("blue").build(), flat("blue").build()];
    let refused = run_diff(&server, &twice).await;
    assert_eq!((refused.outcome, refused.out.as_str()), (ExitStatus::Failed, ""));
    assert!(refused.err.contains("mesh.json"), "{}", refused.err);
    let nowhere = run_diff(&server, &[static_binding("details", "203.0.113.7:15443")]).await;
    assert_eq!((nowhere.outcome, nowhere.out.as_str()), (ExitStatus::Success, ""));
    assert!(nowhere.err.starts_with("not generated: ServiceBinding shop/details: "), "{}", nowhere.err);
}

/// If two resources claim the same name, the older one wins. A file has no age of its own.
#[tokio::test]
async fn a_new_file_does_not_replace_an_older_resource() {
    let server = ApiServer::new();
    let aged = |mut object: Value| {
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        object["metadata"]["uid"] = "1".into();
        object
    };
    server.put(FEDS, aged(flat("blue").build()));
    let alias = |mut object: Value| {
        object["spec"]["alias"] = "there".into();
        object
    };
    server.put(BINDINGS, aged(alias(static_binding("old", "203.0.113.7:15443"))));
    let before = run_diff(&server, &[]).await;
    let newer = alias(static_binding("a-new", "203.0.113.8:15443"));
    let after = run_diff(&server, std::slice::from_ref(&newer)).await;
    // The shared host of the newer one may be there, but without a subset it has no calls.
    let without_entries = |out: &str| -> Vec<String> {
        out.lines().filter(|line| !line.starts_with("+ ServiceEntry ")).map(str::to_owned).collect()
    };
    assert_eq!(without_entries(&before.out), without_entries(&after.out));
    assert!(after.err.contains("ServiceBinding shop/a-new: "), "{}", after.err);
    // A resource that exists in the cluster keeps its age.
    let again = run_diff(&server, &[newer, alias(static_binding("old", "203.0.113.9:15443"))]).await;
    assert!(again.err.contains("ServiceBinding shop/a-new: "), "{}", again.err);
    assert_eq!(lines(&again.err, "not generated: ").len(), 1, "{}", again.err);
}

#[tokio::test]
async fn an_object_that_is_not_managed_by_emcee_is_reported() {
    let server = ApiServer::new();
    server.put(FEDS, flat("blue").build());
    let planned = run_diff(&server, &[static_binding("details", "203.0.113.7:15443")]).await;
    let entry = lines(&planned.out, "+ ServiceEntry shop/")[0].trim_start_matches("+ ServiceEntry shop/");
    let foreign = serde_json::json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "spec": {},
        "metadata": {"name": entry, "namespace": "shop"}});
    server.put("serviceentries.networking.istio.io", foreign);
    let ran = run_diff(&server, &[static_binding("details", "203.0.113.7:15443")]).await;
    assert_eq!(lines(&ran.out, "+ ServiceEntry ").len(), 0, "{}", ran.out);
    let expected = format!(
        "left unchanged: ServiceEntry shop/{entry} exists and is not managed by Emcee (rename or delete it)\n"
    );
    assert!(ran.err.ends_with(&expected), "{}", ran.err);
    assert!(server.read_state(|state| state.count(Verb::Get)) > 0);
}

/// An object that is left unchanged counts as a difference, and the message says how to fix it.
#[tokio::test]
async fn an_object_that_is_left_unchanged_counts_as_a_difference() {
    let server = ApiServer::new();
    server.put(FEDS, flat("blue").build());
    server.put(BINDINGS, static_binding("details", "203.0.113.7:15443"));
    let planned = run_diff(&server, &[]).await;
    let entry =
        lines(&planned.out, "+ ServiceEntry shop/")[0].trim_start_matches("+ ServiceEntry shop/").to_owned();
    let copy = serde_json::json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "spec": {"hosts": ["old.example"]}, "metadata": {"name": entry, "namespace": "shop",
            "labels": {"app.kubernetes.io/managed-by": "emcee"}}});
    server.put("serviceentries.networking.istio.io", copy.clone());
    let mut unwanted = copy;
    unwanted["metadata"]["name"] = "unwanted".into();
    server.put("serviceentries.networking.istio.io", unwanted);
    let found = run_diff(&server, &[]).await;
    let fix = |name: &str| {
        format!(
            "delete it, or hand it over to Emcee: `kubectl -n shop get serviceentries.networking.istio.io {name} -o yaml | kubectl apply --server-side --field-manager emcee -f -`"
        )
    };
    for words in [
        format!(
            "left unchanged: ServiceEntry shop/{entry} has Emcee's label but another field manager wrote it, and it differs from the desired state ({})\n    metadata.labels.",
            fix(&entry)
        ),
        format!(
            "left unchanged: ServiceEntry shop/unwanted has Emcee's label but another field manager wrote it, and no resource asks for it ({})\n",
            fix("unwanted")
        ),
    ] {
        assert!(found.err.contains(&words), "{words}\n{}", found.err);
    }
    let alone = ApiServer::new();
    alone.put(
        "serviceentries.networking.istio.io",
        serde_json::json!({"apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry", "spec": {}, "metadata": {"name": "unwanted", "namespace": "shop",
            "labels": {"app.kubernetes.io/managed-by": "emcee"}}}),
    );
    let found = run_diff(&alone, &[]).await;
    assert_eq!((found.outcome, found.out.as_str()), (ExitStatus::Findings, ""));
}
