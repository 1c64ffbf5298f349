//! Inputs that decide about trust and are not Emcee's resources.

use emcee_testkit::objects::secret::secret;
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use super::world::{EXPOSITIONS, FEDS, GATEWAYS, RULES, World, condition, exposing, options};
use crate::ControllerOptions;

/// A Secret of any type closes the relationship while it exists. Only its name is read.
#[tokio::test]
async fn a_secret_that_shadows_the_ca_removes_the_gateway_servers() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    let running = world.start();
    world.wait_until_converged().await;
    world.put("secrets", secret("blue", "blue-cacert").set("/type", "Opaque").build());
    world.wait_for_reason(FEDS, "blue", "blue", "CertificateValid", "ShadowedCA").await;
    world.wait_for_reason(FEDS, "blue", "blue", "Programmed", "ShadowedCA").await;
    world.wait_until("no server is left", |state| !state.list().any(|(key, _)| key.plural == GATEWAYS)).await;
    world.server.delete("secrets", "blue", "blue-cacert");
    world.wait_until_converged().await;
    world.wait_for_reason(FEDS, "blue", "blue", "CertificateValid", "CertificateValid").await;
    running.stop().await;
}

/// The ingress gateway follows the rule whatever its labels say. Anyone can copy a label.
#[tokio::test]
async fn the_label_of_emcee_does_not_hide_a_rule_with_a_credential() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    let rule = destination_rule("shop", "rule").host("reviews").tls_mode("SIMPLE");
    let rule = rule.label("app.kubernetes.io/managed-by", "emcee");
    world.put(RULES, rule.set("/spec/trafficPolicy/tls/credentialName", "blue").build());
    let running = world.start();
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "ForeignCredential").await;
    world.server.delete(RULES, "shop", "rule");
    world.wait_until_converged().await;
    running.stop().await;
}

fn mesh_config(mesh: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh},
    })
}

fn passthrough_config() -> Value {
    passthrough("pass")
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]).trust_domains(["two.example"]))
        .build()
}

async fn wait_until_accepted(world: &World, accepted: bool) {
    let what = format!("two.example is accepted: {accepted}");
    world
        .wait_until(&what, |state| {
            let config = state.get(FEDS, "pass", "pass").cloned().unwrap_or_default();
            let warning = condition(&config, "TrustDomainNotAccepted");
            condition(&config, "Accepted")["status"] == "True" && warning.is_null() == accepted
        })
        .await;
}

#[tokio::test]
async fn aliases_are_followed_in_istios_mesh_configuration() {
    let world = World::new();
    world.put(FEDS, passthrough_config());
    world.put("configmaps", mesh_config("trustDomain: one.example"));
    let running = world.start();
    wait_until_accepted(&world, false).await;
    world.put("configmaps", mesh_config("trustDomain: one.example\ntrustDomainAliases: [two.example]"));
    wait_until_accepted(&world, true).await;
    // What cannot be read changes nothing: the next change is applied, and the previous one is not undone.
    world.put("configmaps", mesh_config("trustDomainAliases: 7"));
    world.put("configmaps", mesh_config("trustDomain: two.example"));
    wait_until_accepted(&world, true).await;
    world.put("configmaps", mesh_config("trustDomain: one.example"));
    wait_until_accepted(&world, false).await;
    running.stop().await;
}

/// As with the trust domain: an option takes precedence.
#[tokio::test]
async fn aliases_that_are_given_by_a_flag_are_not_followed() {
    let world = World::new();
    world.put(FEDS, passthrough_config());
    world.put("configmaps", mesh_config("trustDomainAliases: [other.example]"));
    let given = ControllerOptions { trust_domain_aliases: Some(vec!["two.example".into()]), ..options() };
    let running = world.start_with(given, true);
    wait_until_accepted(&world, true).await;
    running.stop().await;
}
