//! Two meshes with applications and an Emcee each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use emcee_testbed::cluster::Authority;
use emcee_testbed::mesh::ListedObject;
use emcee_testbed::{Bed, Mesh};
use kube::ResourceExt as _;
use kube::api::{ApiResource, ListParams};

use super::emcee::{Emcee, emcee_output};
pub(crate) use super::resource::{Resource, until};
use crate::users::{SHOP, STYLES, Style, WEB, secret, versions};
use crate::workloads::{client, server};

/// The fed namespaces of both meshes.
pub(crate) const FEDS: &str = "fed-boundary,fed-passthrough,fed-wharf,fed-flat";

/// Two meshes with an Emcee each.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) consuming_mesh: Mesh,
    pub(crate) exposing_mesh: Mesh,
    /// All objects of both meshes, before the users wrote anything.
    pub(crate) before: Arc<[BTreeSet<String>; 2]>,
    /// The Emcee of each mesh, in the order of [`World::meshes`]. They end with the bed: a static is not dropped.
    pub(crate) emcees: Arc<Mutex<Vec<Emcee>>>,
}

static WORLD: Mutex<Option<Result<World, String>>> = Mutex::new(None);

impl World {
    /// The meshes that all tests of a run share, set up by the first test.
    pub(crate) fn shared(bed: &Bed) -> Result<Self> {
        let mut world = WORLD.lock().expect("no test panics during the setup");
        let made = world.get_or_insert_with(|| set_up_meshes(bed).map_err(|error| format!("{error:#}")));
        made.clone().map_err(|error| anyhow::anyhow!("the setup of the two meshes failed: {error}"))
    }

    pub(crate) fn meshes(&self) -> [&Mesh; 2] {
        [&self.consuming_mesh, &self.exposing_mesh]
    }
}

fn set_up_meshes(bed: &Bed) -> Result<World> {
    let (here, there) = (bed.mesh("m1")?.clone(), bed.mesh("m2")?.clone());
    let authority = Authority::root("a relationship")?;
    for (mesh, name) in [(&here, "m1"), (&there, "m2")] {
        for style in STYLES {
            mesh.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}", style.fed()))?;
        }
        let own = authority.issue(name, None, &[&format!("{name}.example")], &[])?;
        mesh.apply(&secret("fed-boundary", &own.certificate, &own.key, &authority.identity().certificate))?;
        mesh.apply(&emcee_output(&["manifests", "crds"])?)?;
        mesh.apply(&emcee_output(&["manifests", "rbac", "--fed-namespaces", FEDS])?)?;
    }
    client(&here, WEB)?;
    server(&there, SHOP, &["v1", "v2"])?;
    there.apply(&versions())?;
    let before = [list_objects(&here)?, list_objects(&there)?];
    let emcees = vec![Emcee::start(&here, FEDS)?, Emcee::start(&there, FEDS)?];
    Ok(World {
        consuming_mesh: here,
        exposing_mesh: there,
        before: before.into(),
        emcees: Arc::new(emcees.into()),
    })
}

/// Lists every object of a cluster, of every kind that can be listed, except those that change by themselves.
pub(crate) fn list_objects(mesh: &Mesh) -> Result<BTreeSet<String>> {
    let place = |ListedObject { resource, is_namespaced, object }: ListedObject| {
        let scope = if is_namespaced { "namespaced " } else { "" };
        let namespace = object.namespace().unwrap_or_default();
        format!("{scope}{} {namespace}/{}", resource.plural, object.name_any())
    };
    let all = mesh.list_all(ListParams::default(), |resource| !changes_by_itself(resource))?;
    Ok(all.into_iter().map(place).collect())
}

/// Whether objects of a kind change by themselves: Events expire, and processes such as Emcee hold Leases.
fn changes_by_itself(resource: &ApiResource) -> bool {
    ["events", "leases"].contains(&resource.plural.as_str())
}

/// The relationship of a style, in either mesh.
pub(crate) fn relationship_of(style: &Style) -> Resource<'static> {
    let namespace = match style.mode {
        "BOUNDARY" => "fed-boundary",
        "PASSTHROUGH" => "fed-passthrough",
        "WHARF" => "fed-wharf",
        _ => "fed-flat",
    };
    Resource { kind: "MeshFedConfig", namespace, name: style.name }
}
