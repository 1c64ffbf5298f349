//! Everything that an object refers to is generated or provided, or, if only files are known, assumed to exist.

use std::collections::BTreeSet;

use emcee_core::inputs::InputCoverage;
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::translate::Translation;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh::{self, Mesh};
use crate::plan::{all, id, json, of_kind, servers, text, texts};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn routes_lead_to_existing_hosts(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let known = hosts(&mesh, &translation);
        for (routes, destination) in destinations(&translation) {
            let host = text(&destination["host"]);
            let assumed = mesh.settings.coverage == InputCoverage::Partial && host.ends_with(".svc.cluster.local");
            prop_assert!(known.contains(host) || assumed, "{} routes to {}", routes, host);
        }
    }

    #[test]
    fn subsets_of_routes_are_defined(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let defined = subsets(&mesh, &translation);
        for (routes, destination) in destinations(&translation) {
            let (host, subset) = (text(&destination["host"]), text(&destination["subset"]));
            let assumed = mesh.settings.coverage == InputCoverage::Partial && host.ends_with(".svc.cluster.local");
            let known = subset.is_empty() || defined.contains(&(host.to_owned(), subset.to_owned()));
            prop_assert!(known || assumed, "{} routes to subset {:?} of {}", routes, subset, host);
        }
    }

    #[test]
    fn routes_use_ports_of_their_host(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let entries: Vec<_> = of_kind(&translation, GeneratedKind::ServiceEntry).into_iter().map(json).collect();
        for (routes, destination) in destinations(&translation) {
            let of_host = |entry: &&Value| texts(&entry["spec"]["hosts"]).contains(text(&destination["host"]));
            let Some(entry) = entries.iter().find(of_host) else { continue };
            let ports: Vec<_> = all(&entry["spec"]["ports"], "number");
            prop_assert!(ports.contains(&&destination["port"]["number"]), "{} {}", routes, destination);
        }
    }

    #[test]
    fn routes_and_gateways_match(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let gateways: BTreeSet<_> = of_kind(&translation, GeneratedKind::Gateway).iter().map(key).collect();
        let routes = of_kind(&translation, GeneratedKind::VirtualService);
        for route in &routes {
            let wanted = texts(&json(route)["spec"]["gateways"]);
            prop_assert!(wanted.is_subset(&gateways), "{} names {:?}", id(route), wanted);
        }
        for server in servers(&translation) {
            let leads = |route: &&GeneratedObject| {
                let spec = &json(*route)["spec"];
                *route.namespace == *server.namespace
                    && texts(&spec["hosts"]).contains(&server.host)
                    && texts(&spec["gateways"]).iter().any(|gateway| server.gateway == format!("Gateway {gateway}"))
            };
            prop_assert_eq!(routes.iter().filter(leads).count(), 1, "{:?}", server);
        }
    }

    #[test]
    fn selectors_select_known_labels(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let known = label_sets(&mesh, &translation);
        for object in translation.objects().into_iter().filter(|object| object.kind() != GeneratedKind::Deployment) {
            let object = json(object);
            for field in ["selector", "workloadSelector", "podSelector"] {
                for selector in all(&object["spec"], field) {
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
        let given = mesh.of_kind("Secret").map(|s| format!("{}/{}", text(&s["metadata"]["namespace"]), text(&s["metadata"]["name"])));
        let copies = of_kind(&translation, GeneratedKind::Secret).into_iter().map(|secret| key(&secret));
        let known: BTreeSet<_> = given.chain(copies).collect();
        for object in translation.objects() {
            for name in all(&json(&object), "credentialName") {
                let secret = format!("{}/{}", object.namespace, text(name));
                let assumed = mesh.settings.coverage == InputCoverage::Partial && secret.ends_with("-credential");
                prop_assert!(known.contains(&secret) || assumed, "{} refers to {}", id(&object), secret);
            }
        }
    }
}

fn key(object: &GeneratedObject) -> String {
    format!("{}/{}", object.namespace, object.name)
}

fn destinations(translation: &Translation) -> Vec<(String, Value)> {
    let of = |object: &GeneratedObject| -> Vec<_> {
        all(&json(object), "destination").into_iter().map(|to| (id(object), to.clone())).collect()
    };
    of_kind(translation, GeneratedKind::VirtualService).into_iter().flat_map(|object| of(&object)).collect()
}

fn hosts(mesh: &Mesh, translation: &Translation) -> BTreeSet<String> {
    let entries = of_kind(translation, GeneratedKind::ServiceEntry)
        .into_iter()
        .flat_map(|e| texts(&json(e)["spec"]["hosts"]));
    let services = mesh.of_kind("Service").map(|service| {
        let metadata = &service["metadata"];
        format!("{}.{}.svc.cluster.local", text(&metadata["name"]), text(&metadata["namespace"]))
    });
    entries.chain(services).collect()
}

/// Returns host and name of every subset in generated and users' rules.
fn subsets(mesh: &Mesh, translation: &Translation) -> BTreeSet<(String, String)> {
    let generated = of_kind(translation, GeneratedKind::DestinationRule).into_iter().map(|rule| {
        let spec = json(rule)["spec"].clone();
        (text(&spec["host"]).to_owned(), spec)
    });
    let given = mesh.of_kind("DestinationRule").map(|rule| {
        let host = format!(
            "{}.{}.svc.cluster.local",
            text(&rule["spec"]["host"]),
            text(&rule["metadata"]["namespace"])
        );
        (host, rule["spec"].clone())
    });
    let names = |(host, spec): (String, Value)| -> Vec<_> {
        let subsets = spec["subsets"].as_array().cloned().unwrap_or_default();
        subsets.iter().map(|subset| (host.clone(), text(&subset["name"]).to_owned())).collect()
    };
    generated.chain(given).flat_map(names).collect()
}

/// Returns the labels of created gateways' pods, of selected gateways, and of services with their subsets.
fn label_sets(mesh: &Mesh, translation: &Translation) -> Vec<String> {
    let created = of_kind(translation, GeneratedKind::Deployment)
        .into_iter()
        .map(|deployment| json(deployment)["spec"]["selector"]["matchLabels"].to_string());
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
