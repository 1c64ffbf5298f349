//! Generates the other objects of a cluster: Services, workloads, users' Istio objects and Secrets.

use std::sync::LazyLock;

use emcee_testkit::certs::{Ca, Leaf, TlsPair, days};
use emcee_testkit::objects::secret::secret as opaque;
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::peer_changes::discovery_server;
use super::{
    APPS, FEDS, GATEWAYS, GeneratedInput, SERVICES, build_object, optional, select_one, set_field, with_age,
};

/// Certificates, created once because each needs a signature: two long-lived ones, one that expires soon, one with
/// the wrong key, one with two roots, and one with a wildcard name.
pub(crate) static PAIRS: LazyLock<[TlsPair; 6]> = LazyLock::new(|| {
    let blue = Ca::shared("blue");
    let issue = |name: &str| blue.issue(&Leaf::dns(name));
    [
        issue("m1.blue.example"),
        Ca::shared("red").issue(&Leaf::dns("m1.red.example")),
        blue.issue(&Leaf::dns("m1.blue.example").not_after(days("2027-01-01", 0))),
        issue("m1.blue.example").with_wrong_key(),
        issue("m1.blue.example").with_roots([blue, Ca::shared("red")]),
        issue("*.blue.example"),
    ]
});

/// A CRL of the CA of most pairs, past its next update.
static CRL: LazyLock<String> = LazyLock::new(|| Ca::shared("blue").issue_crl(&[], days("2026-02-01", 0)));

pub(super) fn service() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![5 => app_service(), 1 => foreign_service(), 2 => gateway_service(), 2 => app_slice(), 1 => discovery_server()].boxed()
}

fn app_service() -> BoxedStrategy<GeneratedInput> {
    let kind = prop_oneof![8 => Just(None), 1 => Just(Some("ExternalName"))];
    let target = select(vec![json!(8080), json!("web"), Value::Null]);
    (
        select(&APPS[..]),
        select(&SERVICES[..]),
        any::<[bool; 3]>(),
        target,
        select_one(&["http", "tcp-main", "tls"]),
        kind,
        prop_oneof![6 => Just(None), 1 => expose_labels().prop_map(Some)],
    )
        .prop_map(|(namespace, name, chance, target, port, kind, exposed)| {
            let mut spec = json!({"ports": [{"name": port, "port": 80, "targetPort": target}]});
            if !(chance[0] && chance[1]) {
                spec["selector"] = json!({"app": name});
            }
            set_field(&mut spec, "/type", kind);
            let mut object = build_object("v1", "Service", namespace, name, &spec);
            if let Some(labels) = exposed {
                object["metadata"]["labels"] = labels;
            }
            if chance[1] && chance[2] {
                object["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "."});
            }
            GeneratedInput(object)
        })
        .boxed()
}

/// Generates the labels that expose a Service.
fn expose_labels() -> BoxedStrategy<Value> {
    (
        select_one(&["blue", "red", "true", "", "unknown"]),
        select_one(&["front", "blue:front", "-"]),
        any::<bool>(),
    )
        .prop_map(|(through, alias, named)| {
            let mut labels = json!({"emcee.io/expose": through});
            if named {
                labels["emcee.io/exposeAs"] = alias.into();
            }
            labels
        })
        .boxed()
}

/// Generates a Service with the name of a facade: a user's Service, or the one that Emcee wrote.
fn foreign_service() -> BoxedStrategy<GeneratedInput> {
    (select(&APPS[..]), select_one(&["front", "reviews"]), any::<bool>())
        .prop_map(|(namespace, name, ours)| {
            let mut object =
                build_object("v1", "Service", namespace, name, &json!({"ports": [{"port": 80}]}));
            if ours {
                object["metadata"]["labels"] = json!({
                    "app.kubernetes.io/managed-by": "emcee",
                    "emcee.io/owner-kind": "Facade",
                    "emcee.io/owner-namespace": namespace,
                    "emcee.io/owner-name": name,
                });
            }
            GeneratedInput(object)
        })
        .boxed()
}

fn gateway_service() -> BoxedStrategy<GeneratedInput> {
    let port = select(vec![15443_u16, 15443, 443, 8443]);
    (select(&GATEWAYS[..]), select_one(&["edge", "gate"]), port, select(vec![json!(15443), json!("web")]))
        .prop_map(|(namespace, name, port, target)| {
            let ports =
                json!([{"name": "tls", "port": port, "targetPort": target}, {"name": "http", "port": 80}]);
            let mut object = build_object(
                "v1",
                "Service",
                namespace,
                name,
                &json!({"selector": {"istio": name}, "ports": ports}),
            );
            object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}});
            GeneratedInput(object)
        })
        .boxed()
}

fn app_slice() -> BoxedStrategy<GeneratedInput> {
    (select(&APPS[..]), select(&SERVICES[..]), any::<bool>())
        .prop_map(|(namespace, service, one)| {
            let slice = endpoint_slice(namespace, service).port("http", 8080).ready("10.0.0.1").pod("p1");
            GeneratedInput(if one {
                slice.build()
            } else {
                slice.ready("10.0.0.2").not_ready("10.0.0.3").by_hand().build()
            })
        })
        .boxed()
}

pub(super) fn workload() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![6 => app_pod(), 4 => gateway_pod(), 1 => app_workload_entry()].boxed()
}

