//! Three meshes that are linked by discovery.

use std::sync::Mutex;

use anyhow::{Context, Result};
use emcee_testbed::cluster::Authority;
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ListParams;

use super::install::{HOME, install, wait_until_installed};
use super::users::{self, APPS, secret, service};
use crate::resource::Resource;
use crate::workloads::{client, deployment, namespaced};

const SERVER: &str = "emcee-testbed/server";

/// The consuming mesh, and one of the exposing ones.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) m1: Mesh,
    pub(crate) m2: Mesh,
}

static WORLD: Mutex<Option<Result<World, String>>> = Mutex::new(None);

impl World {
    /// The meshes that all tests of a run share, set up by the first test.
    pub(crate) fn shared(bed: &Bed) -> Result<Self> {
        let mut world = WORLD.lock().expect("no test panics during the setup");
        let made = world.get_or_insert_with(|| set_up_meshes(bed).map_err(|error| format!("{error:#}")));
        made.clone().map_err(|error| anyhow::anyhow!("the setup of the three meshes failed: {error}"))
    }
}

fn set_up_meshes(bed: &Bed) -> Result<World> {
    let mesh = |name| bed.mesh(name).cloned();
    let (m1, m2, m4) = (mesh("m1")?, mesh("m2")?, mesh("m4")?);
    let (blue, yellow) = (Authority::root("blue")?, Authority::root("yellow")?);
    for mesh in [&m1, &m2, &m4] {
        install(mesh)?;
    }
    for (mesh, relationship, authority) in
        [(&m1, "blue", &blue), (&m1, "yellow", &yellow), (&m2, "blue", &blue), (&m4, "yellow", &yellow)]
    {
        apply_credential(mesh, relationship, authority)?;
    }
    deploy_servers(&m2, &["reviews", "httpbin"], &users::m2())?;
    deploy_servers(&m4, &["ratings"], &users::m4())?;
    client(&m1, APPS)?;
    [&m1, &m2, &m4].into_iter().try_for_each(wait_until_installed)?;
    link_meshes(&m1, &m2, &m4)?;
    Ok(World { m1, m2 })
}

fn apply_credential(mesh: &Mesh, relationship: &str, authority: &Authority) -> Result<()> {
    let name = format!("{}.{relationship}.example", mesh.name());
    let own = authority.issue(mesh.name(), None, &[&name], &[])?;
    mesh.apply(&secret(relationship, &own.certificate, &own.key, &authority.identity().certificate))
}

fn deploy_servers(mesh: &Mesh, applications: &[&str], resources: &str) -> Result<()> {
    mesh.apply(&namespaced(APPS))?;
    for app in applications {
        mesh.apply(&service(app))?;
        mesh.apply(&with_pre_stop(&deployment(APPS, app, "v1", SERVER)))?;
    }
    mesh.apply(resources)
}

/// Keeps the server running until no call can still be on its way to it: its sidecar takes five seconds to end.
fn with_pre_stop(deployment: &str) -> String {
    deployment.replace(
        &format!("image: {SERVER},"),
        &format!("image: {SERVER}, lifecycle: {{preStop: {{sleep: {{seconds: 7}}}}}},"),
    )
}

/// Tells m1 the addresses of the others' Emcees, and nothing else about them.
fn link_meshes(m1: &Mesh, m2: &Mesh, m4: &Mesh) -> Result<()> {
    let m2_at = format!("{}:15443", m2.wait_address("blue", &gateway_name(m2, "blue", "ingress")?)?);
    let m4_at = format!("{}:15443", m4.wait_address(HOME, "emcee-discovery")?);
    wait_until_exposed("reviews", m2)?;
    wait_until_exposed("httpbin", m2)?;
    wait_until_exposed("ratings", m4)?;
    m1.apply(&users::m1(&m2_at, &m4_at))?;
    for binding in ["reviews", "ratings"] {
        binding_resource(binding).wait(m1, "Ready", "Ready")?;
    }
    Ok(())
}

fn wait_until_exposed(name: &str, mesh: &Mesh) -> Result<()> {
    Resource { kind: "ServiceExposition", namespace: APPS, name }.wait(mesh, "Ready", "Ready").map(drop)
}

/// The ServiceBinding with this name.
pub(crate) fn binding_resource(name: &str) -> Resource<'_> {
    Resource { kind: "ServiceBinding", namespace: APPS, name }
}

/// Name of the gateway that was created for a relationship, once it exists.
pub(crate) fn gateway_name(mesh: &Mesh, relationship: &str, side: &str) -> Result<String> {
    let relationship_of = Resource { kind: "MeshFedConfig", namespace: relationship, name: relationship };
    relationship_of.wait(mesh, "Programmed", "Programmed")?;
    let api = Api::<Service>::namespaced(mesh.client(), relationship);
    let all = mesh.run(async move { Ok(api.list(&ListParams::default()).await?.items) })?;
    let mut names = all.into_iter().filter_map(|service| service.metadata.name);
    names.find(|name| name.ends_with(side)).with_context(|| format!("{} has no {side}", mesh.name()))
}
