//! Tests the API server through a real client.

use emcee_testkit::apiserver::{ApiServer, Effect, Fault, Verb};
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
    runtime::watcher::{Config, Event, watcher},
};
use serde_json::{Value, json};

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "x"}, "data": data})
}

fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

async fn apply(api: &Api<ConfigMap>, data: Value) -> kube::Result<ConfigMap> {
    api.patch("a", &PatchParams::apply("me").force(), &Patch::Apply(map(&data))).await
}

#[tokio::test]
async fn apply_creates_then_does_nothing_then_removes_a_field() {
    let server = ApiServer::new();
    let api = Api::<ConfigMap>::namespaced(server.client(), "x");
    let first = apply(&api, json!({"k": "1", "l": "2"})).await.expect("it is created");
    let same = apply(&api, json!({"k": "1", "l": "2"})).await.expect("it is there");
    assert_eq!(first.metadata.resource_version, same.metadata.resource_version);
    apply(&api, json!({"k": "1"})).await.expect("it is there");
    assert_eq!(server.get("configmaps", "x", "a").expect("it is there")["data"], json!({"k": "1"}));
    api.delete("a", &DeleteParams::default()).await.expect("it is deleted");
    assert_eq!(server.read_state(|state| (state.list().count(), state.writes())), (0, 4));
}

#[tokio::test]
async fn each_fault_arrives() {
    let server = ApiServer::new();
    let api = Api::<ConfigMap>::namespaced(server.client(), "x");
    for expected in [403, 409, 410, 413, 422, 500] {
        server.inject(Fault::code(expected).verb(Verb::Patch).plural("configmaps"));
        let error = apply(&api, json!({})).await.expect_err("the fault comes");
        assert_eq!(code(&error), expected);
    }
    server.inject(Fault::new(Effect::DropBefore).verb(Verb::Patch));
    apply(&api, json!({})).await.expect_err("the connection breaks");
    assert!(server.get("configmaps", "x", "a").is_none());
    server.inject(Fault::new(Effect::DropAfter).verb(Verb::Patch));
    apply(&api, json!({})).await.expect_err("the connection breaks");
    assert!(server.get("configmaps", "x", "a").is_some());
    server.uninstall("configmaps");
    assert_eq!(code(&api.get("a").await.expect_err("it is not installed")), 404);
}

#[tokio::test]
async fn a_watcher_sees_changes_and_lists_again_after_compaction() {
    let server = ApiServer::new();
    server.put("configmaps", map(&json!({})));
    let events = watcher(Api::<ConfigMap>::all(server.client()), Config::default());
    pin_mut!(events);
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    server.put("configmaps", map(&json!({"k": "1"})));
    assert!(matches!(events.next().await, Some(Ok(Event::Apply(_)))));
    server.close_watches();
    server.compact();
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    assert_eq!(server.read_state(|state| state.count(Verb::List)), 2);
    server.delete("configmaps", "x", "a");
    assert!(matches!(events.next().await, Some(Ok(Event::Delete(_)))));
}