fn app_pod() -> BoxedStrategy<GeneratedInput> {
    let who = (
        select(&APPS[..]),
        select_one(&["p1", "p2", "p3"]),
        select(&SERVICES[..]),
        select_one(&["v1", "v2"]),
    );
    (who, prop_oneof![6 => Just(true), 1 => Just(false)], select(vec![8080_u16, 8080, 9090]))
        .prop_map(|((namespace, name, app, version), sidecar, port)| {
            let pod = pod(namespace, name).label("app", app).label("version", version).container("app", port);
            let pod = pod.set("/spec/containers/0/ports/0/name", "web");
            let pod = if name == "p3" {
                pod
            } else {
                pod.running(if name == "p1" { "10.0.0.1" } else { "10.0.0.2" })
            };
            GeneratedInput(if sidecar { pod.sidecar().build() } else { pod.build() })
        })
        .boxed()
}

fn app_workload_entry() -> BoxedStrategy<GeneratedInput> {
    (
        select(&APPS[..]),
        select(&SERVICES[..]),
        select_one(&["10.0.0.1", "10.0.0.2", "203.0.113.9", "vm.example"]),
    )
        .prop_map(|(namespace, app, address)| {
            GeneratedInput(
                workload_entry(namespace, "machine").address(address).labels([("app", app)]).build(),
            )
        })
        .boxed()
}

fn gateway_pod() -> BoxedStrategy<GeneratedInput> {
    (select(&GATEWAYS[..]), select_one(&["edge", "gate"]), any::<bool>())
        .prop_map(|(namespace, istio, running)| {
            let name = format!("{istio}-gateway");
            GeneratedInput(if running {
                let pod = pod(namespace, &name).label("istio", istio).container("istio-proxy", 15443);
                pod.set("/spec/containers/0/ports/0/name", "web").build()
            } else {
                deployment(namespace, &name)
                    .pod_labels([("istio", istio)])
                    .container("istio-proxy", "auto")
                    .build()
            })
        })
        .boxed()
}

/// Generates users' own Istio objects.
pub(super) fn policy() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![4 => with_age(peer_authentication_anywhere()), 2 => subset_rule(), 1 => client_tls_rule()]
        .boxed()
}

fn peer_authentication_anywhere() -> impl Strategy<Value = Value> {
    let mode = prop_oneof![5 => Just("STRICT"), 1 => Just("PERMISSIVE"), 1 => Just("UNSET")];
    let namespace = select_one(&["istio-system", "istio-system", "shop", "bank"]);
    (namespace, select_one(&["default", "narrow"]), mode, optional(0.1, Just("PERMISSIVE"))).prop_map(
        |(namespace, name, mode, of_port)| {
            let mut policy = peer_authentication(namespace, name).mode(mode);
            if name == "narrow" {
                policy = policy.selector([("app", "reviews")]);
            }
            of_port.into_iter().fold(policy, |policy, mode| policy.port_mode(8080, mode)).build()
        },
    )
}

fn subset_rule() -> BoxedStrategy<GeneratedInput> {
    (select(&APPS[..]), select(&SERVICES[..]), any::<bool>())
        .prop_map(|(namespace, service, both)| {
            let rule = destination_rule(namespace, service).host(service).subset("v1", [("version", "v1")]);
            GeneratedInput(if both { rule.subset("v2", [("version", "v2")]).build() } else { rule.build() })
        })
        .boxed()
}

/// Generates rules that make clients originate TLS, some of them with a key.
fn client_tls_rule() -> BoxedStrategy<GeneratedInput> {
    let host = select_one(&["reviews", "*", "*.svc.cluster.local", "*.emcee.internal"]);
    (select_one(&["shop", "bank", "istio-system"]), host, select_one(&["MUTUAL", "ISTIO_MUTUAL"]))
        .prop_map(|(namespace, host, mode)| {
            GeneratedInput(destination_rule(namespace, "tls").host(host).tls_mode(mode).build())
        })
        .boxed()
}

pub(super) fn secret() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![12 => credential(), 1 => ca_secret()].boxed()
}

/// Generates a Secret whose name makes Istio use its CA in place of another Secret's CA.
fn ca_secret() -> BoxedStrategy<GeneratedInput> {
    (select(&FEDS[..]), select_one(&["first-cacert", "second-cacert"]))
        .prop_map(|(namespace, name)| GeneratedInput(opaque(namespace, name).set("/type", "Opaque").build()))
        .boxed()
}

fn credential() -> BoxedStrategy<GeneratedInput> {
    let which = select(vec![0_usize, 0, 0, 1, 1, 2, 3, 4, 5]);
    let crl = optional(0.1, Just(()));
    (select(&FEDS[..]), select_one(&["first", "second"]), select(&FEDS[..]), (which, crl), any::<[bool; 2]>())
        .prop_map(|(namespace, name, relationship, (which, crl), odd)| {
            let secret = secret_tls(namespace, name).label("relationship", relationship).pair(&PAIRS[which]);
            let secret = crl.into_iter().fold(secret, |secret, ()| secret.data("ca.crl", &*CRL));
            GeneratedInput(if odd == [true; 2] {
                secret.ca_under("example.com.crt").build()
            } else {
                secret.build()
            })
        })
        .boxed()
}
