//! Checks everything that was applied with istioctl.

use anyhow::{Result, ensure};
use emcee_testbed::mesh::parse_documents;
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{SHOP, STYLES, Style, WEB};
use super::world::World;

/// The codes of `istioctl analyze` that are allowed, and why each is harmless.
///
/// * IST0138, several Gateways with one Secret: a client with an open HTTP/2 connection for one host could reuse it for
///   another host that the certificate also has, and get 404. The clients here are gateways and sidecars. They have a
///   separate cluster for each server name, and never share connections between clusters.
/// * IST0102, a namespace without a label for injection: pods here are injected by their own label.
/// * IST0101, a subset without a rule: only if [`is_in_other_namespace`] finds that rule in another namespace. For a host
///   outside the cluster, the analyzer takes the namespaces of route and rule as part of the host's name
///   (`GetResourceNameFromHost` in `pkg/config/analysis/analyzers/util/hosts.go`), so it never finds such a rule. istiod
///   uses exportTo, as the traffic shows: without the rule there is no traffic.
const HARMLESS: [&str; 2] = ["IST0138", "IST0102"];

/// Checks every rendered object in both meshes. (`istioctl validate` has already checked them before they were
/// applied.)
pub(crate) fn istioctl_has_no_complaint(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let mut messages = complaints(&world.consuming_mesh, &world.consuming_objects)?;
    messages.extend(complaints(&world.exposing_mesh, &world.exposing_objects)?);
    ensure!(messages.is_empty(), "istioctl analyze:\n{}", messages.join("\n"));
    Ok(())
}

fn complaints(mesh: &Mesh, applied: &str) -> Result<Vec<String>> {
    let feds = STYLES.map(Style::fed);
    let namespaces: Vec<&str> = feds.iter().map(String::as_str).chain([SHOP, WEB]).collect();
    let applied = parse_documents(applied)?;
    let mut messages = mesh.analyze(&namespaces, &HARMLESS)?;
    messages.retain(|message| !is_in_other_namespace(message, &applied));
    Ok(messages)
}

/// Whether a message complains about a subset whose rule exists, but in another namespace than the route.
fn is_in_other_namespace(message: &str, applied: &[Value]) -> bool {
    let Ok(message) = serde_json::from_str::<Value>(message) else { return false };
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    let (description, origin) = (text("message"), text("origin"));
    let Some((host, subset)) = description.split('"').nth(1).and_then(|missing| missing.split_once('+'))
    else {
        return false;
    };
    let namespace = origin.split([' ', '/']).nth(1).unwrap_or_default();
    let is_its_rule = |object: &Value| {
        object["kind"] == "DestinationRule"
            && object["spec"]["host"] == host
            && object["spec"]["subsets"][0]["name"] == subset
            && object["metadata"]["namespace"] != namespace
    };
    text("code") == "IST0101" && applied.iter().any(is_its_rule)
}
