//! Which ServiceBindings count as imports: those that Emcee has applied, whatever labels others have.

use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::translate::Unit;
use emcee_testkit::prelude::*;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::world::{announcement_of, options};
use crate::convert::{self, WatchUpdate};
use crate::kinds::UserKind;
use crate::model::Model;

fn changes(model: &mut Model, kind: UserKind, object: &Value) -> Vec<InputChange> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&text("namespace"), &text("name"));
    let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    match convert::resource_update(kind, &key, Some(object)) {
        WatchUpdate::Resource(resource) => model.record_resource(*resource),
        fact => panic!("{fact:?}"),
    }
}

/// Returns a binding with the labels of an import, as a cluster has it after this manager has applied it.
fn labelled_binding(name: &str, manager: &str, operation: &str) -> Value {
    let mut object = binding("shop", name).fed("blue").peer("m3").to_service("shop", name).uid(name).build();
    object["metadata"]["labels"] = json!({
        "app.kubernetes.io/managed-by": "emcee",
        "emcee.io/owner-kind": "MeshFedConfig",
        "emcee.io/owner-namespace": "blue",
        "emcee.io/owner-name": "blue",
    });
    object["metadata"]["resourceVersion"] = "1".into();
    object["metadata"]["managedFields"] = json!([
        {"manager": "emcee", "operation": "Apply", "apiVersion": "mm.ibm.istio.io/v1", "fieldsType": "FieldsV1", "fieldsV1": {}},
        {"manager": manager, "operation": operation, "apiVersion": "mm.ibm.istio.io/v1", "fieldsType": "FieldsV1", "fieldsV1": {}},
    ]);
    object
}

/// Returns a relationship that accepts three imports, three bindings that look like imports, and a service
/// that m2 announces.
fn model_with_bindings(manager: &str, operation: &str) -> Model {
    let mut model = Model::new(&options());
    let config = flat("blue")
        .peer(Peer::new("m2", ["m2.example"]).discovery("203.0.113.12:15443").networks(["203.0.113.0/24"]))
        .peer(Peer::new("m3", ["m3.example"]).discovery("203.0.113.13:15443"))
        .discovery("import", "Automatic")
        .discovery("namespaces", vec!["shop"])
        .discovery("max_imports", 3)
        .uid("blue")
        .build();
    let mut all = changes(&mut model, UserKind::MeshFedConfig, &config);
    for name in ["a", "b", "c"] {
        all.extend(changes(
            &mut model,
            UserKind::ServiceBinding,
            &labelled_binding(name, manager, operation),
        ));
    }
    all.push(InputChange::Namespace("shop".into(), true));
    all.push(announcement_of("reviews", "blue"));
    model.apply_changes(all);
    model
}

fn imported_names(model: &Model) -> Vec<String> {
    let objects = model.translation().objects_of(&Unit::Imports(ObjectKey::new("blue", "blue")));
    objects.iter().map(|object| object.name.clone()).collect()
}

#[test]
fn bindings_of_others_do_not_count_as_imports() {
    for (manager, operation) in [("kubectl", "Apply"), ("emcee-automatic", "Update"), ("emcee", "Apply")] {
        assert_eq!(
            imported_names(&model_with_bindings(manager, operation)),
            ["reviews"],
            "{manager} {operation}"
        );
    }
}

#[test]
fn applied_bindings_count_as_imports() {
    assert_eq!(imported_names(&model_with_bindings("emcee-automatic", "Apply")), ["a", "b", "c"]);
}
