//! Only services that an exposition names are exposed, only to peers of the relationship, and no traffic leaves the
//! mesh without the intended TLS.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::inputs::ParsedResource;
use emcee_core::mode::Mode;
use emcee_core::names::server_name;
use emcee_core::parse::{Exposition, FedConfig};
use emcee_core::plan::{GeneratedKind, OwnerKind};
use emcee_core::translate::{Translation, Unit};
use proptest::prelude::*;

use crate::cases;
use crate::mesh;
use crate::plan::{
    GatewayServer, as_text, find_fields, object_id, objects_of_kind, servers, text_set, to_json,
};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn every_server_belongs_to_an_exposition(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let mut served = BTreeMap::new();
        for server in servers(&translation) {
            let Unit::ServiceExposition(key) = &server.owner else { continue };
            let exposition = valid_resource(translation.inputs().expositions(), key);
            let config = valid_resource(translation.inputs().fed_configs(), &server.fed_config);
            prop_assert!(is_server_of(&server, exposition, config), "no exposition has the server {:?}", server);
            prop_assert!(config.allows_namespace(&key.namespace), "{:?}", server);
            let again = served.insert(server.host.clone(), server.gateway.clone());
            prop_assert_eq!(again, None, "{} has two servers", server.host);
            if config.mode == Mode::Boundary {
                prop_assert_eq!(as_text(&server.tls["mode"]), "MUTUAL");
                prop_assert_eq!(text_set(&server.tls["subjectAltNames"]), peer_names(config, exposition.peers.as_deref()));
                prop_assert!(!as_text(&server.tls["credentialName"]).is_empty());
            } else {
                prop_assert_eq!(as_text(&server.tls["mode"]), "PASSTHROUGH");
            }
        }
    }

    #[test]
    fn a_programmed_exposition_has_a_server_in_each_relationship(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let hosts: Vec<_> = servers(&translation).into_iter().map(|server| (server.owner, server.host)).collect();
        for (unit, verdict) in translation.verdicts() {
            let Unit::ServiceExposition(key) = unit else { continue };
            if !verdict.is_programmed() {
                continue;
            }
            let exposition = valid_resource(translation.inputs().expositions(), key);
            let selects = |config: &&FedConfig| config.mode != Mode::Flat && config.has_labels(&exposition.fed_configs);
            for config in valid_fed_configs(&translation).into_iter().filter(selects) {
                let host = server_name(&exposition.exposed_name, &key.namespace, &config.relationship);
                let count = hosts.iter().filter(|(owner, other)| owner == unit && *other == host).count();
                prop_assert_eq!(count, 1, "{} of {}", host, unit);
            }
        }
    }

    #[test]
    fn an_exposition_without_its_server_names_is_not_announced(mesh in mesh::mesh()) {
        use emcee_core::status::StatusDetail;
        let translation = mesh.translate();
        for (unit, verdict) in translation.verdicts() {
            let StatusDetail::Exposition { server_names, announced_to, .. } = &verdict.detail else { continue };
            let lost = verdict.refusals.iter().filter(|p| p.reason == emcee_api::Reason::ServerNameConflict).count();
            if lost == server_names.len() {
                prop_assert_eq!(announced_to, &Vec::<String>::new(), "{} {:?}", unit, verdict.refusals);
            }
        }
    }

    #[test]
    fn no_host_is_a_wildcard(mesh in mesh::mesh()) {
        for object in mesh.translate().objects() {
            let value = to_json(&object);
            for field in ["host", "hosts", "sniHosts", "sni", "authority"] {
                for hosts in find_fields(&value["spec"], field) {
                    prop_assert!(!hosts.to_string().contains('*'), "{} {}", object_id(&object), hosts);
                }
            }
        }
    }

    #[test]
    fn the_certificate_is_presented_to_known_peers_only(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        for rule in objects_of_kind(&translation, GeneratedKind::DestinationRule) {
            let value = to_json(&rule);
            // Rules for TLS passthrough present no certificate.
            if !as_text(&value["spec"]["host"]).starts_with("relay.") || rule.owner.kind != OwnerKind::ServiceBinding {
                continue;
            }
            let tls = &value["spec"]["subsets"][0]["trafficPolicy"]["tls"];
            let config = valid_resource(translation.inputs().fed_configs(), rule.owner.fed_config.as_ref().expect("one"));
            let binding = valid_resource(translation.inputs().bindings(), &rule.owner.key);
            let computed = server_name(&binding.remote_name, &binding.remote_namespace, &config.relationship);
            prop_assert_eq!(as_text(&tls["mode"]), "MUTUAL");
            prop_assert_eq!(as_text(&tls["sni"]), binding.server_name.as_deref().unwrap_or(&computed));
            let (names, all_names) = (text_set(&tls["subjectAltNames"]), peer_names(config, None));
            prop_assert!(names.is_subset(&all_names), "{:?}", names);
            prop_assert_eq!(names.is_empty(), config.peers.is_empty(), "{}", value);
            if let Some(peer) = &binding.peer {
                prop_assert_eq!(names, peer_names(config, Some(std::slice::from_ref(peer))));
            }
            prop_assert!(value["spec"]["workloadSelector"].is_object(), "{}", value);
        }
    }

    /// A facade names the subset of its binding, so that calls fail if its rule is missing.
    #[test]
    fn routes_that_originate_tls_use_the_subset(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let rules = objects_of_kind(&translation, GeneratedKind::DestinationRule);
        let subsets = |host: &str| -> BTreeSet<_> {
            let of_host = rules.iter().map(to_json).filter(|rule| as_text(&rule["spec"]["host"]) == host);
            of_host.map(|rule| as_text(&rule["spec"]["subsets"][0]["name"]).to_owned()).collect()
        };
        let entries = objects_of_kind(&translation, GeneratedKind::ServiceEntry);
        let made = |host: &str| entries.iter().find(|entry| text_set(&to_json(*entry)["spec"]["hosts"]).contains(host));
        for object in objects_of_kind(&translation, GeneratedKind::VirtualService) {
            for destination in find_fields(&to_json(&object), "destination") {
                let Some(entry) = made(as_text(&destination["host"])) else { continue };
                // Traffic that a WHARF egress gateway passes through is already TLS. So is traffic to a peer's Emcee.
                let passed = entry.owner.kind == OwnerKind::Relay || entry.name.ends_with("-to-peer");
                let subset = as_text(&destination["subset"]);
                match entry.owner.kind {
                    OwnerKind::SharedHost => {
                        let known = subsets(as_text(&destination["host"]));
                        prop_assert!(known.contains(subset), "{} {:?}", object_id(&object), known);
                    }
                    _ => prop_assert_eq!(subset, if passed { "" } else { "emcee" }, "{}", object_id(&object)),
                }
            }
        }
    }

    /// Except the rule for the own host of a facade, whose Service has no endpoints.
    #[test]
    fn emcees_rules_set_tls_in_the_subset_only(mesh in mesh::mesh()) {
        for rule in objects_of_kind(&mesh.translate(), GeneratedKind::DestinationRule) {
            let facade = rule.owner.kind == OwnerKind::Facade;
            let spec = &to_json(rule)["spec"];
            if facade {
                prop_assert!(as_text(&spec["host"]).ends_with(".svc.cluster.local"), "{}", spec);
                prop_assert!(spec["subsets"].is_null(), "{}", spec);
                continue;
            }
            prop_assert!(find_fields(&spec["trafficPolicy"], "tls").is_empty(), "{}", spec);
            let modes: Vec<_> = find_fields(&spec["subsets"], "mode").into_iter().map(as_text).collect();
            prop_assert!(modes.iter().all(|mode| ["MUTUAL", "ISTIO_MUTUAL", "DISABLE"].contains(mode)), "{:?}", modes);
            let raw = as_text(&spec["host"]).starts_with("raw.");
            prop_assert_eq!(raw, modes == ["DISABLE"], "{}", spec);
        }
    }
}

