//! Everything that an object refers to is generated or provided, or, if only files are known, assumed to exist.

use std::collections::BTreeSet;

use emcee_core::inputs::InputCoverage;
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::translate::Translation;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh::{self, Mesh};
use crate::plan::{as_text, find_fields, object_id, objects_of_kind, servers, text_set, to_json};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn routes_lead_to_existing_hosts(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let known = known_hosts(&mesh, &translation);
        for (routes, destination) in destinations(&translation) {
            let host = as_text(&destination["host"]);
            let assumed = mesh.settings.coverage == InputCoverage::Partial && host.ends_with(".svc.cluster.local");
            prop_assert!(known.contains(host) || assumed, "{} routes to {}", routes, host);
        }
    }

    #[test]
    fn subsets_of_routes_are_defined(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let defined = known_subsets(&mesh, &translation);
        for (routes, destination) in destinations(&translation) {
            let (host, subset) = (as_text(&destination["host"]), as_text(&destination["subset"]));
            let assumed = mesh.settings.coverage == InputCoverage::Partial && host.ends_with(".svc.cluster.local");
            let known = subset.is_empty() || defined.contains(&(host.to_owned(), subset.to_owned()));
            prop_assert!(known || assumed, "{} routes to subset {:?} of {}", routes, subset, host);
        }
    }

    #[test]
    fn routes_use_ports_of_their_host(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let entries: Vec<_> = objects_of_kind(&translation, GeneratedKind::ServiceEntry).into_iter().map(to_json).collect();
        for (routes, destination) in destinations(&translation) {
            let of_host = |entry: &&Value| text_set(&entry["spec"]["hosts"]).contains(as_text(&destination["host"]));
            let Some(entry) = entries.iter().find(of_host) else { continue };
            let ports: Vec<_> = find_fields(&entry["spec"]["ports"], "number");
            prop_assert!(ports.contains(&&destination["port"]["number"]), "{} {}", routes, destination);
        }
    }

    #[test]
    fn routes_and_gateways_match(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let gateways: BTreeSet<_> = objects_of_kind(&translation, GeneratedKind::Gateway).iter().map(object_key).collect();
        let routes = objects_of_kind(&translation, GeneratedKind::VirtualService);
        for route in &routes {
            let wanted = text_set(&to_json(route)["spec"]["gateways"]);
            prop_assert!(wanted.is_subset(&gateways), "{} names {:?}", object_id(route), wanted);
        }
        for server in servers(&translation) {
            let leads = |route: &&GeneratedObject| {
                let spec = &to_json(*route)["spec"];
                *route.namespace == *server.namespace
                    && text_set(&spec["hosts"]).contains(&server.host)
                    && text_set(&spec["gateways"]).iter().any(|gateway| server.gateway == format!("Gateway {gateway}"))
            };
            prop_assert_eq!(routes.iter().filter(leads).count(), 1, "{:?}", server);
        }
    }

    #[test]
    fn selectors_select_known_labels(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let known = label_sets(&mesh, &translation);
        for object in translation.objects().into_iter().filter(|object| object.kind() != GeneratedKind::Deployment) {
            let object = to_json(object);
            for field in ["selector", "workloadSelector", "podSelector"] {
                for selector in find_fields(&object["spec"], field) {
                    let labels = ["labels", "matchLabels"].iter().find_map(|name| selector.get(name));
                    let labels = labels.unwrap_or(selector).to_string();
                    prop_assert!(known.contains(&labels), "{} in {}", labels, object);
                }
            }
        }
    }

    #[test]
    fn credentials_are_in_the_namespace_of_their_gateway(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let given = mesh.of_kind("Secret").map(|s| format!("{}/{}", as_text(&s["metadata"]["namespace"]), as_text(&s["metadata"]["name"])));
        let copies = objects_of_kind(&translation, GeneratedKind::Secret).into_iter().map(|secret| object_key(&secret));
        let known: BTreeSet<_> = given.chain(copies).collect();
        for object in translation.objects() {
            for name in find_fields(&to_json(&object), "credentialName") {
                let secret = format!("{}/{}", object.namespace, as_text(name));
                let assumed = mesh.settings.coverage == InputCoverage::Partial && secret.ends_with("-credential");
                prop_assert!(known.contains(&secret) || assumed, "{} refers to {}", object_id(&object), secret);
            }
        }
    }
}

fn object_key(object: &GeneratedObject) -> String {
    format!("{}/{}", object.namespace, object.name)
}

fn destinations(translation: &Translation) -> Vec<(String, Value)> {
    let of = |object: &GeneratedObject| -> Vec<_> {
        find_fields(&to_json(object), "destination")
            .into_iter()
            .map(|to| (object_id(object), to.clone()))
            .collect()
    };
    objects_of_kind(translation, GeneratedKind::VirtualService)
        .into_iter()
        .flat_map(|object| of(&object))
        .collect()
}

fn known_hosts(mesh: &Mesh, translation: &Translation) -> BTreeSet<String> {
    let entries = objects_of_kind(translation, GeneratedKind::ServiceEntry)
        .into_iter()
        .flat_map(|e| text_set(&to_json(e)["spec"]["hosts"]));
    let services = mesh.of_kind("Service").map(|service| {
        let metadata = &service["metadata"];
        format!("{}.{}.svc.cluster.local", as_text(&metadata["name"]), as_text(&metadata["namespace"]))
    });
    entries.chain(services).collect()
}

/// Returns host and name of every subset in generated and users' rules.
fn known_subsets(mesh: &Mesh, translation: &Translation) -> BTreeSet<(String, String)> {
    let generated = objects_of_kind(translation, GeneratedKind::DestinationRule).into_iter().map(|rule| {
        let spec = to_json(rule)["spec"].clone();
        (as_text(&spec["host"]).to_owned(), spec)
    });
    let given = mesh.of_kind("DestinationRule").map(|rule| {
        let host = format!(
            "{}.{}.svc.cluster.local",
            as_text(&rule["spec"]["host"]),
            as_text(&rule["metadata"]["namespace"])
        );
        (host, rule["spec"].clone())
    });
    let names = |(host, spec): (String, Value)| -> Vec<_> {
        let subsets = spec["subsets"].as_array().cloned().unwrap_or_default();
        subsets.iter().map(|subset| (host.clone(), as_text(&subset["name"]).to_owned())).collect()
    };
    generated.chain(given).flat_map(names).collect()
}

/// Returns the labels of created gateways' pods, of selected gateways, and of services with their subsets.
fn label_sets(mesh: &Mesh, translation: &Translation) -> Vec<String> {
    let created = objects_of_kind(translation, GeneratedKind::Deployment)
        .into_iter()
        .map(|deployment| to_json(deployment)["spec"]["selector"]["matchLabels"].to_string());
    let selected = mesh.of_kind("MeshFedConfig").flat_map(|config| {
        ["egress_gateway_selector", "ingress_gateway_selector"].map(|field| config["spec"][field].to_string())
    });
    let services = mesh.of_kind("Service").flat_map(|service| {
        let selector = &service["spec"]["selector"];
        let versions = ["v1", "v2"].map(|version| {
            let mut labels = selector.clone();
            if labels.is_object() {
                labels["version"] = version.into();
            }
            labels.to_string()
        });
        versions.into_iter().chain([selector.to_string()]).collect::<Vec<_>>()
    });
    created.chain(selected).chain(services).collect()
}
