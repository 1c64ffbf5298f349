//! The committed CRDs and chart match the code, and the CRDs meet the requirements of an API server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use emcee_api::custom_resource_definitions;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};

#[test]
fn the_committed_crds_match_the_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_emcee")).arg("crds").output();
    let printed = String::from_utf8(output.expect("the program runs").stdout).expect("UTF-8");
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds.yaml"));
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(printed == committed, "deploy/crds.yaml is out of date: cargo run -- crds > deploy/crds.yaml");
}

#[test]
fn the_committed_chart_matches_the_code() {
    let made = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    let status = command.args(["manifests", "chart", "--output"]).arg(made.path()).status();
    assert!(status.expect("the program runs").success());
    let made = folder_files(made.path());
    assert!(made.contains_key("Chart.yaml") && made.contains_key("templates/deployment.yaml"), "{made:?}");
    let committed = folder_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm/emcee")));
    let differs = |path: &&String| made.get(*path) != committed.get(*path);
    let different: Vec<_> = made.keys().chain(committed.keys()).filter(differs).collect();
    assert!(
        different.is_empty(),
        "out of date: {different:?}: rm -r deploy/helm/emcee && cargo run -- manifests chart -o deploy/helm/emcee"
    );
}

/// Returns every file below a folder, by its relative path.
fn folder_files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found
                .extend(folder_files(&path).into_iter().map(|(path, text)| (format!("{name}/{path}"), text)));
        } else {
            found.insert(name, fs::read_to_string(&path).expect("text"));
        }
    }
    found
}

#[test]
fn every_field_has_a_type_and_a_description() {
    for_each_field(|path, schema, _| {
        assert!(schema.type_.is_some(), "{path} has no type, so the schema is not structural");
        let item = path.ends_with("[]") || path.ends_with(".*");
        let described = schema.description.as_ref().is_some_and(|text| !text.trim().is_empty());
        assert!(item || described, "{path} has no description for kubectl explain");
    });
}

/// Only optional fields can be null, and null means the same as a missing field.
#[test]
fn null_means_the_same_as_absent() {
    for_each_field(|path, schema, required| {
        let nullable = schema.nullable == Some(true);
        assert!(!(nullable && required), "{path} is required, but nullable");
        assert!(!(nullable && schema.default.is_some()), "{path} has a default that null would bypass");
    });
}

/// Structural schemas have no alternatives, and unknown fields are pruned or refused, not preserved.
#[test]
fn schemas_are_structural() {
    for_each_field(|path, schema, _| {
        for list in [&schema.any_of, &schema.one_of, &schema.all_of] {
            assert!(list.is_none(), "{path} has alternative schemas");
        }
        assert!(schema.not.is_none() && schema.ref_path.is_none(), "{path}");
        assert_ne!(
            schema.x_kubernetes_preserve_unknown_fields,
            Some(true),
            "{path} preserves unknown fields"
        );
        let closed = schema.properties.is_some() && schema.additional_properties.is_some();
        assert!(!closed, "{path} has both properties and additionalProperties");
    });
}

#[test]
fn status_is_a_subresource_and_columns_are_shown() {
    for (kind, columns) in [
        ("MeshFedConfig", &["Mode", "Relationship", "Peers", "Ready", "Age"][..]),
        ("ServiceExposition", &["Service", "Port", "Server name", "Ready", "Age"]),
        ("ServiceBinding", &["Service", "Host", "Source", "Ready", "Age"]),
    ] {
        let crd = crd_of_kind(kind);
        assert_eq!((&*crd.spec.group, &*crd.spec.scope), ("mm.ibm.istio.io", "Namespaced"));
        let version = only_version(&crd);
        assert_eq!((&*version.name, version.served, version.storage), ("v1", true, true));
        assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()), "{kind}");
        let names = version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), columns, "{kind}");
    }
}

/// Rules that the API server checks itself, with the messages of the first prototype.
#[test]
fn rules_of_the_api_server_exist() {
    assert_rules(&[
        ("MeshFedConfig.spec.mode", "Unknown Mode"),
        ("MeshFedConfig.spec.relationship", "is a reserved relationship name"),
        ("ServiceExposition.spec", "requires mesh_fed_config_selector"),
        ("ServiceBinding.spec", "requires mesh_fed_config_selector"),
    ]);
}

#[test]
fn rules_about_gateways_exist() {
    assert_rules(&[
        ("MeshFedConfig.spec", "does not specify egress, but selects one"),
        ("MeshFedConfig.spec", "does not specify ingress, but selects one"),
    ]);
}

#[track_caller]
fn assert_rules(expected: &[(&str, &str)]) {
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for_each_field(|path, schema, _| {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let words = rule.message.as_ref().or(rule.message_expression.as_ref());
            let words = words.expect("a rule has a message");
            rules.entry(path.to_owned()).or_default().push(words.clone());
        }
    });
    for (path, words) in expected {
        let found = rules.get(*path).into_iter().flatten().any(|message| message.contains(words));
        assert!(found, "no rule of {path} has the message {words:?}: {rules:?}");
    }
}

/// The cost of a rule depends on the size of its field. Without limits, the API server refuses the whole CRD.
#[test]
fn users_fields_have_limits() {
    for_each_field(|path, schema, _| {
        if !path.contains(".spec.") {
            return;
        }
        let unbounded = match schema.type_.as_deref() {
            Some("array") => schema.max_items.is_none(),
            Some("integer") => schema.minimum.is_none() || schema.maximum.is_none(),
            _ => false,
        };
        assert!(!unbounded, "{path} has no upper bound");
    });
}

fn crd_of_kind(kind: &str) -> CustomResourceDefinition {
    let found = custom_resource_definitions().into_iter().find(|crd| crd.spec.names.kind == kind);
    found.expect("one of the three kinds")
}

fn only_version(crd: &CustomResourceDefinition) -> &CustomResourceDefinitionVersion {
    assert_eq!(crd.spec.versions.len(), 1);
    &crd.spec.versions[0]
}

/// Visits every schema below the root of every CRD, with its path, and whether it is required.
fn for_each_field(mut visit: impl FnMut(&str, &JSONSchemaProps, bool)) {
    for crd in custom_resource_definitions() {
        let schema = only_version(&crd).schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = schema.expect("a schema");
        assert!(
            schema.description.is_some(),
            "kubectl explain {}",
            crd.spec.names.singular.as_deref().unwrap_or("")
        );
        visit_fields(&crd.spec.names.kind, schema, &mut visit);
    }
}

fn visit_fields(path: &str, schema: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps, bool)) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, field, schema.required.iter().flatten().any(|required| required == name));
        visit_fields(&path, field, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        visit(&format!("{path}[]"), item, true);
        visit_fields(&format!("{path}[]"), item, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        visit(&format!("{path}.*"), value, true);
        visit_fields(&format!("{path}.*"), value, visit);
    }
}
