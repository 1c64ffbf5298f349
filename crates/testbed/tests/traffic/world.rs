//! Two meshes with a relationship of every style at once, with the output of `emcee render`.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use emcee_testbed::cluster::Authority;
use emcee_testbed::mesh::parse_documents;
use emcee_testbed::suite::render_text;
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{BOUNDARY, SHOP, STYLES, Style, WEB, secret, split, versions};
use super::workloads::{client, server, service, sink, strict};

/// A namespace whose callers can only use facades that are exported to all.
pub(crate) const OTHER: &str = "other";
pub(crate) const SINK: &str = "sinks";

/// The two meshes, and the rendered objects that were applied.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) consuming_mesh: Mesh,
    pub(crate) exposing_mesh: Mesh,
    pub(crate) consuming_objects: String,
    pub(crate) exposing_objects: String,
    pub(crate) authority: Arc<Authority>,
}

static WORLD: Mutex<Option<Result<World, String>>> = Mutex::new(None);

impl World {
    /// The meshes that all tests of a run share, set up by the first test.
    pub(crate) fn shared(bed: &Bed) -> Result<Self> {
        let mut world = WORLD.lock().expect("no test panics during the setup");
        let made = world.get_or_insert_with(|| set_up_meshes(bed).map_err(|error| format!("{error:#}")));
        made.clone().map_err(|error| anyhow::anyhow!("the setup of the two meshes failed: {error}"))
    }

    /// The generated DestinationRules of a relationship for the resource called `part`, each with its mesh.
    pub(crate) fn generated_rules(&self, style: &Style, part: &str) -> Result<Vec<(Mesh, Value)>> {
        let mut rules = Vec::new();
        for (mesh, yaml) in
            [(&self.consuming_mesh, &self.consuming_objects), (&self.exposing_mesh, &self.exposing_objects)]
        {
            let of_style = parse_documents(yaml)?.into_iter().filter(|object| {
                object["kind"] == "DestinationRule"
                    && object["metadata"]["labels"]["emcee.io/mesh-fed-config"]
                        == format!("{}.{}", style.fed(), style.name)
                    && object["metadata"]["labels"]["emcee.io/owner-name"] == format!("{}-{part}", style.name)
            });
            rules.extend(of_style.map(|rule| (mesh.clone(), rule)));
        }
        Ok(rules)
    }
}

fn set_up_meshes(bed: &Bed) -> Result<World> {
    let (here, there) = (bed.mesh("m1")?.clone(), bed.mesh("m2")?.clone());
    let authority = Authority::root("a relationship")?;
    let exposing = set_up_exposing(&there, &authority)?;
    let consuming = set_up_consuming(&here, &there, &authority)?;
    for (mesh, yaml) in [(&there, &exposing), (&here, &consuming)] {
        for object in parse_documents(yaml)?.iter().filter(|object| object["kind"] == "Deployment") {
            mesh.wait_rolled_out(namespace_of(object), name_of(object))?;
        }
    }
    Ok(World {
        consuming_mesh: here,
        exposing_mesh: there,
        consuming_objects: consuming,
        exposing_objects: exposing,
        authority: Arc::new(authority),
    })
}

fn set_up_exposing(exposing_mesh: &Mesh, authority: &Authority) -> Result<String> {
    server(exposing_mesh, SHOP, &["v1", "v2"])?;
    let known = versions() + &strict(SHOP) + "---" + &service(SHOP) + "---";
    let mut resources = String::new();
    for style in STYLES {
        resources += &style.config("ingress", "m1");
        resources += &style.expositions();
    }
    apply_rendered(exposing_mesh, authority, "m2", &known, &resources)
}

fn set_up_consuming(here: &Mesh, there: &Mesh, authority: &Authority) -> Result<String> {
    client(here, WEB)?;
    client(here, OTHER)?;
    let sink = format!("{}:15443", sink(there, SINK)?);
    let (mut known, mut resources) = (String::new(), String::new());
    for style in STYLES {
        resources += &style.config("egress", "m2");
        resources += &style.bindings(&|port| remote_endpoints(there, style, port), &sink)?;
        known += &split(style);
    }
    apply_rendered(here, authority, "m1", &known, &resources)
}

/// Applies the users' own objects, and what Emcee renders from their resources; returns the rendered objects.
pub(crate) fn apply_rendered(
    mesh: &Mesh,
    authority: &Authority,
    name: &str,
    known: &str,
    resources: &str,
) -> Result<String> {
    let own = authority.issue(name, None, &[&format!("{name}.example")], &[])?;
    let secret = secret(&BOUNDARY.fed(), &own.certificate, &own.key, &authority.identity().certificate);
    for style in STYLES {
        mesh.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}", style.fed()))?;
    }
    let known = format!("{known}\n{secret}");
    mesh.apply(&known)?;
    let rendered = render_text(&format!("{known}{resources}"))?;
    mesh.validate(&rendered)?;
    mesh.apply(&rendered)?;
    Ok(rendered)
}

/// Endpoints of the other mesh: its ingress, or in FLAT the pods.
pub(crate) fn remote_endpoints(exposing_mesh: &Mesh, style: &Style, port: u16) -> Result<Vec<String>> {
    if style.ingress {
        let gateway = gateway_name(exposing_mesh, style, "ingress")?;
        return Ok(vec![format!("{}:15443", exposing_mesh.wait_address(&style.fed(), &gateway)?)]);
    }
    let pods = exposing_mesh.wait_endpoints(SHOP, "helloworld", 2)?;
    ensure!(pods.len() == 2, "{pods:?}");
    Ok(pods.iter().map(|pod| format!("{pod}:{port}")).collect())
}

/// Name of the gateway that was created for a relationship.
pub(crate) fn gateway_name(mesh: &Mesh, style: &Style, side: &str) -> Result<String> {
    let (client, fed) = (mesh.client(), style.fed());
    let all = mesh.run(async move {
        let api = kube::Api::<k8s_openapi::api::core::v1::Service>::namespaced(client, &fed);
        Ok(api.list(&kube::api::ListParams::default()).await?.items)
    })?;
    let mut names = all.into_iter().filter_map(|service| service.metadata.name);
    names.find(|name| name.ends_with(side)).with_context(|| format!("no {side} of {}", style.name))
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
