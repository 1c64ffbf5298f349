//! A client that is not ours: with types of go-control-plane and Kubernetes, it connects to m2's Emcee as m1, through
//! the ingress gateway.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::{Value, json};

use super::go_client::{Credential, GoClient};
use super::users::{APPS, exposition};
use super::world::{World, gateway_name};
use crate::resource::until;

/// The client receives what is announced to m1 and nothing else, and all changes of it. It may refuse one resource: the
/// stream continues, and the removal of the refused resource is sent like any other.
pub(crate) fn go_client_receives_announcements(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let address = ingress_address(&world.m2)?;
    let mut client = GoClient::start(&world.m1, bed, &address, "blue", "default/verdicts/IPv4")?;
    let first =
        client.wait_for_response(|response| resource_names(response).contains(&"default/reviews/IPv4"))?;
    ensure!(!first.to_string().contains("httpbin"), "{first}");
    let reviews = find_resource(&first, "default/reviews/IPv4")?;
    ensure!(reviews["slice"]["addressType"] == "IPv4", "{reviews}");
    ensure!(reviews["slice"]["ports"][0]["port"] == 15443, "{reviews}");
    ensure!(reviews["slice"]["endpoints"][0]["addresses"] == json!([host_of(&address)]), "{reviews}");
    let annotations = reviews["slice"]["metadata"]["annotations"].to_string();
    ensure!(annotations.contains("reviews.default.blue.emcee.internal"), "{annotations}");

    world.m2.apply(&exposition("blue", "reviews", "verdicts", ""))?;
    let refused =
        client.wait_for_response(|response| resource_names(response).contains(&"default/verdicts/IPv4"))?;
    ensure!(
        resource_names(&refused) == ["default/verdicts/IPv4"],
        "only the changed resource is sent: {refused}"
    );
    ensure!(refused["refused"] == json!(["default/verdicts/IPv4"]), "{refused}");

    world.m2.apply(&exposition("blue", "reviews", "appraisals", ""))?;
    let next = client.wait_for_response(|response| !resource_names(response).is_empty())?;
    ensure!(
        resource_names(&next) == ["default/appraisals/IPv4"],
        "the refused resource is not sent again: {next}"
    );

    world.m2.delete(&exposition("blue", "reviews", "verdicts", ""))?;
    let removed = client.wait_for_response(|response| response["removed"] != json!([]))?;
    ensure!(removed["removed"] == json!(["default/verdicts/IPv4"]), "{removed}");
    world.m2.delete(&exposition("blue", "reviews", "appraisals", ""))?;
    client.wait_for_response(|response| response["removed"] == json!(["default/appraisals/IPv4"]))?;
    ["verdicts", "appraisals"].into_iter().try_for_each(|name| wait_until_gone(&world.m1, name))
}

/// Through the gateway, a certificate of another relationship is refused, and so is a connection without a server name.
pub(crate) fn strangers_are_refused(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let address = ingress_address(&world.m2)?;
    let of_yellow = Credential::read(&world.m1, "yellow")?;
    let blue = Credential::read(&world.m1, "blue")?;
    let other = Credential { ca: blue.ca.clone(), ..of_yellow };
    ensure_refused(GoClient::start_with(
        &world.m1,
        bed,
        &address,
        "discovery.blue.emcee.internal",
        &other,
        "",
    )?)?;
    ensure_refused(GoClient::start_with(
        &world.m1,
        bed,
        &address,
        "discovery.yellow.emcee.internal",
        &other,
        "",
    )?)?;
    ensure_refused(GoClient::start_with(&world.m1, bed, &address, "", &blue, "")?)?;
    // The same connection with the right credential works, so the ones above did not fail for another reason.
    let mut client = GoClient::start(&world.m1, bed, &address, "blue", "")?;
    client.wait_for_response(|response| !resource_names(response).is_empty()).map(drop)
}

fn ingress_address(mesh: &Mesh) -> Result<String> {
    Ok(format!("{}:15443", mesh.wait_address("blue", &gateway_name(mesh, "blue", "ingress")?)?))
}

fn host_of(address: &str) -> &str {
    address.split(':').next().unwrap_or(address)
}

/// Waits until m1 has deleted the binding that it imported in the meantime.
fn wait_until_gone(m1: &Mesh, name: &str) -> Result<()> {
    let kind = ("mm.ibm.istio.io/v1", "ServiceBinding");
    until(m1, kind, (APPS, name), "the import of a withdrawn service is not deleted", |found| found.is_none())
}

/// The client exits with an error, and has received nothing.
fn ensure_refused(mut client: GoClient) -> Result<()> {
    let line = client.next_line()?;
    ensure!(line.is_none(), "a stranger received {line:?}");
    let ended = client.wait_for_exit()?;
    ensure!(ended.code() == Some(1), "{ended}");
    Ok(())
}

fn resource_names(response: &Value) -> Vec<&str> {
    let resources = response["resources"].as_array().into_iter().flatten();
    resources.filter_map(|resource| resource["name"].as_str()).collect()
}

fn find_resource<'a>(response: &'a Value, name: &str) -> Result<&'a Value> {
    let mut resources = response["resources"].as_array().into_iter().flatten();
    resources.find(|resource| resource["name"] == name).with_context(|| format!("no {name}: {response}"))
}
