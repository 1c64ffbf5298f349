//! Generated names are valid in Kubernetes and Istio, and unique.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::names::is_dns_label;
use emcee_core::plan::{GeneratedKind, OwnerKind};
use emcee_core::status::StatusDetail;
use emcee_core::translate::Unit;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh;
use crate::plan::{object_id, objects_of_kind, servers, text_set, to_json};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn names_are_labels_and_unique(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let mut seen = BTreeSet::new();
        for object in translation.objects() {
            prop_assert!(is_dns_label(&object.name), "{}", object_id(&object));
            prop_assert!(is_dns_label(&object.namespace), "{}", object_id(&object));
            prop_assert!(seen.insert(object_id(&object)), "{} exists twice", object_id(&object));
        }
    }

    #[test]
    fn labels_are_valid_and_name_the_owner(mesh in mesh::mesh()) {
        for object in mesh.translate().objects() {
            let object = to_json(object);
            let labels = object["metadata"]["labels"].as_object().expect("labels");
            prop_assert_eq!(&labels["app.kubernetes.io/managed-by"], "emcee");
            for label in ["emcee.io/owner-kind", "emcee.io/owner-namespace", "emcee.io/owner-name"] {
                prop_assert!(labels.contains_key(label), "{} of {}", label, object);
            }
            for (label, value) in labels {
                prop_assert!(is_label_value(value.as_str().expect("a text")), "{} {}", label, value);
            }
        }
    }

    #[test]
    fn a_host_has_one_service_entry(mesh in mesh::mesh()) {
        let mut homes = BTreeMap::new();
        let translation = mesh.translate();
        for entry in objects_of_kind(&translation, GeneratedKind::ServiceEntry) {
            for host in text_set(&to_json(&entry)["spec"]["hosts"]) {
                let other = homes.insert(host.clone(), object_id(&entry));
                prop_assert_eq!(other, None, "{} in {} too", host, object_id(&entry));
            }
        }
    }

    #[test]
    fn a_gateway_has_one_server_for_a_host(mesh in mesh::mesh()) {
        let mut seen = BTreeMap::new();
        for server in servers(&mesh.translate()) {
            let other = seen.insert((server.listener.clone(), server.host.clone()), server.gateway.clone());
            prop_assert_eq!(other, None, "{:?}", server);
        }
    }

    #[test]
    fn a_bound_host_has_its_entry_and_rule(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let hosts = |kind, field: &str| -> Vec<String> {
            objects_of_kind(&translation, kind).into_iter().flat_map(|object| hosts_of(&to_json(object)["spec"][field])).collect()
        };
        let (entries, rules) = (hosts(GeneratedKind::ServiceEntry, "hosts"), hosts(GeneratedKind::DestinationRule, "host"));
        for (unit, verdict) in translation.verdicts() {
            let Unit::ServiceBinding(key) = unit else { continue };
            let (_, binding) = translation.inputs().bindings().find(|(other, _)| *other == key).expect("it has a verdict");
            let has_own_host = binding.as_ref().is_ok_and(|binding| binding.has_own_host());
            if let StatusDetail::Binding { host, .. } = &verdict.detail && has_own_host {
                let wanted = usize::from(verdict.is_programmed());
                prop_assert_eq!(count(&entries, host), wanted, "{}", unit);
                prop_assert_eq!(count(&rules, host), wanted, "{}", unit);
            }
        }
    }

    /// A binding that shares a host has a subset of it that no other binding has.
    #[test]
    fn subsets_of_shared_hosts_are_unique(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let entries = objects_of_kind(&translation, GeneratedKind::ServiceEntry);
        let shared = entries.iter().filter(|entry| entry.owner.kind == OwnerKind::SharedHost);
        let shared: BTreeMap<_, _> = shared.flat_map(|entry| {
            let spec = to_json(entry)["spec"].clone();
            hosts_of(&spec["hosts"]).into_iter().map(move |host| (host, spec.clone()))
        }).collect();
        let mut seen = BTreeSet::new();
        for rule in objects_of_kind(&translation, GeneratedKind::DestinationRule) {
            let spec = &to_json(&rule)["spec"];
            let host = spec["host"].as_str().expect("a host");
            let Some(entry) = shared.get(host) else { continue };
            let (subset, export_to) = (&spec["subsets"][0], &spec["exportTo"]);
            let name = subset["name"].as_str().expect("a name");
            prop_assert!(seen.insert((host.to_owned(), name.to_owned())), "{} of {} exists twice", name, host);
            prop_assert_eq!(spec["subsets"].as_array().map(Vec::len), Some(1));
            prop_assert_eq!(export_to, &entry["exportTo"], "a sidecar must see both");
            prop_assert_eq!(&*rule.namespace, &*entries.iter().find(|entry| hosts_of(&to_json(*entry)["spec"]["hosts"]).contains(host)).expect("its entry").namespace);
            // Either all endpoints are the egress gateway's, or the subset selects those of its binding.
            let through_egress = entry["workloadSelector"].is_object();
            prop_assert_eq!(through_egress, subset["labels"].is_null(), "{}", spec);
            if !through_egress {
                prop_assert_eq!(&subset["labels"], &serde_json::json!({"emcee.io/binding": name}));
            }
        }
    }
}

fn hosts_of(value: &Value) -> BTreeSet<String> {
    value.as_str().map_or_else(|| text_set(value), |host| BTreeSet::from([host.to_owned()]))
}

fn count(hosts: &[String], host: &str) -> usize {
    hosts.iter().filter(|other| *other == host).count()
}

fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(value.chars().next())
        && edge(value.chars().last())
}