fn valid_resource<'a, T>(
    mut given: impl Iterator<Item = (&'a emcee_core::key::ObjectKey, &'a ParsedResource<T>)>,
    key: &emcee_core::key::ObjectKey,
) -> &'a T
where
    T: 'a,
{
    let (_, parsed) = given.find(|(other, _)| *other == key).expect("generated objects have a resource");
    parsed.as_ref().expect("the resource is valid")
}

fn valid_fed_configs(translation: &Translation) -> Vec<&FedConfig> {
    translation.inputs().fed_configs().filter_map(|(_, parsed)| parsed.as_deref().ok()).collect()
}

fn is_server_of(server: &GatewayServer, exposition: &Exposition, config: &FedConfig) -> bool {
    let host =
        server_name(&exposition.exposed_name, &exposition.identity.key.namespace, &config.relationship);
    let terminates = as_text(&server.tls["mode"]) == "MUTUAL";
    config.has_labels(&exposition.fed_configs)
        && host == server.host
        && terminates == (config.mode == Mode::Boundary)
        && config.mode != Mode::Flat
}

/// Returns the names in the certificates of all peers, or only of the given ones.
fn peer_names(config: &FedConfig, only: Option<&[String]>) -> BTreeSet<String> {
    let is_selected = |name: &String| only.is_none_or(|only| only.contains(name));
    config
        .peers
        .iter()
        .filter(|peer| is_selected(&peer.name))
        .flat_map(|peer| peer.subject_alt_names.clone())
        .collect()
}
